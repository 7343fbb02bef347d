"""Parameters, and `x` times a matrix or plus a bias, the way hardware is fast at it."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from transformer.model.initial import Initializer, Rngs
from transformer.sharding import gather_fsdp, platform


def weight(
    rngs: Rngs,
    shape: tuple[int, ...],
    logical_axes: tuple[str, ...],
    in_axis: int | tuple[int, ...] = 0,
    out_axis: int | tuple[int, ...] = -1,
) -> nnx.Param:
    """A float32 matrix, Glorot-uniform over its real fan-in and fan-out.

    The paper does not say how its weights start; this is tensor2tensor's initialiser.
    """
    return parameter(_glorot_uniform(in_axis, out_axis), rngs, shape, logical_axes)


@functools.cache  # equal ones are one, for `transformer.model.initial` to find them
def _glorot_uniform(in_axis: int | tuple[int, ...], out_axis: int | tuple[int, ...]) -> Initializer:
    return nnx.initializers.variance_scaling(
        1.0, "fan_avg", "uniform", in_axis=in_axis, out_axis=out_axis
    )


def parameter(
    init: Initializer, rngs: Rngs, shape: tuple[int, ...], logical_axes: tuple[str, ...]
) -> nnx.Param:
    """A float32 parameter that carries the names which `transformer.sharding` maps to the mesh."""
    if isinstance(rngs, nnx.Rngs):
        value = init(rngs.params(), shape, jnp.float32)
    else:
        value = rngs(init, shape)
    return nnx.Param(value, logical_axes=logical_axes, turned=False)


def read(parameter: nnx.Param, dtype: DTypeLike) -> Float[Array, "..."]:
    """A parameter as the model computes with it: in `dtype`, and whole along the fsdp axis."""
    return gather_fsdp(parameter[...].astype(dtype), parameter.logical_axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
    x: Float[Array, "..."], matrix: Float[Array, "..."], axes: int = 1
) -> Float[Array, "..."]:
    """Sums over the last `axes` axes of `x` and the first of `matrix`.

    JAX works out the transpose of the matrix's gradient, for which CPUs copy the gradient of the
    result turned over, and afterwards what came out. Here nothing that has a row a token is turned
    over on a CPU; elsewhere `x` is, once for all that it is multiplied by.
    """
    return jnp.tensordot(x, matrix, axes)


def _product_forward(x, matrix, axes):
    return product(x, matrix, axes), (x, matrix)


def _product_backward(axes, inputs, gradient):
    x, matrix = inputs
    kept = tuple(range(axes, matrix.ndim))
    last = tuple(range(gradient.ndim - len(kept), gradient.ndim))
    leading = tuple(range(x.ndim - axes))
    x_gradient = jax.lax.dot_general(gradient, matrix, ((last, kept), ((), ())))
    if platform() == "cpu":
        # Two matrices as they lie. With more dimensions XLA copies `x` turned over, worked out
        # anew, an element at a time at a stride that no cache holds.
        x = jax.lax.optimization_barrier(x.reshape(-1, math.prod(matrix.shape[:axes])))
        gradient, leading = gradient.reshape(len(x), -1), (0,)
    matrix_gradient = jax.lax.dot_general(x, gradient, ((leading, leading), ((), ())))
    return x_gradient, matrix_gradient.reshape(matrix.shape)


product.defvjp(_product_forward, _product_backward)


def multiply(
    x: Float[Array, "..."], weight: nnx.Param, dtype: DTypeLike, axes: int = 1
) -> Float[Array, "..."]:
    """`product` of `x` and a parameter, computed in `dtype`."""
    matrix = read(weight, dtype)
    if not weight.turned:
        return product(x, matrix, axes)
    kept, leading = matrix.ndim - axes, x.ndim - axes
    summed = tuple(range(kept, matrix.ndim)), tuple(range(leading, x.ndim))
    y = jax.lax.dot_general(matrix, x, (summed, ((), ())))
    return jnp.moveaxis(y, range(kept), range(leading, leading + kept))


def turned(weight: nnx.Param, axes: int = 1) -> nnx.Param:
    """The same for `multiply`, stored with the `axes` axes that are summed over last.

    CPUs pack the second operand of a product anew each time. For few rows that takes long where it
    is the matrix; of a matrix that is turned over it is `x`.
    """
    if weight.turned:
        return weight
    order = (*range(axes, weight.ndim), *range(axes))
    names = tuple(weight.logical_axes[axis] for axis in order)
    return nnx.Param(weight[...].transpose(order), logical_axes=names, turned=True)


def add_bias(x: Float[Array, "..."], bias: nnx.Param) -> Float[Array, "..."]:
    """`x` + `bias` in the dtype of `x`; the bias's gradient is summed over tokens in float32."""
    return _add(x, read(bias, jnp.float32))


@jax.custom_vjp
def _add(x: Float[Array, "..."], bias: Float[Array, "..."]) -> Float[Array, "..."]:
    # Not in float32: GPUs then add within the matrix product.
    return x + bias.astype(x.dtype)


def _add_backward(bias, gradient):
    leading = tuple(range(gradient.ndim - bias.ndim))
    return gradient, jnp.sum(gradient, leading, dtype=bias.dtype)


_add.defvjp(lambda x, bias: (_add(x, bias), bias), _add_backward)
