"""Equation 1 by kernels that never hold all scores: cuDNN's on GPUs, splash attention on TPUs.

Both come with JAX. They compute in the dtype of their inputs with sums in float32, and drop no
attention weights.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from transformer.errors import UserError
from transformer.model.visibility import Visibility
from transformer.sharding import partition_spec

_BLOCK = 128  # lanes of a TPU: splash attention takes lengths that are multiples of it
_LARGEST_BLOCK = 512
_INTERPRET = False  # of the TPU's kernel, on a CPU: for tests


def cudnn_attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B S H K"],
    value: Float[Array, "B S H K"],
    visible: Visibility,
) -> Float[Array, "B T H K"]:
    """By cuDNN; bfloat16, d_k = d_v, a multiple of 8 and at most 128 (256 from Hopper on).

    Padding stands behind a sentence, so that lengths say it; packed rows need a mask, of which
    cuDNN takes even lengths only.

    Raises:
      UserError: this GPU or its cuDNN cannot, by what JAX knows of them.
    """
    run = functools.partial(_cudnn, visible.causal)
    inputs = query, key, value, visible.key_segments, visible.query_segments
    # JAX cuts cuDNN's kernel itself, but not where some axes of the mesh are cut by hand already.
    if jax.sharding.get_abstract_mesh().manual_axes:
        run = functools.partial(_each_device, run, ("batch", None, "heads", None))
    try:
        return run(*inputs)
    except NotImplementedError as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f'config.model.attention "fused" cannot be had on these GPUs: {reason}; set it to '
            '"plain".'
        ) from error


def _cudnn(causal: bool, query, key, value, key_segments, query_segments):
    attend = functools.partial(jax.nn.dot_product_attention, implementation="cudnn")
    if query_segments is not None:
        length = query.shape[1]
        query, key, value = (_padded(x, 1, 2) for x in (query, key, value))
        queries, keys = (_padded(x, 1, 2) for x in (query_segments, key_segments))
        mask = Visibility(keys, queries, causal).mask(query.shape[1])
        return attend(query, key, value, mask=mask)[:, :length]
    lengths = None
    if key_segments is not None:
        # A row without a sentence attends one key of padding, lest it be divided by nothing.
        lengths = jnp.maximum(jnp.sum(key_segments > 0, axis=1, dtype=jnp.int32), 1)
    return attend(query, key, value, is_causal=causal, key_value_seq_lengths=lengths)


def splash_attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B S H K"],
    value: Float[Array, "B S H Kv"],
    visible: Visibility,
) -> Float[Array, "B T H Kv"]:
    """By JAX's Pallas kernel, each device its own rows and heads."""
    rows, length = query.shape[:2]
    segments = _segments(visible, rows, length, key.shape[1])
    query = query * query.shape[-1] ** -0.5
    blocks = [_padded(x.swapaxes(1, 2), 2, _BLOCK) for x in (query, key, value)]
    segments = [_padded(x, 1, _BLOCK) for x in segments]
    run = functools.partial(_splash, visible.causal)
    found = _each_device(run, ("batch", "heads", None, None), *blocks, *segments)
    return found[:, :, :length].swapaxes(1, 2)


def _each_device(
    run: Callable, axes: tuple[str | None, ...], query: Array, key: Array, value: Array, *segments
) -> Array:
    """`run` of all these, on each device for its own rows and heads, as `axes` name them."""
    mesh = jax.sharding.get_abstract_mesh()
    if free := set(mesh.axis_names) - set(mesh.manual_axes):
        heads = partition_spec(axes, query.shape, mesh)
        rows = partition_spec(("batch",), query.shape[:1], mesh)
        run = jax.shard_map(
            run,
            mesh=mesh,
            in_specs=(heads,) * 3 + (rows,) * len(segments),
            out_specs=heads,
            axis_names=free,
            check_vma=False,  # the kernels' outputs do not say along which axes they vary
        )
    return run(query, key, value, *segments)


def _segments(
    visible: Visibility, rows: int, queries: int, keys: int
) -> tuple[Int[Array, "B T"], Int[Array, "B S"]]:
    """Numbers that are equal where a query sees a key: those of `visible`, or all 1."""
    ones = functools.partial(jnp.ones, dtype=jnp.int32)
    if visible.key_segments is None:
        return ones((rows, queries)), ones((rows, keys))
    if visible.query_segments is not None:
        return visible.query_segments, visible.key_segments
    return ones((rows, queries)), (visible.key_segments > 0).astype(jnp.int32)


def _padded(x: Shaped[Array, "..."], axis: int, multiple: int) -> Shaped[Array, "..."]:
    """`x` with zeros behind it, up to a multiple of so many places along `axis`."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % multiple)
    return jnp.pad(x, widths)


def _splash(causal: bool, query, key, value, query_segments, key_segments):
    """For the rows and heads of one device: [B H T K] and segments [B T], [B S]."""
    from jax.experimental.pallas.ops.tpu import splash_attention as splash  # half a second

    heads, lengths = query.shape[1], (query.shape[2], key.shape[2])
    mask = splash.CausalMask(lengths) if causal else splash.FullMask(lengths)
    rows, columns = (math.gcd(length, _LARGEST_BLOCK) for length in lengths)
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([mask] * heads),
        block_sizes=splash.BlockSizes(
            block_q=rows,
            block_q_dkv=rows,
            block_q_dq=rows,
            block_kv=columns,
            block_kv_dkv=columns,
            block_kv_dq=columns,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=_INTERPRET,
    )

    def one_row(query, key, value, query_segments, key_segments):
        segments = splash.SegmentIds(q=query_segments, kv=key_segments)
        return kernel(query, key, value, segment_ids=segments)

    return jax.vmap(one_row)(query, key, value, query_segments, key_segments)
