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
Admit = Callable[[Cache, Bool[Array, "B"], Int[Array, "B"]], Cache]

_FREE = 16  # slots are filled when one in so many is free: it costs about as much as a step


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
      admit: ``admit(cache, fresh [B], sentences [B])`` makes the slots `fresh` those of the named
        sentences, without a past. Only needed where N exceeds B.
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

    least = batch_size - max(1, batch_size // _FREE)

    def fill(carry: tuple) -> tuple:
        slots, cache, following, found = carry
        slots, cache = advance_until(jnp.where(following < real, least, leave), slots, cache)
        found = jax.tree.map(
            lambda every, new: every.at[slots.sentence].set(new), found, search.result(slots)
        )
        free = ~search.goes_on(slots)
        number = following + jnp.cumsum(free) - 1
        fresh = free & (number < real)
        number = jnp.where(fresh, number, slots.sentence)
        slots = choose(fresh, search.start(number), slots)
        return slots, admit(cache, fresh, number), following + jnp.sum(fresh), found

    def unfinished(carry: tuple) -> Bool[Array, ""]:
        slots, _, following, _ = carry
        return (following < real) | (left(slots) > leave)

    found = search.result(search.start(jnp.arange(sentences)))  # what padding keeps
    carry = (slots, cache, jnp.asarray(batch_size), found)
    return lax.while_loop(unfinished, fill, carry)[-1]
