"""Runs as models of CTranslate2, a fast engine for translation without JAX.

CTranslate2 takes a table of positions as it is given, both places of the norm and untied matrices,
so that all but unusual sizes of a head can be expressed.
"""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from transformer.config import Config
from transformer.data.marian_tokenizer import SOURCE, TARGET, MarianTokenizer
from transformer.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from transformer.errors import UserError
from transformer.model.layers import sinusoidal_halves, sinusoidal_positions

VOCABULARY = "sentencepiece.model"

_LEAST_POSITIONS = 1024  # CTranslate2's own limit for the source
_NEVER = -1e4  # an output bias that float16 holds and that leaves no probability


def write(
    folder: pathlib.Path, config: Config, params: dict[str, Any], tokenizer: Tokenizer
) -> list[str]:
    """Fills `folder` with a model of a run's weights, `params` as by `split`, in float32.

    Beside CTranslate2's own files stands the SentencePiece model (or Marian's two) that makes the
    pieces which CTranslate2 takes and gives. The end token of the source is added by itself.

    Returns:
      A sentence for each thing in which that model differs from the run.

    Raises:
      UserError: ctranslate2 is not installed.
    """
    spec = _make_spec(config, params, tokenizer)
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    if isinstance(tokenizer, MarianTokenizer):
        for name in (SOURCE, TARGET):
            (folder / name).write_bytes(tokenizer.files[name])
    else:
        tokenizer.save(folder / VOCABULARY)
    return _differences(config)


def _differences(config: Config) -> list[str]:
    decoding = config.decoding
    if not decoding.alpha or decoding.length_penalty == "none":
        penalty = "CTranslate2 divides by |Y| unless told otherwise; give it length_penalty=0."
    elif decoding.length_penalty == "power":
        penalty = f"Give CTranslate2 length_penalty={decoding.alpha:g}, the run's; its own is 1."
    else:
        penalty = (
            "CTranslate2 has no GNMT length penalty: it divides by |Y|^length_penalty, which "
            f"favours longer outputs than ((5 + |Y|) / 6)^{decoding.alpha:g} with the same "
            "exponent."
        )
    empty = "CTranslate2 gives no empty output unless told min_decoding_length=0."
    return [penalty, empty]


def _make_spec(config: Config, params: dict[str, Any], tokenizer: Tokenizer) -> Any:
    """CTranslate2's TransformerSpec, filled."""
    try:
        from ctranslate2.specs import common_spec, transformer_spec
    except ImportError as error:
        raise UserError("CTranslate2 is not installed: pip install -e .[interop]") from error
    model = config.model
    spec = transformer_spec.TransformerSpec.from_config(
        model.num_layers,
        model.num_heads,
        pre_norm=model.norm == "pre",
        activation=getattr(common_spec.Activation, model.activation.upper()),
    )
    target = params["target_embedding"]["matrix"]
    source = params.get("own_source_embedding", {"matrix": target})["matrix"]
    output = params.get("own_output_embedding", {"matrix": target})["matrix"]
    bias = np.array(params.get("output_bias", np.zeros(len(output))), np.float32)
    bias[[PAD, BOS]] = _NEVER
    spec.encoder.embeddings[0].weight, spec.decoder.embeddings.weight = source, target
    spec.decoder.projection.weight, spec.decoder.projection.bias = output, bias
    spec.encoder.position_encodings.encodings = _positions(config, params, "source")
    spec.decoder.position_encodings.encodings = _positions(config, params, "target")
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        for index, layer in enumerate(stack.layer):
            _fill_layer(layer, params[name][index])
        if model.norm == "pre":
            _fill_norm(stack.layer_norm, params[f"{name}_norm"])

    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.bos_token = spec.config.decoder_start_token = pieces[BOS]
    spec.config.eos_token, spec.config.unk_token = pieces[EOS], pieces[UNK]
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = model.layer_norm_epsilon
    return spec


def _positions(config: Config, params: dict[str, Any], side: str) -> Float[np.ndarray, "T D"]:
    """The table that bounds the lengths which the model will take."""
    model = config.model
    if model.positions == "learned":
        return params[f"{side}_positions"]["learned"]
    table = sinusoidal_halves if model.positions == "sinusoidal_halves" else sinusoidal_positions
    longest = config.data.max_length + config.decoding.max_extra_length
    return table(max(_LEAST_POSITIONS, longest + 1), model.d_model)


def _fill_layer(spec: Any, params: dict[str, Any]) -> None:
    attention = params["self_attention"]
    _fill_linear(spec.self_attention.linear[0], attention, "query", "key", "value")
    _fill_linear(spec.self_attention.linear[1], attention, "output")
    _fill_norm(spec.self_attention.layer_norm, params["self_attention_residual"]["norm"])
    if "cross_attention" in params:
        attention = params["cross_attention"]
        _fill_linear(spec.attention.linear[0], attention, "query")
        _fill_linear(spec.attention.linear[1], attention, "key", "value")
        _fill_linear(spec.attention.linear[2], attention, "output")
        _fill_norm(spec.attention.layer_norm, params["cross_attention_residual"]["norm"])
    feed_forward = params["feed_forward"]
    for linear, n in ((spec.ffn.linear_0, 1), (spec.ffn.linear_1, 2)):
        linear.weight, linear.bias = feed_forward[f"w{n}"].T, feed_forward[f"b{n}"]
    _fill_norm(spec.ffn.layer_norm, params["feed_forward_residual"]["norm"])


def _fill_linear(spec: Any, attention: dict[str, np.ndarray], *names: str) -> None:
    """Projections of an attention side by side, as one [out, in] matrix."""

    def flat(name: str) -> Float[np.ndarray, "out in"]:
        matrix = attention[name]
        if name == "output":
            return matrix.reshape(-1, matrix.shape[-1]).T  # [H K D]
        return matrix.reshape(len(matrix), -1).T  # [D H K]

    spec.weight = np.concatenate([flat(name) for name in names])
    if f"{names[0]}_bias" in attention:
        spec.bias = np.concatenate([attention[f"{name}_bias"].ravel() for name in names])


def _fill_norm(spec: Any, norm: dict[str, np.ndarray]) -> None:
    spec.gamma, spec.beta = norm["scale"], norm["bias"]
