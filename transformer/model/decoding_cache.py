"""What the hypotheses of each sentence have behind them: keys and values, and whose they are."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from transformer.model.attention import CachedKeysValues

RECENT = 8  # R, where not all steps are


class DecodingCache(NamedTuple):
    """The past of W hypotheses a sentence, in Q places, and then W for each of the last R steps.

    Keys and values stay where they were written. When a hypothesis goes on from another one, it
    takes over rows of `kept` and `ancestors`, which tell what is its own. Every step attends all
    places, so that these should be few: before the place of a recent step is written again,
    `settle` moves what any hypothesis still needs to the Q others. Most of their past is common to
    all, and takes much less than W a step. With Q = 0 all steps there can be are recent.
    """

    layers: list[CachedKeysValues]  # S = Q + W R places
    kept: Bool[Array, "B W Q"]  # which of the Q are a hypothesis's own
    ancestors: Int[Array, "B W R"]  # whose entry of a recent step is its own; -1: nobody's
    lost: Bool[Array, "B"]  # sentences that needed more than Q, whose hypotheses lack some past
    steps: Int[Array, ""]  # int32, taken so far; step t has the recent places of step t - R
    positions: Float[Array, "T D"]  # encodings of the target's positions

    def own(self) -> Bool[Array, "B W S"]:
        """Which places belong to each hypothesis's past."""
        batch, beams, recent = self.ancestors.shape
        own = self.ancestors[..., None] == jnp.arange(beams)
        return jnp.concatenate([self.kept, own.reshape(batch, beams, recent * beams)], axis=-1)

    def reorder(self, parents: Int[Array, "B W"]) -> "DecodingCache":
        """Gives hypothesis w the past of hypothesis `parents[w]`."""
        take = partial(jnp.take_along_axis, indices=parents[:, :, None], axis=1)
        return self._replace(kept=take(self.kept), ancestors=take(self.ancestors))

    def forget(self, rows: Int[Array, "M"]) -> "DecodingCache":
        """Takes their past from all hypotheses of the sentences `rows`; there need be no such."""

        def put(leaf, value):
            return leaf.at[rows].set(value, mode="drop")

        return self._replace(
            kept=put(self.kept, False),
            ancestors=put(self.ancestors, -1),
            lost=put(self.lost, False),
        )

    def settle(self) -> "DecodingCache":
        """Frees the recent places of one in R sentences; R calls in a row do it for all."""
        batch, _, recent = self.ancestors.shape
        room = self.kept.shape[2]
        if not room:
            return self
        count = -(-batch // recent)
        start = self.steps % recent * count  # the last few may come twice: that changes nothing

        def cut(leaf):
            return lax.dynamic_slice_in_dim(leaf, start, count)

        def put(leaf, new):
            return lax.dynamic_update_slice(leaf, new, (start, *[0] * (leaf.ndim - 1)))

        own = cut(self.own())  # [M W S]
        needed = own.any(axis=1)
        places = jnp.argsort(~needed, axis=1, stable=True)[:, :room]  # [M Q], needed ones first
        rows = jnp.minimum(start, batch - count) + jnp.arange(count)

        def moved(leaf, axis):
            return jax.vmap(lambda row, own: jnp.take(leaf[row], own, axis))(rows, places)

        layers = [
            CachedKeysValues(put(keys, moved(keys, 2)), put(values, moved(values, 1)))
            for keys, values in self.layers
        ]
        return self._replace(
            layers=layers,
            kept=put(self.kept, jnp.take_along_axis(own, places[:, None], axis=2)),
            ancestors=put(self.ancestors, jnp.full_like(cut(self.ancestors), -1)),
            lost=put(self.lost, cut(self.lost) | (needed.sum(axis=1) > room)),
        )
