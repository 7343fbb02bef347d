"""Marian's weights, as Hugging Face names and lays them out, and this model's: a renaming.

Three things differ. PyTorch's matrices are [out, in] with heads side by side. Marian's sinusoids
have the paper's wavelengths (section 3.5), but all sines stand before all cosines: a permutation of
the D axis of every weight that has one makes them the paper's, and changes nothing else. And
Marian numbers the vocabulary otherwise, and has no padding apart from what its decoder begins with.
"""

from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Int, Integer

from transformer.config import ModelConfig
from transformer.data.marian_tokenizer import MarianTokenizer
from transformer.data.tokenizer import BOS, EOS, UNK, Tokenizer
from transformer.errors import UserError
from transformer.model.encoder_decoder import logical_axes, split
from transformer.training.step import abstract_model

Tensors = dict[str, np.ndarray]

EMBEDDING, OUTPUT_BIAS = "model.shared.weight", "final_logits_bias"

# PAD's output bias in an imported model. PAD is never to be produced: e^-100 of an unnormalised
# probability is nothing beside any other word's. A still lower bias would swamp the label-smoothed
# loss, which asks for epsilon / V of every word; this adds 100 epsilon / V, 0.0002 nats of a
# vocabulary of 58,000. And bfloat16 holds -100 exactly.
PAD_BIAS = -100.0

_WIDTH = ("embed", "features")  # the axes of size d_model

_ATTENTIONS = {"self_attention": "self_attn", "cross_attention": "encoder_attn"}
_PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
_NORMS = {
    "self_attention_residual": "self_attn_layer_norm",
    "cross_attention_residual": "encoder_attn_layer_norm",
    "feed_forward_residual": "final_layer_norm",
}
_NAMES = {
    ("feed_forward", "w1"): "fc1.weight",
    ("feed_forward", "b1"): "fc1.bias",
    ("feed_forward", "w2"): "fc2.weight",
    ("feed_forward", "b2"): "fc2.bias",
}
for _ours, _theirs in _ATTENTIONS.items():
    for _part, _short in _PROJECTIONS.items():
        _NAMES[_ours, _part] = f"{_theirs}.{_short}.weight"
        _NAMES[_ours, f"{_part}_bias"] = f"{_theirs}.{_short}.bias"
for _ours, _theirs in _NORMS.items():
    _NAMES[_ours, "norm", "scale"] = f"{_theirs}.weight"
    _NAMES[_ours, "norm", "bias"] = f"{_theirs}.bias"


def marian_name(path: tuple[str | int, ...]) -> str:
    """What Hugging Face calls the parameter at `path` of `split`'s nested dict."""
    if path == ("target_embedding", "matrix"):
        return EMBEDDING
    if path == ("output_bias",):
        return OUTPUT_BIAS
    stack, layer, *rest = path
    return f"model.{stack}.layers.{layer}.{_NAMES[tuple(rest)]}"


def marian_ids(tokenizer: Tokenizer) -> Integer[np.ndarray, "V"]:
    """For every id the one that it has in Marian's vocabulary, and -1 for PAD, which has none.

    Marian's ids are the tokenizer's own where it came from there. Else EOS and UNK come first, as
    in OPUS-MT's models, then the pieces, and last BOS, as the padding that the decoder begins with.
    """
    if isinstance(tokenizer, MarianTokenizer):
        return tokenizer.marian_ids
    ids = np.arange(tokenizer.vocab_size) - 2
    ids[[BOS, EOS, UNK]] = tokenizer.vocab_size - 2, 0, 1
    ids[0] = -1
    return ids


