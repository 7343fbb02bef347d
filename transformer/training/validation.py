"""What a run is judged by while it trains: loss and accuracy, and BLEU of real translations."""

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from transformer import hosts
from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.corpus import Corpus
from transformer.data.tokenizer import EOS, Tokenizer
from transformer.decoding.forced import position_limit
from transformer.decoding.inspection import inspect
from transformer.decoding.translate import Translator
from transformer.evaluation.bleu import corpus_bleu
from transformer.model.encoder_decoder import split
from transformer.sharding import put_batch
from transformer.training.loss import LossSums
from transformer.training.step import abstract_model
from transformer.visualization import figures

SAMPLES = 3
_DRAWN = 30  # tokens of a sentence whose attention is drawn
_TRIED = 100  # of so many pairs one is as short


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
        model = abstract_model(config.decoding_model, tokenizer.vocab_size)
        self._graphdef = split(model)[0]
        self._drawn = min(_DRAWN, position_limit(model) or _DRAWN)
        self._tokenizer = tokenizer
        self._translator = Translator(
            self._graphdef, tokenizer, config.decoding, config.data.max_length, mesh
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

    def draw_attention(
        self, params: dict[str, Any]
    ) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
        """Cross-attention of each layer, the mean of its heads, as an image.

        It is that of the first pair of at most 30 tokens a side, read with its reference. There is
        none without such a pair or without matplotlib, nor where several processes share a run:
        they would all have to take part.
        """
        if hosts.count() > 1 or not importlib.util.find_spec("matplotlib"):
            return {}
        for pair in zip(self._sources[:_TRIED], self._references, strict=False):
            source, target = (
                self._tokenizer.encode(pair[:1]),
                self._tokenizer.encode_target(pair[1:]),
            )
            ids = [*source[0], EOS], [*target[0], EOS]
            if max(map(len, ids)) <= self._drawn:
                seen = inspect(self._graphdef, params, self._tokenizer, *ids, self._mesh)
                means = seen.cross_attention.mean(1)
                figure = figures.head_maps(means, *seen.tokens("cross"), each="layer")
                return {"cross_attention": figures.pixels(figure)}
        return {}
