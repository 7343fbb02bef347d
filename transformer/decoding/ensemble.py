"""Several models that translate as one: their probabilities are averaged at every step."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int


class Ensemble(nnx.Module):
    """Stands wherever one model stands in decoding; the members share a vocabulary only."""

    def __init__(self, members: Sequence[nnx.Module]):
        self.members = nnx.List(members)

    def encode(self, source: Int[Array, "B S"], source_segments: Int[Array, "B S"]) -> list[Any]:
        """The output of each member's encoder."""
        return [member.encode(source, source_segments) for member in self.members]

    def decoding_context(self, memory: list[Any], source_segments: Int[Array, "B S"]) -> list[Any]:
        """One a member."""
        return [
            member.decoding_context(own, source_segments)
            for member, own in zip(self.members, memory, strict=True)
        ]

    def empty_cache(
        self, batch_size: int, beam_size: int, max_length: int, room: int | None = None
    ) -> list[Any]:
        """One a member."""
        sizes = batch_size, beam_size, max_length, room
        return [member.empty_cache(*sizes) for member in self.members]

    def prepare_steps(self, hypotheses: int) -> None:
        """Of each member."""
        for member in self.members:
            member.prepare_steps(hypotheses)

    def decode_step(
        self, tokens: Int[Array, "B W"], positions: Int[Array, "B"], cache: list[Any], context: list
    ) -> tuple[Float[Array, "B W V"], list[Any]]:
        """Logarithms of the mean probabilities, which serve as logits."""
        steps = [
            member.decode_step(tokens, positions, *own)
            for member, *own in zip(self.members, cache, context, strict=True)
        ]
        return mean_log_probs([logits for logits, _ in steps]), [new for _, new in steps]

    def reorder(self, cache: list[Any], parents: Int[Array, "B W"]) -> list[Any]:
        """Each member's cache, with hypothesis w's past that of hypothesis `parents[w]`."""
        return [
            member.reorder(own, parents) for member, own in zip(self.members, cache, strict=True)
        ]

    def forget(self, cache: list[Any], rows: Int[Array, "M"]) -> list[Any]:
        """Each member's cache, without the past of the sentences `rows`."""
        return [member.forget(own, rows) for member, own in zip(self.members, cache, strict=True)]

    def lost(self, cache: list[Any]) -> Bool[Array, "B"]:
        """Which sentences had no room for all of their past, the same ones in each member."""
        return self.members[0].lost(cache[0])


def members_of(model: nnx.Module) -> Sequence[nnx.Module]:
    """The members of an ensemble; a model by itself is its only one."""
    return model.members if isinstance(model, Ensemble) else [model]


def mean_log_probs(logits: Sequence[Float[Array, "*B V"]]) -> Float[Array, "*B V"]:
    """log of the arithmetic mean of softmax(logits) over the members, float32."""
    each = jnp.stack([jax.nn.log_softmax(one.astype(jnp.float32)) for one in logits])
    return jax.nn.logsumexp(each, axis=0) - jnp.log(len(logits))
