"""A few sentences are searched at a time, each in a slot of its own; the others wait.

Some sentences take several times as many steps as others. A slot whose sentence has ended takes the
next one that waits, within one compiled loop, so that hardly a step is wasted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

Cache = Any
Slots = Any  # a named tuple of leaves [B ...]; `sentence` is one of them, the sentences' numbers
Result = Any  # leaves [B ...], or [N ...] of all sentences
Admit = Callable[[Cache, Int[Array, "M"], Int[Array, "M"]], Cache]

_AT_ONCE = 16  # one slot in so many is filled at once, when as many are free


class Search(NamedTuple):
    """What a search does with its slots."""

    start: Callable[[Int[Array, "B"]], Slots]  # from sentences' numbers
    advance: Callable[[Slots, Cache], tuple[Slots, Cache]]  # a step; ended slots do not change
    goes_on: Callable[[Slots], Bool[Array, "B"]]  # False: ended, or there never was a sentence
    result: Callable[[Slots], Result]


def choose(rows: Bool[Array, "B"], new: Any, old: Any) -> Any:
    """Leaves [B ...]: those of `new` in `rows`, of `old` elsewhere."""
    return jax.tree.map(
        lambda new, old: jnp.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old), new, old
    )


def run(
    search: Search,
    cache: Cache,
    admit: Admit | None,
    batch_size: int,
    sentences: int,
    real: Int[Array, ""],
    leave: int,
) -> Result:
    """The results of all sentences, in their order.

    Args:
      search: what is done with the slots.
      cache: of the sentences 0 to B - 1.
      admit: ``admit(cache, slots [M], sentences [M])`` makes M slots those of the named sentences,
        without a past; there is no slot B, which is to be passed over. Only needed where N
        exceeds B.
      batch_size: B.
      sentences: N, at least B.
      real: how many sentences there are; from this number on they are padding.
      leave: ends when none waits and no more than this many go on.
    """

    def left(slots: Slots) -> Int[Array, ""]:
        return jnp.sum(search.goes_on(slots))

    def advance_until(enough: Int[Array, ""] | int, slots: Slots, cache: Cache) -> tuple:
        return lax.while_loop(
            lambda carry: left(carry[0]) > enough,
            lambda carry: search.advance(*carry),
            (slots, cache),
        )

    slots = search.start(jnp.arange(batch_size))
    if sentences == batch_size:
        return search.result(advance_until(leave, slots, cache)[0])

    at_once = max(1, batch_size // _AT_ONCE)  # M

    def fill(carry: tuple) -> tuple:
        slots, cache, following, found = carry
        enough = jnp.where(following < real, batch_size - at_once, leave)
        slots, cache = advance_until(enough, slots, cache)
        free, rows = lax.top_k((~search.goes_on(slots)).astype(jnp.int32), at_once)
        found = keep(found, jax.tree.map(lambda leaf: leaf[rows], slots))
        sentences = following + jnp.arange(at_once)
        fresh = (free > 0) & (sentences < real)
        rows = jnp.where(fresh, rows, batch_size)
        slots = jax.tree.map(
            lambda leaf, new: leaf.at[rows].set(new, mode="drop"), slots, search.start(sentences)
        )
        return slots, admit(cache, rows, sentences), following + jnp.sum(fresh), found

    def keep(found: Result, slots: Slots) -> Result:
        return jax.tree.map(
            lambda every, new: every.at[slots.sentence].set(new), found, search.result(slots)
        )

    def unfinished(carry: tuple) -> Bool[Array, ""]:
        slots, _, following, _ = carry
        return (following < real) | (left(slots) > leave)

    found = search.result(search.start(jnp.arange(sentences)))  # what padding keeps
    carry = (slots, cache, jnp.asarray(batch_size), found)
    slots, _, _, found = lax.while_loop(unfinished, fill, carry)
    return keep(found, slots)