def to_marian(params: dict[str, Any], config: ModelConfig, ids: Int[np.ndarray, "V"]) -> Tensors:
    """The tensors of a MarianMTModel, float32, that computes what this model computes.

    PAD's row is left out: what it had of the probability, about epsilon / V after training with
    label smoothing epsilon, goes to the other words in proportion.

    Args:
      params: nested as by `split`, arrays of any sort.
      config: of a post-norm model with the paper's sinusoids, all matrices tied and
        d_k = d_v = d_model / h.
      ids: see `marian_ids`.
    """
    axes = flatten_dict(logical_axes(abstract_model(config, len(ids))))
    tensors = {}
    for path, array in flatten_dict(params).items():
        array = np.asarray(array, np.float32)
        for axis, name in enumerate(axes[path]):
            if name in _WIDTH:
                array = np.take(array, _halves(array.shape[axis]), axis)
        if axes[path][0] == "vocab":
            array = array[1:][np.argsort(ids[1:])]
            shape = _marian_shape(array.shape, axes[path])
        else:
            shape = _marian_shape(array.shape, axes[path])
            array = array.reshape(shape[::-1]).T
        tensors[marian_name(path)] = np.ascontiguousarray(array.reshape(shape))
    for name in list(tensors):
        if name.endswith("_proj.weight"):
            bias = name.removesuffix("weight") + "bias"
            tensors.setdefault(bias, np.zeros(len(tensors[name]), np.float32))
    tensors.setdefault(OUTPUT_BIAS, np.zeros((1, len(ids) - 1), np.float32))
    return tensors


def from_marian(tensors: Tensors, config: ModelConfig, ids: Int[np.ndarray, "V"]) -> dict[str, Any]:
    """The parameters, nested as by `split`, that compute what a MarianMTModel computes.

    Args:
      tensors: one for every parameter of a model with biases everywhere, and no others.
      config: as for `to_marian`, with `attention_bias` and `output_bias`.
      ids: see `marian_ids`; PAD gets a row of zeros and an output bias of `PAD_BIAS`.

    Raises:
      UserError: a tensor is missing, of another shape, not finite, or one too many; it is named.
    """
    model = abstract_model(config, len(ids))
    axes = flatten_dict(logical_axes(model))
    left, params = dict(tensors), {}
    for path, wanted in flatten_dict(split(model)[1]).items():
        name, vocabulary = marian_name(path), axes[path][0] == "vocab"
        if name not in left:
            raise UserError(f"the weights hold no tensor {name}.")
        array = np.asarray(left.pop(name), np.float32)
        shape = (wanted.shape[0] - vocabulary, *wanted.shape[1:])
        if array.shape != _marian_shape(shape, axes[path]):
            raise UserError(
                f"the tensor {name} has the shape {array.shape}, but config.json asks for "
                f"{_marian_shape(shape, axes[path])}."
            )
        if not np.isfinite(array).all():
            raise UserError(f"the tensor {name} holds values that are not finite.")
        if vocabulary:
            rows = array.reshape(shape)[ids]
            rows[0] = PAD_BIAS if name == OUTPUT_BIAS else 0
            array = rows
        array = (array if vocabulary else array.T).reshape(wanted.shape)
        for axis, axis_name in enumerate(axes[path]):
            if axis_name in _WIDTH:
                array = np.take(array, _interleaved(array.shape[axis]), axis)
        params[path] = array
    if left:
        raise UserError(
            f"the weights hold a tensor {min(left)}, for which this model has no place."
        )
    return unflatten_dict(params)


def _marian_shape(shape: tuple[int, ...], axes: tuple[str, ...]) -> tuple[int, ...]:
    """Heads side by side in one axis, and [out, in]; the output bias is a matrix of one row."""
    sizes = list(shape)
    if "heads" in axes:
        heads = axes.index("heads")
        sizes[heads : heads + 2] = [sizes[heads] * sizes[heads + 1]]
    if axes[0] == "vocab":
        return (1, *sizes) if len(sizes) == 1 else tuple(sizes)
    return tuple(reversed(sizes))


def _halves(d_model: int) -> Int[np.ndarray, "D"]:
    """0, 2, 4, ..., then 1, 3, 5, ...: where Marian's dimensions stand in the paper's order."""
    return np.arange(d_model).reshape(-1, 2).T.ravel()


def _interleaved(d_model: int) -> Int[np.ndarray, "D"]:
    """0, D / 2, 1, D / 2 + 1, ...: the inverse of `_halves`."""
    return np.arange(d_model).reshape(2, -1).T.ravel()
