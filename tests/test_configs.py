"""Every config is whole, and the paper's own have its values (sections 3 and 5, Table 3)."""

import pathlib
import re

import pytest

from experiments import cli
from transformer.config import differences
from transformer.training.optimizer import learning_rate

ROOT = pathlib.Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))


def load(name):
    return cli.load_config(str(ROOT / "configs" / f"{name}.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_whole_and_shows_its_command(name):
    load(name)
    text = (ROOT / "configs" / f"{name}.py").read_text()
    script = "python experiments/train.py"
    command = rf"{script} --config=configs/{name}.py(:\w+)? --workdir=runs/{name}"
    assert re.search(command, text)


@pytest.mark.parametrize(
    ("name", "d_model", "d_ff", "heads", "dropout", "steps", "averaged", "peak"),
    [
        ("base", 512, 2048, 8, 0.1, 100_000, 5, 6.99e-4),
        ("base_en_fr", 512, 2048, 8, 0.1, 100_000, 5, 6.99e-4),
        ("big", 1024, 4096, 16, 0.3, 300_000, 20, 4.94e-4),
        ("big_en_fr", 1024, 4096, 16, 0.1, 300_000, 20, 4.94e-4),
    ],
)
def test_the_papers_models(name, d_model, d_ff, heads, dropout, steps, averaged, peak):
    config = load(name)
    model, training = config.model, config.training
    assert (model.num_layers, model.d_model, model.d_ff, model.num_heads) == (
        6,
        d_model,
        d_ff,
        heads,
    )
    assert (model.d_k, model.d_v, model.dropout_rate) == (64, 64, dropout)
    assert (model.attention_dropout_rate, model.feed_forward_dropout_rate) == (0, 0)
    assert (model.norm, model.positions, model.tie_embeddings) == ("post", "sinusoidal", "all")
    assert (training.num_steps, training.average_last) == (steps, averaged)
    assert (training.adam_b1, training.adam_b2, training.adam_eps) == (0.9, 0.98, 1e-9)
    assert (training.warmup_steps, training.label_smoothing) == (4_000, 0.1)
    assert learning_rate(training, d_model)(3_999) == pytest.approx(peak, rel=1e-3)
    decoding = config.decoding
    assert (decoding.beam_size, decoding.alpha, decoding.max_extra_length) == (4, 0.6, 50)


def test_the_papers_data():
    german, french = load("base").data, load("base_en_fr").data
    assert (german.tfds_name, german.languages) == ("wmt14_translate/de-en", ("en", "de"))
    assert (german.vocab_size, german.vocab_type, german.batch_tokens) == (37_000, "bpe", 25_000)
    assert (french.tfds_name, french.languages) == ("wmt14_translate/fr-en", ("en", "fr"))
    assert french.vocab_size == 32_000
    assert load("big").data == german
    assert load("big_en_fr").data == french


def test_a_config_says_only_what_differs():
    """Values that a config sets and base has already would hide what matters."""
    base = load("base")
    assert set(differences(base, load("big"))) == {
        "model.d_model",
        "model.d_ff",
        "model.num_heads",
        "model.dropout_rate",
        "training.num_steps",
        "training.checkpoint_every",
        "training.keep_last",
        "training.average_last",
    }


def test_transformer_tiny_of_wu_et_al():
    config = load("multi30k_tiny")
    model, training = config.model, config.training
    assert (model.num_layers, model.d_model, model.d_ff, model.num_heads) == (4, 128, 256, 4)
    assert (model.dropout_rate, model.norm, model.tie_embeddings) == (0.3, "post", "all")
    assert (training.bleu_tokenize, training.average_last) == ("none", 10)
    decoding = config.decoding
    assert (decoding.beam_size, decoding.length_penalty, decoding.alpha) == (5, "power", 1.0)
