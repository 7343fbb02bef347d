"""Looking into a model while it reads a sentence and its translation."""

import dataclasses
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from transformer import sharding
from transformer.data.tokenizer import BOS, PAD, Tokenizer
from transformer.decoding.forced import position_limit, rounded, teacher_forced, token_log_probs
from transformer.model.encoder_decoder import Transformer
from transformer.model.recording import Recording, record

Kind = Literal["encoder", "decoder", "cross"]

# Where each kind of attention stands in the parameters.
_PLACES = {
    "encoder": ("encoder", "self_attention"),
    "decoder": ("decoder", "self_attention"),
    "cross": ("decoder", "cross_attention"),
}


@dataclasses.dataclass(frozen=True)
class Inspection:
    """All that a model computes for one pair of sentences, on the host and without padding.

    Position t of the decoder reads `target_inputs[t]` and predicts `target_tokens[t]`. See
    `transformer.model.recording.Recording` for what weights and states are.
    """

    source_tokens: list[str]  # pieces, "</s>" at the end
    target_tokens: list[str]  # the pieces predicted, "</s>" among them
    target_inputs: list[str]  # the pieces read: "<s>", then all but the last of `target_tokens`
    encoder_attention: Float[np.ndarray, "N H S S"]  # queries, then keys
    decoder_attention: Float[np.ndarray, "N H T T"]
    cross_attention: Float[np.ndarray, "N H T S"]
    encoder_states: Float[np.ndarray, "N_plus_1 S D"]  # float32
    decoder_states: Float[np.ndarray, "N_plus_1 T D"]
    token_log_probs: Float[np.ndarray, "T"]  # nats

    def attention(self, kind: Kind) -> Float[np.ndarray, "N H T S"]:
        """The weights of one kind of attention, queries before keys."""
        return getattr(self, f"{kind}_attention")

    def tokens(self, kind: Kind) -> tuple[list[str], list[str]]:
        """The tokens at the queries and at the keys of one kind of attention.

        A query of the decoder is named by the token that it predicts in cross-attention, whose
        weights say what that token was made of, and by the token that it reads in self-attention.
        """
        if kind == "cross":
            return self.target_tokens, self.source_tokens
        own = self.source_tokens if kind == "encoder" else self.target_inputs
        return own, own


def inspect(
    graphdef: nnx.GraphDef,
    params: Any,
    tokenizer: Tokenizer,
    source: Sequence[int],
    target: Sequence[int],
    mesh: Mesh | None = None,
) -> Inspection:
    """One teacher-forced pass over a pair of sentences, ids with EOS.

    Lengths are rounded up to a power of two, and each shape is compiled once.
    """
    most, arrays = position_limit(nnx.merge(graphdef, params)), []
    for ids in (source, target):
        padded = np.full((1, rounded(len(ids), most)), PAD, np.int32)
        padded[0, : len(ids)] = ids
        arrays.append(padded)
    with sharding.use(mesh):
        recording, log_probs = _inspect(graphdef, mesh, params, *arrays)
        recording, log_probs = jax.tree.map(np.asarray, (recording, log_probs))
    s, t = len(source), len(target)

    def stack(layers: list[np.ndarray]) -> np.ndarray:
        return np.stack(layers)[:, 0].astype(np.float32)

    return Inspection(
        source_tokens=tokenizer.pieces(source),
        target_tokens=tokenizer.pieces(target),
        target_inputs=tokenizer.pieces([BOS, *target][:t]),
        encoder_attention=stack(recording.encoder_attention)[..., :s, :s],
        decoder_attention=stack(recording.decoder_attention)[..., :t, :t],
        cross_attention=stack(recording.cross_attention)[..., :t, :s],
        encoder_states=stack(recording.encoder_states)[:, :s],
        decoder_states=stack(recording.decoder_states)[:, :t],
        token_log_probs=log_probs[0, :t],
    )


@partial(jax.jit, static_argnums=(0, 1))
def _inspect(
    graphdef: nnx.GraphDef,
    mesh: Mesh | None,
    params: Any,
    source: Int[Array | np.ndarray, "B S"],
    target: Int[Array | np.ndarray, "B T"],
) -> tuple[Recording, Float[Array, "B T"]]:
    model = nnx.merge(graphdef, params)
    hidden, recording = record(Transformer.__call__, model, *teacher_forced(source, target))
    found = recording, token_log_probs([model], [hidden], target)
    if mesh is None:
        return found
    # Every host has all of it.
    return jax.lax.with_sharding_constraint(found, sharding.replicated(mesh))


def keep_heads(
    params: dict[str, Any], kind: Kind, layer: int, heads: Collection[int]
) -> dict[str, Any]:
    """`params` with all heads but `heads` of one attention silent: zeros in their part of W^O.

    Equation of section 3.2.2: MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O is a sum over
    the heads, each through its own rows of W^O, so that the others go on as if these were not
    there. Layers and heads count from 0.
    """
    stack, attention = _PLACES[kind]
    own = params[stack][layer][attention]
    kept = np.isin(np.arange(own["output"].shape[0]), list(heads))
    changed = own | {"output": own["output"] * kept[:, None, None]}
    changed = params[stack][layer] | {attention: changed}
    return params | {stack: params[stack] | {layer: changed}}
