"""Every way in which a config can be refused, and that nothing is lost on the way to a dict."""

import dataclasses
import json

import pytest
from ml_collections import ConfigDict

from configs import base
from transformer import config as config_lib
from transformer.errors import UserError


def changed(**values):
    """The base experiment as a plain dict, with `section__key=value` replaced."""
    result = base.get_config().to_dict()
    for key, value in values.items():
        section, _, name = key.rpartition("__")
        (result[section] if section else result)[name] = value
    return result


def refusal(values):
    with pytest.raises(UserError) as caught:
        config_lib.from_dict(values)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def test_a_config_dict_becomes_the_dataclasses():
    config = config_lib.from_dict(base.get_config())
    assert (config.model.num_layers, config.model.d_model, config.model.d_ff) == (6, 512, 2048)
    assert config.data.languages == ("en", "de")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


def test_the_dict_has_every_key_and_comes_back_from_json():
    config = config_lib.from_dict(changed(data__train=("a.en", "a.de"), seed=3))
    assert config_lib.to_dict(config).keys() == base.get_config().to_dict().keys()
    assert config_lib.from_dict(json.loads(json.dumps(config_lib.to_dict(config)))) == config


def test_whole_numbers_are_floats_where_a_float_is_asked_for():
    config = config_lib.from_dict(changed(decoding__alpha=1))
    assert config.decoding.alpha == 1.0
    assert isinstance(config.decoding.alpha, float)


def test_differences_name_the_dotted_keys():
    old = config_lib.from_dict(changed())
    new = config_lib.from_dict(changed(seed=1, data__train=("a.en", "a.de"), model__num_layers=2))
    assert config_lib.differences(old, old) == {}
    assert config_lib.differences(old, new) == {
        "seed": (0, 1),
        "data.train": ((), ("a.en", "a.de")),
        "model.num_layers": (6, 2),
    }


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model__d_modle", "config.model.d_model"),
        ("training__warmup_step", "config.training.warmup_steps"),
        ("decodnig", "config.decoding"),
        ("sed", "config.seed"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(key, nearest):
    unknown = "config." + key.replace("__", ".")
    message = refusal(ConfigDict(changed(**{key: 1})))
    assert message == f"{unknown} is not a known key; did you mean {nearest}?"


def test_a_missing_key_and_a_missing_section_are_named():
    values = changed()
    del values["training"]["num_steps"]
    assert refusal(values).startswith("config.training.num_steps is missing;")
    del values["mesh"]
    assert refusal(values).startswith("config.mesh is missing;")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("seed", "0", "int"),
        ("model__d_model", 512.0, "int"),
        ("model__num_layers", True, "int"),
        ("model__remat", 1, "bool"),
        ("model__dropout_rate", "0.1", "float"),
        ("model__dropout_rate", False, "float"),
        ("model__dropout_rate", None, "float"),
        ("data__vocab_path", 3, "str"),
    ],
)
def test_a_value_of_another_type_is_refused(key, value, kind):
    name = "config." + key.replace("__", ".")
    assert refusal(changed(**{key: value})) == f"{name} must be of type {kind}, not {value!r}."


@pytest.mark.parametrize("value", ["a.en,a.de", ("a.en", 1), 5])
def test_file_names_must_be_a_tuple_of_strings(value):
    assert "config.data.train must be a tuple of strings" in refusal(changed(data__train=value))


@pytest.mark.parametrize("value", [3, None, "base"])
def test_a_section_must_have_keys(value):
    assert (
        refusal(changed(model=value)) == f"config.model must be a section with keys, not {value!r}."
    )


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("model__norm", "'post', 'pre'"),
        ("model__positions", "'sinusoidal', 'sinusoidal_halves', 'learned'"),
        ("model__activation", "'relu', 'swish'"),
        ("decoding__length_penalty", "'gnmt', 'power', 'none'"),
        ("model__tie_embeddings", "'all', 'decoder', 'none'"),
        ("model__dtype", "'float32', 'bfloat16'"),
        ("model__attention", "'plain', 'fused'"),
        ("data__source", "'files', 'tfds', 'grammar', 'prepared'"),
        ("data__vocab_type", "'bpe', 'unigram'"),
        ("decoding__strategy", "'beam', 'sample'"),
    ],
)
def test_a_choice_lists_what_can_be_chosen(key, choices):
    name = "config." + key.replace("__", ".")
    assert refusal(changed(**{key: "other"})) == f"{name} must be one of {choices}, not 'other'."


@pytest.mark.parametrize(
    ("changes", "wish"),
    [
        ({}, 'config.model.dtype "bfloat16", not "float32"'),
        (
            {"model__dtype": "bfloat16", "model__attention_dropout_rate": 0.1},
            "config.model.attention_dropout_rate 0, not 0.1",
        ),
        (
            {"model__dtype": "bfloat16", "model__d_v": 32},
            "heads with d_k = d_v, a multiple of 8, not 64 and 32",
        ),
    ],
)
def test_fused_attention_names_what_it_takes(changes, wish):
    message = refusal(changed(model__attention="fused", **changes))
    assert message == f'config.model.attention "fused" takes {wish}; or set it to "plain".'
    assert config_lib.from_dict(changed(model__attention="fused", model__dtype="bfloat16"))


