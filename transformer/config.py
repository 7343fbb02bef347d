"""The frozen dataclasses that the library takes, and how a ConfigDict becomes one.

Keys are the paper's own symbols and words. ``configs/base.py`` gives every value its source;
the library sees only what stands here, so that a misspelt or impossible value is refused before
anything is read, compiled or written.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict

from transformer.errors import UserError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Section 3 and Table 3. Sizes are counts, rates are probabilities."""

    num_layers: int  # N, of the encoder and of the decoder
    d_model: int
    d_ff: int
    num_heads: int  # h
    d_k: int  # 0 stands for d_model / num_heads
    d_v: int  # likewise
    dropout_rate: float  # P_drop of section 5.4: sub-layer outputs, embedding + position sums
    attention_dropout_rate: float
    feed_forward_dropout_rate: float
    norm: Literal["post", "pre"]
    positions: Literal["sinusoidal", "sinusoidal_halves", "learned"]
    max_positions: int  # rows of the table of learned positions; sinusoids need none
    tie_embeddings: Literal["all", "decoder", "none"]
    dtype: Literal["float32", "bfloat16"]  # of the computation; parameters are float32
    remat: bool  # recompute each layer's activations in the backward pass
    # Departures of other implementations. Keys with a default may be missing: runs that were begun
    # before there was such a key lack it.
    activation: Literal["relu", "swish"] = "relu"  # of the feed-forward network
    attention_bias: bool = False  # of the four projections
    output_bias: bool = False  # of the pre-softmax layer
    layer_norm_epsilon: float = 1e-6  # added to the variance
    attention: Literal["plain", "fused"] = "plain"  # fused: cuDNN's kernel on GPUs, splash on TPUs


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where pairs come from and how they become batches. Lengths and budgets count tokens."""

    source: Literal["files", "tfds", "grammar", "prepared"]
    languages: tuple[str, ...]  # (source, target)
    train: tuple[str, ...]  # (source file, target file), plain or .gz; for "files"
    validation: tuple[str, ...]
    test: tuple[str, ...]
    tfds_name: str  # for "tfds", for example "wmt14_translate/de-en"
    tfds_data_dir: str
    grammar_pairs: int  # size of the training split of "grammar"
    vocab_size: int
    vocab_type: Literal["bpe", "unigram"]
    vocab_path: str  # an existing SentencePiece model; empty: learn one on the training text
    max_length: int  # of a sentence with its end token, or packed row; longer pairs are left out
    max_length_ratio: float  # between the two sides of a pair
    batch_tokens: int  # of the source and of the target side of one global step
    packing: bool  # several sentences a row, told apart by segment ids
    validation_pairs: int  # at most so many pairs are scored while training
    max_shapes: int = 12  # of batches without packing; more pad less, and each is compiled
    prepared_dir: str = ""  # for "prepared": made by experiments/prepare.py, vocabulary and all


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Section 5. Intervals count optimizer steps."""

    num_steps: int
    warmup_steps: int
    learning_rate_scale: float
    adam_b1: float
    adam_b2: float
    adam_eps: float
    label_smoothing: float
    accumulate_steps: int  # micro-batches that one global batch is cut into
    clip_norm: float  # of the global gradient norm; 0 switches clipping off
    ema_decay: float  # of the exponential moving average of the weights; 0 switches it off
    log_every: int
    eval_every: int
    checkpoint_every: int
    keep_last: int
    keep_best: int  # by validation BLEU
    average_last: int  # checkpoints averaged for the final score; 0 or 1 scores the last alone
    patience: int  # validations without a better BLEU after which training stops; 0: never
    bleu_tokenize: str  # sacreBLEU's tokenizer for the validation score


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """Section 6.1, and sampling."""

    strategy: Literal["beam", "sample"]
    beam_size: int  # 1 is greedy search
    alpha: float  # exponent of the length penalty
    max_extra_length: int  # the output has at most the input's length plus this
    batch_tokens: int  # places for keys and values, of all sentences decoded at a time
    temperature: float
    top_k: int  # 0: all
    top_p: float  # 1: all
    seed: int
    length_penalty: Literal["gnmt", "power", "none"] = "gnmt"  # ((5 + |Y|) / 6)^alpha or |Y|^alpha
    dtype: Literal["as_trained", "float32", "bfloat16"] = "as_trained"  # of the computation


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Number of devices along each axis; -1 stands for the rest of them."""

    data: int
    fsdp: int
    tensor: int


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    seed: int
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    decoding: DecodingConfig
    mesh: MeshConfig
    experiment: str = ""  # what of the paper this is, "table3:C2" say; changes nothing

    @property
    def decoding_model(self) -> ModelConfig:
        """`model` as decoding computes it, in `decoding.dtype`; its weights are the same."""
        if self.decoding.dtype in ("as_trained", self.model.dtype):
            return self.model
        # The kernels of fused attention have no float32.
        return dataclasses.replace(self.model, dtype=self.decoding.dtype, attention="plain")


def from_dict(values: ConfigDict | Mapping[str, Any]) -> Config:
    """Builds and checks a `Config` from a ConfigDict or a nested dict.

    Raises:
      UserError: a key is unknown (the nearest known one is named), missing, of another type, or
        has a value that cannot work; the message names the key.
    """
    config = _build(Config, values, "config")
    _check(config)
    model = _with_head_sizes(config.model)
    _check_attention(model)
    return dataclasses.replace(config, model=model)


def to_dict(config: Config) -> dict[str, Any]:
    """The nested dict of plain values that `from_dict` takes, fit for JSON."""
    return dataclasses.asdict(config)


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with the old and the new value."""
    old_flat, new_flat = flatten(to_dict(old)), flatten(to_dict(new))
    return {k: (old_flat[k], new_flat[k]) for k in old_flat if old_flat[k] != new_flat[k]}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dicts by dotted key, each with `prefix` before it."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _build(cls: type, values: Any, path: str) -> Any:
    if not isinstance(values, ConfigDict | Mapping):
        raise UserError(f"{path} must be a section with keys, not {values!r}.")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    known, given = set(fields), dict(values.items())
    optional = {name for name, f in fields.items() if f.default is not dataclasses.MISSING}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0)
            raise UserError(f"{path}.{key} is not a known key; did you mean {path}.{near[0]}?")
    if missing := sorted(known - optional - set(given)):
        raise UserError(f"{path}.{missing[0]} is missing; configs/base.py shows every key.")
    return cls(**{k: _convert(fields[k].type, v, f"{path}.{k}") for k, v in given.items()})


