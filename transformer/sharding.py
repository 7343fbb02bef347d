"""The mesh, the one table of axis rules, and the shardings that follow from them.

Parameters carry logical axis names (`transformer.model.layers.parameter`); this table says along
which mesh axes each is cut. GSPMD inserts the collectives; where it would choose bad ones, the
model says how an array lies (`constrain`, `gather_fsdp`).
"""

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from transformer.config import MeshConfig
from transformer.errors import UserError

MESH_AXES = ("data", "fsdp", "tensor")

RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "vocab": ("tensor",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "head_dim": (),
    "position": (),
    "features": (),  # of scales and biases [D]: too small to be worth a collective each
}


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh with axes data, fsdp and tensor over `devices`, by default all there are.

    Raises:
      UserError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    given = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and len(devices) % given == 0:
        sizes[sizes.index(-1)] = len(devices) // given
    if math.prod(sizes) != len(devices):
        raise UserError(
            f"config.mesh {(config.data, config.fsdp, config.tensor)} (data, fsdp, tensor) does "
            f"not divide the {len(devices)} devices here; their product must be {len(devices)}."
        )
    return jax.make_mesh(sizes, MESH_AXES, (AxisType.Auto,) * 3, devices=devices)


def mesh_that_fits(config: MeshConfig) -> Mesh:
    """`make_mesh`, or all devices along data where there are more or fewer than `config` asks for.

    For weights that are read on another machine than they were trained on.
    """
    try:
        return make_mesh(config)
    except UserError:
        return make_mesh(MeshConfig(data=-1, fsdp=1, tensor=1))


def platform(mesh: Mesh | None = None) -> str:
    """What the program that is being traced will run on: "cpu", "gpu" or "tpu".

    It is that of `mesh`, by default the one in force, which need not be here (ahead-of-time
    compilation), or else of JAX's own devices.
    """
    abstract = mesh.abstract_mesh if mesh else jax.sharding.get_abstract_mesh()
    device = abstract.abstract_device
    return device.platform if device else jax.default_backend()


