"""Marian checkpoints into runs and back: every weight in its place, refusals, and fine-tuning."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from configs import opus_mt
from tests.helpers import make_model, small_model
from tests.marian_directory import LAYERS, counting, write_json, write_marian_directory
from transformer import config as config_lib
from transformer.data.batching import Batch
from transformer.data.tokenizer import BOS, EOS, PAD, train_tokenizer
from transformer.errors import UserError
from transformer.interop.export import export
from transformer.interop.marian_import import import_run, read
from transformer.interop.marian_weights import PAD_BIAS, from_marian, marian_ids, to_marian
from transformer.model.encoder_decoder import split
from transformer.model.layers import sinusoidal_positions
from transformer.training.load import load
from transformer.training.loop import train
from transformer.training.step import abstract_model, batch_loss

BASE = config_lib.from_dict(opus_mt.get_config())


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_marian_directory(tmp_path_factory.mktemp("marian") / "opus-mt-en-de")


@pytest.fixture(scope="module")
def imported(directory, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("imported") / "run"
    import_run(directory, workdir, BASE)
    return workdir


def test_the_order_of_dimensions_turns_marians_sinusoids_into_the_papers():
    """Marian's: sines of all wavelengths of the paper, then their cosines."""
    positions = np.arange(7)[:, None] / 10_000 ** (np.arange(0, 16, 2) / 16)
    marians = np.concatenate([np.sin(positions), np.cos(positions)], axis=1)
    order = np.arange(16).reshape(2, 8).T.ravel()  # 0, 8, 1, 9, ...
    np.testing.assert_allclose(marians[:, order], sinusoidal_positions(7, 16), atol=1e-6)


def test_weights_by_hand(directory):
    """One tensor of each kind, at places that a wrong order or a lacking transpose would miss."""
    config, tokenizer, params = read(directory, BASE)
    tensors = load_file(directory / "model.safetensors")
    # Dimension 3 of the paper's order is the second cosine: 32 / 2 + 1 in Marian's.
    layer, theirs = params["decoder"][1], "model.decoder.layers.1"
    # Head 2, its dimension 5: column 2 x 8 + 5.
    query = tensors[f"{theirs}.encoder_attn.q_proj.weight"]
    assert layer["cross_attention"]["query"][3, 2, 5] == query[21, 17]
    output = tensors[f"{theirs}.self_attn.out_proj.weight"]
    assert layer["self_attention"]["output"][2, 5, 3] == output[17, 21]
    bias = tensors[f"{theirs}.encoder_attn.v_proj.bias"]
    assert layer["cross_attention"]["value_bias"][2, 5] == bias[21]
    assert layer["feed_forward"]["w1"][3, 40] == tensors[f"{theirs}.fc1.weight"][40, 17]
    assert layer["feed_forward"]["w2"][40, 3] == tensors[f"{theirs}.fc2.weight"][17, 40]
    norm = tensors[f"{theirs}.encoder_attn_layer_norm.weight"]
    assert layer["cross_attention_residual"]["norm"]["scale"][3] == norm[17]
    norm = tensors[f"{theirs}.final_layer_norm.bias"]
    assert layer["feed_forward_residual"]["norm"]["bias"][3] == norm[17]
    matrix = params["target_embedding"]["matrix"]
    assert matrix[EOS, 3] == tensors["model.shared.weight"][0, 17]
    assert not matrix[[PAD, BOS]].any()
    assert params["output_bias"][BOS] == tensors["final_logits_bias"][0, -1]
    assert params["output_bias"][PAD] == PAD_BIAS
    assert config.model.num_layers == LAYERS and tokenizer.vocab_size == len(matrix)


def test_back_again_to_the_bit(directory):
    config, tokenizer, params = read(directory, BASE)
    tensors = load_file(directory / "model.safetensors")
    again = to_marian(params, config.model, tokenizer.marian_ids)
    assert again.keys() == tensors.keys()
    jax.tree.map(np.testing.assert_array_equal, again, tensors)


def test_a_model_without_biases_gets_biases_of_zero():
    config = small_model(d_v=8, layer_norm_epsilon=1e-5)
    _, params = split(make_model(d_v=8))
    ids = np.array([-1, 11, 0, 1, *range(2, 11)])
    found = from_marian(
        to_marian(params, config, ids),
        dataclasses.replace(config, attention_bias=True, output_bias=True),
        ids,
    )
    expected, found = flatten_dict(params), flatten_dict(found)
    for path in found:
        if path == ("output_bias",):
            assert not found[path][1:].any()
        elif path not in expected:
            assert path[-1].endswith("_bias") and not found[path].any(), path
        else:  # all but PAD's row, which Marian does not have
            skip = path == ("target_embedding", "matrix")
            np.testing.assert_array_equal(found[path][skip:], expected[path][skip:])