@pytest.mark.parametrize(
    ("section", "keys", "least"),
    [
        ("model", "num_layers d_model d_ff num_heads max_positions", 1),
        ("model", "d_k d_v", 0),
        ("data", "vocab_size", 5),
        ("data", "max_length batch_tokens grammar_pairs validation_pairs max_shapes", 1),
        ("training", "num_steps warmup_steps accumulate_steps log_every eval_every", 1),
        ("training", "checkpoint_every keep_last", 1),
        ("training", "keep_best average_last patience clip_norm", 0),
        ("decoding", "beam_size batch_tokens", 1),
        ("decoding", "max_extra_length top_k alpha seed", 0),
    ],
)
def test_counts_have_a_least_value(section, keys, least):
    for key in keys.split():
        message = refusal(changed(**{f"{section}__{key}": least - 1}))
        assert message.startswith(f"config.{section}.{key} must be at least {least}, not ")


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("model", "dropout_rate attention_dropout_rate feed_forward_dropout_rate"),
        ("training", "label_smoothing ema_decay adam_b1 adam_b2"),
    ],
)
def test_rates_are_at_least_zero_and_less_than_one(section, keys):
    for key in keys.split():
        for value in (-0.1, 1.0, 1.5):
            message = refusal(changed(**{f"{section}__{key}": value}))
            assert message == f"config.{section}.{key} must be in [0, 1), not {value}."


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
    message = refusal(changed(training__learning_rate_scale=value))
    assert message == f"config.training.learning_rate_scale must be a finite number, not {value}."


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training__learning_rate_scale", 0.0),
        ("training__adam_eps", 0.0),
        ("decoding__temperature", 0.0),
        ("decoding__top_p", 0.0),
        ("decoding__top_p", 1.1),
        ("data__max_length_ratio", 0.5),
        ("data__languages", ("en",)),
        ("data__tfds_name", ""),
        ("model__d_model", 511),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(key, value):
    assert refusal(changed(**{key: value})).startswith("config." + key.replace("__", ".") + " ")


def test_learned_positions_need_no_even_width_but_enough_rows():
    learned = {"model__positions": "learned", "data__max_length": 100}
    odd = {"model__d_model": 511, "model__num_heads": 7}
    config_lib.from_dict(changed(**learned, **odd, model__max_positions=150))
    message = refusal(changed(**learned, model__max_positions=149))
    assert "config.model.max_positions is 149" in message
    assert "150" in message


def test_heads_share_the_width_unless_their_sizes_are_given():
    """Section 3.2.2, and rows A and B of Table 3, where d_k and d_v are free."""
    config = config_lib.from_dict(changed(model__num_heads=4))
    assert (config.model.d_k, config.model.d_v) == (128, 128)
    config = config_lib.from_dict(changed(model__num_heads=7, model__d_k=10, model__d_v=3))
    assert (config.model.d_k, config.model.d_v) == (10, 3)
    message = refusal(changed(model__num_heads=7, model__d_k=10))
    assert message.startswith("config.model.num_heads is 7 and does not divide")


def test_the_tensor_axis_must_divide_what_it_cuts():
    config_lib.from_dict(changed(mesh__tensor=8))
    assert "does not divide config.model.num_heads, 8" in refusal(changed(mesh__tensor=3))


def test_no_more_checkpoints_are_averaged_than_kept():
    message = refusal(changed(training__average_last=6, training__keep_last=5))
    assert message.startswith("config.training.average_last is 6")


def test_the_seed_is_not_negative():
    assert refusal(changed(seed=-1)) == "config.seed must be at least 0, not -1."


def test_files_need_two_names_a_split():
    missing = refusal(changed(data__source="files"))
    assert missing.startswith("config.data.train must name a source file and a target file")
    pair = ("a.en", "a.de")
    config_lib.from_dict(changed(data__source="files", data__train=pair))
    for split in ("validation", "test"):
        values = changed(data__source="files", data__train=pair, **{f"data__{split}": ("a.en",)})
        assert refusal(values).startswith(f"config.data.{split} must name a source file")


def test_one_sentence_must_fit_into_a_batch():
    config_lib.from_dict(changed(data__max_length=100, data__batch_tokens=100))
    message = refusal(changed(data__max_length=101, data__batch_tokens=100))
    assert "config.data.batch_tokens is 100" in message
    assert "config.data.max_length 101" in message


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -2, 1), (-1, -1, 1)])
def test_a_mesh_has_positive_sizes_and_at_most_one_rest(sizes):
    mesh = dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
    assert str(sizes) in refusal(changed(mesh=mesh))


def test_a_mesh_may_leave_any_one_axis_open():
    for sizes in ((-1, 2, 2), (2, -1, 1), (1, 1, -1), (8, 1, 1)):
        mesh = dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
        assert dataclasses.astuple(config_lib.from_dict(changed(mesh=mesh)).mesh) == sizes


@pytest.mark.parametrize(
    ("trained", "decoding", "expected"),
    [
        (("float32", "plain"), "as_trained", ("float32", "plain")),
        (("float32", "plain"), "bfloat16", ("bfloat16", "plain")),
        (("bfloat16", "fused"), "as_trained", ("bfloat16", "fused")),
        (("bfloat16", "fused"), "bfloat16", ("bfloat16", "fused")),
        (("bfloat16", "fused"), "float32", ("float32", "plain")),
    ],
)
def test_decoding_may_compute_in_another_dtype(trained, decoding, expected):
    dtype, attention = trained
    values = changed(model__dtype=dtype, model__attention=attention, decoding__dtype=decoding)
    model = config_lib.from_dict(values).decoding_model
    assert (model.dtype, model.attention) == expected


def test_a_run_from_before_a_key_was_there_reads_as_the_paper_has_it():
    values = base.get_config().to_dict()
    del values["model"]["attention_bias"], values["decoding"]["length_penalty"]
    assert config_lib.from_dict(values) == config_lib.from_dict(base.get_config())