def batch_shards(mesh: Mesh | AbstractMesh | None) -> int:
    """Into how many pieces the rows of a batch are cut; one without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in RULES["batch"])


def shards(name: str) -> int:
    """Into how many pieces the mesh in force cuts the logical axis `name`."""
    mesh = jax.sharding.get_abstract_mesh()
    axes = () if mesh.empty else RULES[name]
    return math.prod(mesh.shape[axis] for axis in axes if axis not in mesh.manual_axes)


def partition_spec(
    logical_axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """The mesh axes of each dimension of a stored array; what they do not divide stays whole."""
    return _spec(logical_axes, shape, mesh, lambda size, parts: size % parts == 0)


def _spec(logical_axes, shape, mesh, may_cut) -> PartitionSpec:
    # Inside `for_each_shard` the axes of the batch are cut already, and no longer to be named.
    free = mesh.shape.keys() - set(jax.sharding.get_abstract_mesh().manual_axes)
    spec = []
    for name, size in zip(logical_axes, shape, strict=True):
        axes = tuple(axis for axis in RULES[name] if axis in free) if name else ()
        parts = math.prod(mesh.shape[axis] for axis in axes)
        spec.append(axes if axes and may_cut(size, parts) else None)
    return PartitionSpec(*spec)


def tree_shardings(mesh: Mesh, logical_axes: Any, shapes: Any) -> Any:
    """A NamedSharding for each array of `shapes`, from the tuple of names in its place."""
    return jax.tree.map(
        lambda array, axes: NamedSharding(mesh, partition_spec(axes, array.shape, mesh)),
        shapes,
        logical_axes,
    )


def shape_template(arrays: Any, shardings: Any) -> Any:
    """What Orbax restores into: shapes and dtypes of `arrays`, each with its sharding."""
    return jax.tree.map(
        lambda array, sharding: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding),
        arrays,
        shardings,
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over data and fsdp, everything else whole."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"]))


def row_blocks(mesh: Mesh) -> tuple[tuple[int, ...], int]:
    """Which blocks of a batch's rows the devices of this process hold, and how many there are.

    Processes whose devices share rows (along the tensor axis) all supply them; which blocks a
    process has, the mesh decides, and they need not be neighbours.
    """
    count = batch_shards(mesh)
    held = batch_sharding(mesh).addressable_devices_indices_map((count,))
    return tuple(sorted({block.start or 0 for (block,) in held.values()})), count


def put_batch(mesh: Mesh, batch: Any) -> Any:
    """Makes global arrays of the rows of this process's `row_blocks` (numpy, None stays None)."""
    sharding = batch_sharding(mesh)
    own, count = row_blocks(mesh)

    def put(rows: Any) -> jax.Array:
        rows = np.asarray(rows)
        shape = (len(rows) // len(own) * count, *rows.shape[1:])
        return jax.make_array_from_process_local_data(sharding, rows, shape)

    return jax.tree.map(put, batch)


def for_each_shard(function: Callable, mesh: Mesh | None) -> Callable:
    """`function(params, *arrays)` for each shard of the batch by itself, without the others.

    Each takes its own rows of `arrays`, and gives its own rows of every result. A loop inside
    then ends for each shard when its own rows are done. Matrices stay cut along tensor.
    """
    if batch_shards(mesh) == 1:
        return function
    rows = PartitionSpec(RULES["batch"])

    def sharded(params: Any, *arrays: Any) -> Any:
        in_specs = (PartitionSpec(), *(rows,) * len(arrays))
        return jax.shard_map(
            function,
            mesh=mesh,
            in_specs=in_specs,
            out_specs=rows,
            axis_names=set(RULES["batch"]),
            check_vma=False,
        )(params, *arrays)

    return sharded


def use(mesh: Mesh | None) -> AbstractContextManager:
    """Puts `mesh` in force, where there is one, for what is traced and run inside."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def deal(mesh: Mesh | None, arrays: Any) -> Any:
    """Puts rows, of which every host has all (numpy, None stays None), on the mesh's devices.

    Row n goes to shard n mod G of G, as cards are dealt: of rows that are sorted by length, no
    shard has all the long ones.
    """
    if mesh is None:
        return arrays
    shards, where = batch_shards(mesh), batch_sharding(mesh)

    def put(rows: np.ndarray) -> Array:
        rows = rows.reshape(-1, shards, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)
        return jax.make_array_from_callback(rows.shape, where, lambda part: rows[part])

    return jax.tree.map(put, arrays)


def collect(mesh: Mesh | None, arrays: Any) -> Any:
    """Rows on the host, in the order they had before `deal`; each device holds all of them."""
    shards = batch_shards(mesh)

    def take(array: Array) -> np.ndarray:
        rows = np.asarray(array)
        return rows.reshape(shards, -1, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)

    return jax.tree.map(take, arrays)


def constrain(x: Shaped[Array, "*shape"], *logical_axes: str | None) -> Shaped[Array, "*shape"]:
    """Pins the layout of an intermediate array, on the mesh in force; on one device, nothing.

    Sizes that do not divide are cut all the same: XLA pads the last piece, and keeps the padding
    out of every sum, maximum and product.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    spec = _spec(logical_axes, x.shape, mesh, lambda size, parts: size >= parts)
    return jax.lax.with_sharding_constraint(x, spec)


def gather_fsdp(
    parameter: Shaped[Array, "*shape"], logical_axes: tuple[str, ...]
) -> Shaped[Array, "*shape"]:
    """A parameter as products read it: whole along fsdp, which cuts it for storage alone.

    Left to itself, GSPMD cuts the product instead of fetching the matrix, and then moves
    activations, which are larger. The gradient is cut along fsdp again.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return parameter if mesh.empty or mesh.size == 1 else _gather(parameter, logical_axes)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gather(parameter, logical_axes):
    return constrain(parameter, *(None if "fsdp" in RULES[a] else a for a in logical_axes))


def _gather_forward(parameter, logical_axes):
    return _gather(parameter, logical_axes), None


def _gather_backward(logical_axes, _, gradient):
    return (constrain(gradient, *logical_axes),)


_gather.defvjp(_gather_forward, _gather_backward)
