"""Models of Hugging Face's transformers beside this project's with the same weights, and back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

from configs import opus_mt
from tests.marian_directory import counting, write_marian_directory
from transformer import config as config_lib
from transformer.data.tokenizer import EOS
from transformer.decoding.translate import Translator
from transformer.interop.export import export
from transformer.interop.marian_import import import_run
from transformer.training.load import load

pytestmark = pytest.mark.reference

SOURCES, TARGETS = counting(12, seed=3)
EXTRA = 4  # tokens of an output beyond those of its source


def load_theirs(directory):
    model = transformers.MarianMTModel.from_pretrained(directory).eval()
    return model, transformers.MarianTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A random Marian model as imported, and as transformers loads it."""
    folder = tmp_path_factory.mktemp("marian")
    directory = write_marian_directory(folder / "model")
    import_run(directory, folder / "run", config_lib.from_dict(opus_mt.get_config()))
    return load([folder / "run"]), *load_theirs(directory)


def test_the_tokenizers_give_the_same_pieces(both):
    run, _, tokenizer = both
    texts = [*SOURCES, "one 漢 two", ">>deu<< three", ""]
    expected = tokenizer(texts)["input_ids"]
    found = [run.tokenizer.marian_ids[[*ids, EOS]].tolist() for ids in run.tokenizer.encode(texts)]
    assert found == expected
    targets = tokenizer(text_target=TARGETS)["input_ids"]
    for text, ids, own in zip(TARGETS, targets, run.tokenizer.encode_target(TARGETS), strict=True):
        assert run.tokenizer.marian_ids[[*own, EOS]].tolist() == ids
        assert run.tokenizer.decode([own]) == [text]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_logits(both):
    run, model, tokenizer = both
    batch = tokenizer(SOURCES, return_tensors="pt", padding=True)
    random = np.random.default_rng(0)
    target = random.integers(model.config.vocab_size, size=(len(SOURCES), 9))
    target[:, 0] = model.config.decoder_start_token_id
    with torch.no_grad():
        expected = model(**batch, decoder_input_ids=torch.as_tensor(target)).logits.numpy()

    own_ids = np.argsort(run.tokenizer.marian_ids)[1:].astype(np.int32)
    segments = batch["attention_mask"].numpy().astype(np.int32)
    source = np.where(segments, own_ids[batch["input_ids"].numpy()], 0).astype(np.int32)
    target = own_ids[target]

    @jax.jit
    def logits(params):
        module = nnx.merge(run.graphdef, params)
        ids = map(jnp.asarray, (source, segments, target, np.ones_like(target)))
        return module.logits(module(*ids))

    found = np.asarray(logits(run.params))
    np.testing.assert_allclose(found[..., own_ids], expected, rtol=0, atol=1e-4)
    assert found[..., 0].max() < found.max(-1).min() - 50  # PAD, which Marian does not have


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_beam_search_token_for_token(both, alpha):
    run, model, tokenizer = both
    decoding = dataclasses.replace(
        run.config.decoding, beam_size=3, max_extra_length=EXTRA, alpha=alpha
    )
    translator = Translator(run.graphdef, run.tokenizer, decoding, run.config.data.max_length)
    for text, ours in zip(SOURCES, translator.translate(run.params, SOURCES), strict=True):
        batch = tokenizer([text], return_tensors="pt")
        theirs = model.generate(
            **batch,
            num_beams=3,
            length_penalty=alpha,
            early_stopping="never",
            max_length=1 + batch["input_ids"].shape[1] + EXTRA,
            return_dict_in_generate=True,
            output_scores=True,
        )
        ids = run.tokenizer.marian_ids[ours.ids[0]].tolist()
        assert theirs.sequences[0].tolist()[1:] == ids
        np.testing.assert_allclose(theirs.sequences_scores, ours.scores[0], atol=1e-4)


def test_an_exported_run_translates_as_the_run_does(counting_run, sentences, tmp_path):
    """All settings are the exported files' own."""
    export(
        tmp_path / "out",
        "marian-hf",
        counting_run.config,
        counting_run.params,
        counting_run.tokenizer,
    )
    model, tokenizer = load_theirs(tmp_path / "out")
    batch = tokenizer(sentences, return_tensors="pt", padding=True)
    found = tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
    assert_same_or_better(counting_run, sentences, found)


def assert_same_or_better(run, sources, found):
    """Nearly all of `found` is what the run itself writes; what differs scores no higher.

    The others end a hypothesis only if it is among the W best continuations of a step. The search
    here looks at 2W, and at times finds a better one.
    """
    ours = run.translate(sources)
    other = [n for n, translation in enumerate(ours) if translation.text != found[n]]
    assert len(other) <= len(sources) // 20
    scored = run.score([sources[n] for n in other], [found[n] for n in other])
    for n, (_, log_probs) in zip(other, scored, strict=True):
        score = log_probs.sum() / len(log_probs) ** run.config.decoding.alpha
        assert score < ours[n].scores[0] + 1e-4, (sources[n], found[n], ours[n].text)