def test_ids_of_an_own_vocabulary():
    tokenizer = train_tokenizer([text for side in counting(50) for text in side], 300)
    ids = marian_ids(tokenizer)
    assert ids[:6].tolist() == [-1, 298, 0, 1, 2, 3]  # PAD, BOS, EOS, UNK, the first two pieces
    assert sorted(ids) == list(range(-1, 299))


def test_what_the_config_takes_from_the_checkpoint(directory):
    config, _, _ = read(directory, BASE)
    model, decoding = config.model, config.decoding
    assert (model.d_model, model.d_ff, model.num_heads, model.d_k) == (32, 48, 4, 8)
    assert (model.activation, model.layer_norm_epsilon) == ("swish", 1e-5)
    assert model.attention_bias and model.output_bias
    assert (decoding.beam_size, decoding.length_penalty, decoding.alpha) == (3, "power", 1.0)
    assert config.data.languages == ("en", "de")
    assert config.training == BASE.training


def test_nulls_in_the_generation_config_stand_for_defaults(tmp_path):
    directory = write_marian_directory(tmp_path / "model")
    write_json(directory / "generation_config.json", {"num_beams": None, "length_penalty": None})
    decoding = read(directory, BASE)[0].decoding
    assert (decoding.beam_size, decoding.alpha) == (BASE.decoding.beam_size, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bart"}, "not that of a Marian model"),
        ({"activation_function": "gelu"}, "activation_function = 'gelu'; this model has only"),
        ({"normalize_before": True}, "normalize_before = True; this model has only False"),
        ({"scale_embedding": None}, "scale_embedding = False; this model has only True"),
        ({"encoder_layers": 3}, "encoder_layers and decoder_layers that differ"),
        ({"d_model": None}, "has no d_model"),
        ({"d_model": "32"}, "config.model.d_model must be of type int, not '32'"),
        ({"decoder_start_token_id": 0}, "decoder_start_token_id = 0, but the id of <pad>"),
        ({"vocab_size": 7}, "vocab_size = 7, but the number of pieces in vocab.json is"),
        (
            {"encoder_ffn_dim": 50, "decoder_ffn_dim": 50},
            r"fc1.bias has the shape \(48,\), but config",
        ),
        ({"encoder_layers": 1, "decoder_layers": 1}, "for which this model has no place"),
        ({"encoder_layers": 3, "decoder_layers": 3}, "hold no tensor model.decoder.layers.2"),
    ],
)
def test_models_that_this_one_cannot_be(directory, tmp_path, changes, message):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in directory.iterdir():
        (copy / path.name).symlink_to(path)
    values = json.loads((directory / "config.json").read_text())
    (copy / "config.json").unlink()
    write_json(copy / "config.json", values | changes)
    with pytest.raises(UserError, match=message) as caught:
        read(copy, BASE)
    assert str(caught.value).startswith(f"{copy} cannot be imported: ")


def test_tensors_that_are_not_what_they_stand_for(tmp_path):
    directory = write_marian_directory(tmp_path / "model")
    weights = directory / "model.safetensors"
    tensors = load_file(weights)
    matrix, bias = tensors["model.shared.weight"], tensors["final_logits_bias"]
    positions = {"model.encoder.embed_positions.weight": np.zeros((8, 32), np.float32)}
    for extra, message in (
        (positions, "embed_positions.weight holds no sinusoids"),
        ({"lm_head.weight": matrix + 1}, "lm_head.weight is not the same as model.shared.weight"),
        ({"final_logits_bias": bias * np.nan}, "final_logits_bias holds values that are not fin"),
    ):
        save_file(tensors | extra, weights)
        with pytest.raises(UserError, match=message):
            read(directory, BASE)
    # Under another of its names, and repeated, the matrix is taken for what it is.
    alone = {name: array for name, array in tensors.items() if name != "model.shared.weight"}
    save_file(alone | {"lm_head.weight": matrix}, weights)
    _, _, params = read(directory, BASE)
    np.testing.assert_array_equal(params["target_embedding"]["matrix"][EOS, 1], matrix[0, 16])
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        read(directory, BASE)
    weights.unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors; other files"):
        read(directory, BASE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_padding_has_no_probability_and_leaves_the_loss_alone(directory, dtype):
    """Its bias costs the smoothed loss epsilon / V of it, and the likelihood nothing at all."""
    config, tokenizer, params = read(directory, BASE)
    model = dataclasses.replace(config.model, dtype=dtype)
    graphdef, _ = split(abstract_model(model, tokenizer.vocab_size))
    ids = jnp.array([[*ids, EOS] for ids in tokenizer.encode(["one two six", "ten two six"])])
    ones = jnp.ones_like(ids)
    target_in = jnp.pad(ids[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    batch = Batch(ids, ones, None, target_in, ids, ones, None)
    losses = jax.jit(lambda params: batch_loss(graphdef, params, batch, label_smoothing=0.1))
    found = losses(params)
    bias = params["output_bias"].copy()
    bias[PAD] /= 2
    other = losses(params | {"output_bias": bias})
    assert found.nll == other.nll
    expected = 0.1 / tokenizer.vocab_size * -PAD_BIAS / 2
    np.testing.assert_allclose((found.loss - other.loss) / found.tokens, expected, rtol=1e-2)


def text_files(folder: pathlib.Path) -> tuple[str, str]:
    for name, lines in zip(("a.en", "a.de"), counting(200, seed=2), strict=True):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / "a.en"), str(folder / "a.de")


def fine_tuning(config, files, **changes):
    training = {
        "num_steps": 60,
        "warmup_steps": 20,
        "learning_rate_scale": 0.3,
        "log_every": 1,
        "checkpoint_every": 60,
        **changes,
    }
    data = {"train": files, "validation": (), "batch_tokens": 512, "packing": True}
    return dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, **training),
        data=dataclasses.replace(config.data, max_length=32, **data),
    )


