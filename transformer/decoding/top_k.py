"""The best continuations of all hypotheses of a sentence, without sorting the vocabulary."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from transformer.sharding import constrain, shards


def top_k(
    rows: Float[Array, "B W V"],
    offsets: Float[Array, "B W"],
    count: int,
    forbidden: Sequence[int] = (),
) -> tuple[Float[Array, "B C"], Int[Array, "B C"]]:
    """The `count` highest of `rows` + `offsets` over W and V together, and their indices.

    Equals come in the order of their indices, as `jax.lax.top_k` has them. Each entry that belongs
    to the result lies in one of the `count` blocks with the highest maxima, so that the vocabulary
    is passed once for the maxima, and only these blocks are searched. The columns `forbidden`
    count as -inf.
    """
    batch, beams, vocabulary = rows.shape
    out = np.isin(np.arange(vocabulary), forbidden)
    # Where the columns are cut over devices, no block lies on two of them.
    pieces = shards("vocab")
    size = _block_size(-(-vocabulary // pieces))
    per_row = -(-vocabulary // pieces) * pieces // size
    if count >= beams * per_row:
        rows = jnp.where(out, -jnp.inf, rows)
        return tuple(lax.top_k((rows + offsets[..., None]).reshape(batch, -1), count))
    missing = per_row * size - vocabulary
    if missing:
        rows = jnp.pad(rows, ((0, 0), (0, 0), (0, missing)), constant_values=-jnp.inf)
    blocks = rows.reshape(batch, beams, per_row, size)
    blocks = constrain(blocks, "batch", None, "vocab", None)
    out = np.pad(out, (0, missing)).reshape(per_row, size)
    highest = jnp.max(blocks, axis=-1)
    # Only the blocks with a forbidden column are masked before all entries are known to matter:
    # a copy of `rows` with the mask would cost as much as the maxima.
    for block in np.flatnonzero(out.any(axis=1)):
        allowed = jnp.where(out[block], -jnp.inf, blocks[:, :, block])
        highest = highest.at[:, :, block].set(jnp.max(allowed, axis=-1))
    highest += offsets[..., None]
    _, chosen = lax.top_k(highest.reshape(batch, -1), count)
    chosen = jnp.sort(chosen, axis=-1)  # equals: the lower index first
    beam, block = chosen // per_row, chosen % per_row
    found = jax.vmap(lambda row, beam, block: row[beam, block])(blocks, beam, block)
    found = jnp.where(jnp.asarray(out)[block], -jnp.inf, found)
    found += jnp.take_along_axis(offsets, beam, axis=1)[..., None]
    values, places = lax.top_k(found.reshape(batch, -1), count)
    index = beam * vocabulary + block * size  # of the blocks' first columns
    return values, jnp.take_along_axis(index, places // size, axis=1) + places % size


def _block_size(vocabulary: int) -> int:
    """The divisor of `vocabulary` that is nearest to 64, of those up to 256; 1 for a prime."""
    divisors = [size for size in range(1, 257) if vocabulary % size == 0]
    return min(divisors, key=lambda size: abs(size - 64))
