"""A model without numbers, and its initial weights drawn in a few goes.

    model = outline(lambda rngs: Transformer(config, vocab_size, rngs))        # shapes alone
    model = draw(lambda rngs: Transformer(config, vocab_size, rngs), key)      # inside a jit

Constructors ask for their parameters one by one. A program that draws one by one is as long as the
model is deep, and took longer to compile than a small model's training step. Here all parameters of
one shape and initialiser are drawn at once, and every number is the one that `nnx.Rngs` gives.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

Initializer = Callable[[Key[Array, ""], tuple[int, ...], type], Float[Array, "..."]]


class Draws:
    """Stands in for `nnx.Rngs` in a constructor: notes what is asked for, in order.

    It gives `values`, one after the other, or without any the shapes alone.
    """

    def __init__(self, values: Iterable[Float[Array, "..."]] | None = None):
        self._values = None if values is None else iter(values)
        self.asked: list[tuple[Initializer, tuple[int, ...]]] = []

    def __call__(
        self, init: Initializer, shape: tuple[int, ...]
    ) -> Float[Array, "..."] | jax.ShapeDtypeStruct:
        """The next parameter."""
        self.asked.append((init, shape))
        if self._values is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return next(self._values)


Rngs = nnx.Rngs | Draws


def outline(make: Callable[[Rngs], nnx.Module]) -> nnx.Module:
    """`make(rngs)` without its numbers: structure, shapes and axis names. Nothing is traced."""
    return make(Draws())


def draw(make: Callable[[Rngs], nnx.Module], key: Key[Array, ""]) -> nnx.Module:
    """`make(nnx.Rngs(key))`, to the bit."""
    wanted = Draws()
    make(wanted)
    alike = defaultdict(list)
    for place, kind in enumerate(wanted.asked):
        alike[kind].append(place)
    # As nnx.Rngs counts.
    keys = jax.vmap(partial(jax.random.fold_in, key))(np.arange(len(wanted.asked), dtype="u4"))
    values = {}
    for (init, shape), places in alike.items():
        draw_one = partial(init, shape=shape, dtype=jnp.float32)
        values |= zip(places, jax.vmap(draw_one)(keys[np.array(places)]), strict=True)
    return make(Draws(values[place] for place in range(len(values))))