def test_fine_tuning_begins_with_the_imported_weights_and_learns(directory, imported, tmp_path):
    """Every setting of training may still be chosen; afterwards it is fixed as in any run."""
    workdir = tmp_path / "run"
    config = import_run(directory, workdir, BASE)
    config = fine_tuning(config, text_files(tmp_path), ema_decay=0.5, clip_norm=1.0)
    before = load([imported]).params

    one = dataclasses.replace(config.training, num_steps=1)
    train(dataclasses.replace(config, training=one), workdir)
    after = load([workdir]).params
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, after)
    assert 0 < max(jax.tree.leaves(moved)) < 1e-2

    train(config, workdir)
    records = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert len(losses) == 60 and np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    with pytest.raises(UserError, match=r"holds another experiment .*learning_rate_scale"):
        train(fine_tuning(config, config.data.train, learning_rate_scale=0.1), workdir)


def test_an_import_is_translated_with_even_where_a_moving_average_is_asked_for(imported):
    config, tokenizer = load([imported])[:2]
    path = imported / "config.json"
    stored = path.read_text()
    values = config_lib.to_dict(config)
    values["training"]["ema_decay"] = 0.9
    path.write_text(json.dumps(values))
    try:
        assert load([imported]).steps == [[0]]
    finally:
        path.write_text(stored)
    assert tokenizer.vocab_size == config.data.vocab_size


def test_export_of_an_import_is_the_checkpoint_again(directory, imported, tmp_path):
    model = load([imported])
    notes = export(tmp_path / "out", "marian-hf", model.config, model.params, model.tokenizer)
    assert notes == []
    for name in ("source.spm", "target.spm", "vocab.json"):
        assert (tmp_path / "out" / name).read_bytes() == (directory / name).read_bytes()
    found, expected = (load_file(d / "model.safetensors") for d in (tmp_path / "out", directory))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    values, said = (
        json.loads((d / "config.json").read_text()) for d in (tmp_path / "out", directory)
    )
    different = {key for key in said if values.get(key) != said[key]}
    assert different == {"max_position_embeddings"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "pre"}, "has only config.model.norm = 'post', but this one has 'pre'"),
        ({"positions": "learned"}, "config.model.positions = 'sinusoidal'"),
        ({"tie_embeddings": "decoder"}, "config.model.tie_embeddings = 'all'"),
        ({"d_v": 16}, "config.model.d_v is 16, not 32 / 4"),
    ],
)
def test_models_that_marian_cannot_be(imported, tmp_path, changes, message):
    model = load([imported])
    config = dataclasses.replace(
        model.config, model=dataclasses.replace(model.config.model, **changes)
    )
    with pytest.raises(UserError, match=message):
        export(tmp_path / "out", "marian-hf", config, model.params, model.tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_what_transformers_computes_otherwise_is_said(imported, tmp_path):
    model = load([imported])
    config = dataclasses.replace(
        model.config,
        model=dataclasses.replace(model.config.model, layer_norm_epsilon=1e-6),
        decoding=dataclasses.replace(model.config.decoding, length_penalty="gnmt", alpha=0.6),
    )
    notes = export(tmp_path / "out", "marian-hf", config, model.params, model.tokenizer)
    assert "adds 1e-05 to the variance in layer norms where this run adds 1e-06" in notes[0]
    assert "no GNMT length penalty: it divides by |Y|^0.6" in notes[1]