def _convert(kind: Any, value: Any, path: str) -> Any:
    """`value` as `kind`, or a UserError that names `path`."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, path)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            options = ", ".join(repr(c) for c in choices)
            raise UserError(f"{path} must be one of {options}, not {value!r}.")
        return value
    if isinstance(kind, types.GenericAlias):  # tuple[str, ...]
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise UserError(f"{path} must be a tuple of strings, not {value!r}.")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{path} must be of type {kind.__name__}, not {value!r}.")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{path} must be a finite number, not {value}.")
    return value


def _check(config: Config) -> None:
    model, data, training = config.model, config.data, config.training
    decoding = config.decoding
    for section, names, least in (
        ("model", "num_layers d_model d_ff num_heads max_positions", 1),
        ("model", "d_k d_v", 0),
        ("data", "vocab_size", 5),  # padding, BOS, EOS, the unknown piece, and one more
        ("data", "max_length batch_tokens grammar_pairs validation_pairs max_shapes", 1),
        ("training", "num_steps warmup_steps accumulate_steps log_every eval_every", 1),
        ("training", "checkpoint_every keep_last", 1),
        ("training", "keep_best average_last patience clip_norm", 0),
        ("decoding", "seed", 0),
        ("decoding", "beam_size batch_tokens", 1),
        ("decoding", "max_extra_length top_k alpha", 0),
    ):
        for name in names.split():
            value = getattr(getattr(config, section), name)
            if value < least:
                raise UserError(f"config.{section}.{name} must be at least {least}, not {value}.")
    for section, names in (
        ("model", "dropout_rate attention_dropout_rate feed_forward_dropout_rate"),
        ("training", "label_smoothing ema_decay adam_b1 adam_b2"),
    ):
        for name in names.split():
            value = getattr(getattr(config, section), name)
            if not 0 <= value < 1:
                raise UserError(f"config.{section}.{name} must be in [0, 1), not {value}.")
    for section, name in (
        ("training", "learning_rate_scale"),
        ("training", "adam_eps"),
        ("model", "layer_norm_epsilon"),
    ):
        if getattr(getattr(config, section), name) <= 0:
            raise UserError(f"config.{section}.{name} must be greater than 0.")
    if not 0 < decoding.top_p <= 1:
        raise UserError(f"config.decoding.top_p must be in (0, 1], not {decoding.top_p}.")
    if decoding.temperature <= 0:
        raise UserError("config.decoding.temperature must be greater than 0.")
    if model.positions != "learned" and model.d_model % 2:
        raise UserError(
            f"config.model.d_model must be even for sinusoidal positions, not {model.d_model}."
        )
    if config.seed < 0:
        raise UserError(f"config.seed must be at least 0, not {config.seed}.")
    if training.average_last > training.keep_last:
        raise UserError(
            f"config.training.average_last is {training.average_last}, but only "
            f"config.training.keep_last = {training.keep_last} checkpoints are kept."
        )
    _check_data(data)
    longest = data.max_length + decoding.max_extra_length
    if model.positions == "learned" and model.max_positions < longest:
        raise UserError(
            f"config.model.max_positions is {model.max_positions}, but data.max_length plus "
            f"decoding.max_extra_length asks for {longest} learned positions."
        )
    _check_mesh(config)


def _with_head_sizes(model: ModelConfig) -> ModelConfig:
    """Section 3.2.2: d_k = d_v = d_model / h, where the config leaves them to it."""
    if not (model.d_k and model.d_v) and model.d_model % model.num_heads:
        raise UserError(
            f"config.model.num_heads is {model.num_heads} and does not divide "
            f"config.model.d_model, {model.d_model}; change one of them, or set config.model.d_k "
            "and d_v."
        )
    size = model.d_model // model.num_heads
    return dataclasses.replace(model, d_k=model.d_k or size, d_v=model.d_v or size)


def _check_attention(model: ModelConfig) -> None:
    """What the kernels of fused attention ask for."""
    for possible, wish in (
        (model.dtype == "bfloat16", f'config.model.dtype "bfloat16", not "{model.dtype}"'),
        (
            model.attention_dropout_rate == 0,
            f"config.model.attention_dropout_rate 0, not {model.attention_dropout_rate}",
        ),
        (
            model.d_k == model.d_v and model.d_k % 8 == 0,
            f"heads with d_k = d_v, a multiple of 8, not {model.d_k} and {model.d_v}",
        ),
    ):
        if model.attention == "fused" and not possible:
            raise UserError(f'config.model.attention "fused" takes {wish}; or set it to "plain".')


def _check_mesh(config: Config) -> None:
    tensor = config.mesh.tensor
    for name in ("num_heads", "d_ff"):
        size = getattr(config.model, name)
        if tensor > 0 and size % tensor:
            raise UserError(
                f"config.mesh.tensor is {tensor} and does not divide config.model.{name}, {size}, "
                "which that axis cuts."
            )
    sizes = [config.mesh.data, config.mesh.fsdp, config.mesh.tensor]
    if any(size == 0 or size < -1 for size in sizes) or sizes.count(-1) > 1:
        raise UserError(
            "config.mesh takes positive sizes for data, fsdp and tensor, at most one of them -1 "
            f"for the rest of the devices, not {tuple(sizes)}."
        )


def _check_data(data: DataConfig) -> None:
    if len(data.languages) != 2:
        raise UserError(f"config.data.languages must name two languages, not {data.languages!r}.")
    for split in ("train", "validation", "test"):
        files = getattr(data, split)
        needed = split == "train" and data.source == "files"
        if len(files) != 2 and (files or needed):
            raise UserError(
                f"config.data.{split} must name a source file and a target file, "
                f"for example \"('{split}.en','{split}.de')\", not {files!r}."
            )
    for source, key in (("tfds", "tfds_name"), ("prepared", "prepared_dir")):
        if data.source == source and not getattr(data, key):
            raise UserError(f'config.data.{key} is empty, but config.data.source is "{source}".')
    if data.max_shapes > 255:
        raise UserError(f"config.data.max_shapes must be at most 255, not {data.max_shapes}.")
    if data.max_length_ratio < 1:
        raise UserError(
            f"config.data.max_length_ratio must be at least 1, not {data.max_length_ratio}."
        )
    if data.batch_tokens < data.max_length:
        raise UserError(
            f"config.data.batch_tokens is {data.batch_tokens}, smaller than one sentence of "
            f"config.data.max_length {data.max_length}; raise the first or lower the second."
        )
