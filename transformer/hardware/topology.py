"""Devices of machines that are not there, for XLA to compile for."""

import contextlib
import importlib.util
import math
import os
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from transformer.errors import UserError
from transformer.hardware.accelerators import ACCELERATORS, GPUS_PER_HOST, Accelerator
from transformer.hardware.estimate import Place

_PLANE = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")
_GPUS = ("1", "2", "4", "8", "16", "32", "64", "128", "256")
_SLICES = {
    **dict.fromkeys(("v3", "v5e", "v6e"), _PLANE),
    **dict.fromkeys(("v4", "v5p", "tpu7x"), _CUBE),
    **dict.fromkeys(("p100", "v100", "a100", "h100"), _GPUS),
}


class Topology(NamedTuple):
    """A machine, by name: `v5e:2x4` is a slice of a TPU's torus, `h100:8` a number of GPUs."""

    name: str
    accelerator: Accelerator
    extents: tuple[int, ...]  # of the torus; GPUs have their number alone

    @property
    def chips(self) -> int:
        """How many accelerators there are."""
        return math.prod(self.extents)

    @property
    def torus(self) -> tuple[int, ...]:
        """Three extents, as devices have three coordinates; none of GPUs."""
        if self.accelerator.platform == "gpu":
            return ()
        return (*self.extents, 1, 1)[:3]


def find_topology(name: str) -> Topology:
    """The topology of that name. Raises UserError, which lists all there are, if there is none."""
    kind, _, size = name.partition(":")
    if size not in _SLICES.get(kind, ()):
        kinds: dict[tuple[str, ...], list[str]] = {}
        for known, sizes in _SLICES.items():
            kinds.setdefault(sizes, []).append(known)
        choices = "; ".join(
            f"{', '.join(names)} with {', '.join(sizes)}" for sizes, names in kinds.items()
        )
        raise UserError(
            f"{name!r} is no topology; write KIND:SIZE, for example v5e:2x4 or h100:8, of these: "
            f"{choices}."
        )
    return Topology(name, ACCELERATORS[kind], tuple(int(extent) for extent in size.split("x")))


def devices_of(topology: Topology) -> list[jax.Device]:
    """Its devices, to build a mesh of and to compile for; nothing can run on them.

    Raises:
      UserError: what compiles for them is not installed; the message names the command.
    """
    accelerator = topology.accelerator
    if accelerator.platform == "gpu":
        return _gpus(topology)
    need("compile-tpu", "libtpu")
    # One process may compile while another one does, and no metadata server is asked in vain.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    options: dict[str, Any] = {}
    if accelerator.name == "v4":
        # Both cores of a chip as one device, which is how v4 is used.
        options = {"chip_config_name": "megacore", "chips_per_host_bounds": (2, 2, 1)}
        options["num_slices"] = 1
    with _quiet():
        found = topologies.get_topology_desc(topology.name, "tpu", **options)
    return list(found.devices)


def places_of(topology: Topology, devices: list[jax.Device]) -> list[Place]:
    """Where each of `devices` sits, for what it costs to exchange data."""
    if topology.accelerator.platform == "gpu":
        return [Place((), device.id // GPUS_PER_HOST) for device in devices]
    return [Place(tuple(device.coords), device.process_index) for device in devices]


def _gpus(topology: Topology) -> list[jax.Device]:
    # CUDA 13 knows no GPU before Turing.
    old = topology.accelerator.gpu.compute_capability < (7, 5)
    if old:
        need("compile-cuda12", "jax_plugins.xla_cuda12")
    elif not _installed("jax_plugins.xla_cuda12"):
        need("compile-cuda13", "jax_plugins.xla_cuda13")
    hosts = max(1, topology.chips // GPUS_PER_HOST)
    found = topologies.get_topology_desc(
        platform="cuda",
        target_config=gpu_target(topology.accelerator),
        topology=f"1x{hosts}x{topology.chips // hosts}",
    )
    return list(found.devices)


def gpu_target(accelerator: Accelerator) -> str:
    """XLA's GpuTargetConfigProto as text: what its compiler would ask the driver about a GPU."""
    core = accelerator.gpu
    major, minor = core.compute_capability
    fields = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 << 10,
        "shared_memory_per_core": core.shared_bytes_multiprocessor,
        "shared_memory_per_block_optin": core.shared_bytes_block,
        "threads_per_core_limit": 2048,
        "core_count": core.multiprocessors,
        "fpus_per_core": core.float32_units,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "thread_dim_limit_x": 1024,
        "thread_dim_limit_y": 1024,
        "thread_dim_limit_z": 64,
        "registers_per_core_limit": 1 << 16,
        "registers_per_block_limit": 1 << 16,
        "memory_bandwidth": round(accelerator.memory_bandwidth),
        "device_memory_size": accelerator.memory_bytes,
        "l2_cache_size": core.l2_bytes,
        "clock_rate_ghz": core.clock_ghz,
        "device_address_bits": 64,
        "device_vendor": '"NVIDIA Corporation"',
        "name": f'"{accelerator.name}"',
    }
    info = " ".join(f"{name}: {value}" for name, value in fields.items())
    capability = f"cuda_compute_capability {{ major: {major} minor: {minor} }}"
    return (
        f"gpu_device_info {{ {info} {capability} }}\n"
        'platform_name: "CUDA"\n'
        "dnn_version_info { major: 9 minor: 10 patch: 0 }\n"
        f'device_description_str: "{accelerator.name}"\n'
    )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def need(extra: str, module: str) -> None:
    """Raises UserError, which names the command, where a module that compiling takes is missing."""
    if not _installed(module):
        raise UserError(
            f"Compiling for this topology takes what `pip install -e .[{extra}]` installs."
        )


@contextlib.contextmanager
def _quiet():
    """Hides what libtpu says on stderr when it finds no TPU; it writes past Python's own."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
