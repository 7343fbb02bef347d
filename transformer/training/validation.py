"""What a run is judged by while it trains: loss and accuracy, and BLEU of real translations."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.corpus import Corpus
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.translate import Translator
from transformer.evaluation.bleu import corpus_bleu
from transformer.model.encoder_decoder import split
from transformer.sharding import put_batch
from transformer.training.loss import LossSums
from transformer.training.step import abstract_model

SAMPLES = 3


class Validator:
    """Scores parameters on the validation pairs."""

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        tokenizer: Tokenizer,
        corpus: Corpus,
        batches: Callable[[], Iterable[Batch]],
        eval_step: Callable[[dict[str, Any], Batch], LossSums],
    ):
        """Takes `corpus` as text for BLEU and `batches`, the same pairs as ids, for the loss."""
        self._mesh, self._batches, self._eval_step = mesh, batches, eval_step
        self._sources, self._references = list(corpus.source), list(corpus.target)
        self.num_pairs = len(self._sources)
        self._tokenize = config.training.bleu_tokenize
        graphdef = split(abstract_model(config.model, tokenizer.vocab_size))[0]
        self._translator = Translator(
            graphdef, tokenizer, config.decoding, config.data.max_length, mesh
        )

    def __call__(
        self, params: dict[str, Any], progress: Callable[[str], None] = lambda note: None
    ) -> dict[str, Any]:
        """Loss (nats a token), perplexity, accuracy, BLEU with its signature, and samples.

        A sample is a dict of a sentence's source, reference and translation.
        Perplexity is per piece of the vocabulary, as in Table 3; the loss is without smoothing.
        """
        progress("validating")
        sums = LossSums(*(np.zeros(()),) * 4)
        for batch in self._batches():
            new = self._eval_step(params, put_batch(self._mesh, batch))
            sums = jax.tree.map(lambda a, b: a + np.asarray(b, np.float64), sums, new)
        loss = float(sums.nll / max(sums.tokens, 1))
        total = len(self._sources)
        translations = self._translator.translate(
            params,
            self._sources,
            warn=lambda sentence: None,
            progress=lambda done: progress(f"translated {done}/{total}"),
        )
        outputs = [translation.text for translation in translations]
        bleu = corpus_bleu(outputs, self._references, self._tokenize)
        return {
            "loss": loss,
            "perplexity": float(np.exp(min(loss, 700.0))),
            "accuracy": float(sums.correct / max(sums.tokens, 1)),
            "bleu": bleu.score,
            "bleu_signature": bleu.signature,
            "samples": [
                {"source": source, "reference": reference, "translation": output}
                for source, reference, output in zip(
                    self._sources[:SAMPLES], self._references, outputs, strict=False
                )
            ],
        }
