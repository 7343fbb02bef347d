"""The mesh, the one table of axis rules, and the shardings that follow from them.

Parameters carry logical axis names (`transformer.model.layers.parameter`); this table says along
which mesh axes each is cut. Everything else follows: GSPMD inserts the collectives.
"""

import math
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


def platform(mesh: Mesh | None = None) -> str:
    """What the program that is being traced will run on: "cpu", "gpu" or "tpu".

    It is that of `mesh`, by default the one in force, which need not be here (ahead-of-time
    compilation), or else of JAX's own devices.
    """
    abstract = mesh.abstract_mesh if mesh else jax.sharding.get_abstract_mesh()
    device = abstract.abstract_device
    return device.platform if device else jax.default_backend()


def batch_shards(mesh: Mesh | AbstractMesh) -> int:
    """Into how many pieces the rows of a batch are cut."""
    return math.prod(mesh.shape[axis] for axis in RULES["batch"])


def partition_spec(
    logical_axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """The mesh axes of each dimension; one that they do not divide stays whole."""
    spec = []
    for name, size in zip(logical_axes, shape, strict=True):
        axes = RULES[name] if name else ()
        parts = math.prod(mesh.shape[axis] for axis in axes)
        spec.append(axes if axes and size % parts == 0 else None)
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


def constrain(x: Shaped[Array, "*shape"], *logical_axes: str | None) -> Shaped[Array, "*shape"]:
    """Pins the layout of an intermediate array; without a mesh in force it does nothing."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, partition_spec(logical_axes, x.shape, mesh))
