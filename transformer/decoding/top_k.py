"""The best continuations of all hypotheses of a sentence, without sorting the vocabulary."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from transformer.sharding import constrain, shards


def top_k(
    columns: Float[Array, "V B W"],
    offsets: Float[Array, "B W"],
    count: int,
    forbidden: Sequence[int] = (),
) -> tuple[Float[Array, "B C"], Int[Array, "B C"], Int[Array, "B C"]]:
    """The `count` highest of `columns` + `offsets` over V and W together; where in W and in V.

    Equals come in the order of W, then V, as `jax.lax.top_k` of [B W V] has them. Each entry that
    belongs to the result lies in one of the `count` blocks with the highest maxima, so that the
    vocabulary is passed once for the maxima, and only these blocks are searched. The entries
    `forbidden` of V count as -inf.
    """
    vocabulary, batch, beams = columns.shape
    out = np.isin(np.arange(vocabulary), forbidden)
    # Where the vocabulary is cut over devices, no block lies on two of them.
    pieces = shards("vocab")
    size = _block_size(-(-vocabulary // pieces))
    parts = -(-vocabulary // pieces) * pieces // size
    if count >= beams * parts:
        columns = jnp.where(out[:, None, None], -jnp.inf, columns) + offsets
        values, index = lax.top_k(jnp.moveaxis(columns, 0, -1).reshape(batch, -1), count)
        return values, index // vocabulary, index % vocabulary
    missing = parts * size - vocabulary
    if missing:
        columns = jnp.pad(columns, ((0, missing), (0, 0), (0, 0)), constant_values=-jnp.inf)
    blocks = columns.reshape(parts, size, batch, beams)
    blocks = constrain(blocks, "vocab", None, "batch", None)
    out = np.pad(out, (0, missing)).reshape(parts, size)
    highest = jnp.max(blocks, axis=1)
    # Only the blocks with a forbidden entry are masked before all entries are known to matter:
    # a copy of `columns` with the mask would cost as much as the maxima.
    for block in np.flatnonzero(out.any(axis=1)):
        allowed = jnp.where(out[block][:, None, None], -jnp.inf, blocks[block])
        highest = highest.at[block].set(jnp.max(allowed, axis=0))
    highest = jnp.moveaxis(highest + offsets, 0, -1)  # [B W parts]
    _, chosen = lax.top_k(highest.reshape(batch, -1), count)
    chosen = jnp.sort(chosen, axis=-1)  # equals: the lower index first
    beam, block = chosen // parts, chosen % parts
    found = blocks[block, :, jnp.arange(batch)[:, None], beam]  # [B C size]
    found = jnp.where(jnp.asarray(out)[block], -jnp.inf, found)
    found += jnp.take_along_axis(offsets, beam, axis=1)[..., None]
    values, places = lax.top_k(found.reshape(batch, -1), count)
    beam, block = (jnp.take_along_axis(which, places // size, axis=1) for which in (beam, block))
    return values, beam, block * size + places % size


def _block_size(vocabulary: int) -> int:
    """The divisor of `vocabulary` that is nearest to 64, of those up to 256; 1 for a prime."""
    divisors = [size for size in range(1, 257) if vocabulary % size == 0]
    return min(divisors, key=lambda size: abs(size - 64))
