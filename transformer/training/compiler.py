"""What XLA is told about one program, where its defaults are slow."""

import functools
import pathlib
import platform as host
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from transformer.config import ModelConfig
from transformer.sharding import platform

_ONEDNN = {
    "xla_cpu_use_onednn": True,
    "xla_cpu_experimental_onednn_fusion_type": "LIBRARY_FUSION_TYPE_DOT",
}
_WIDE = 512  # d_model
# Two products of one array, keys and values say, become one, whose result is cut in two again. The
# cutting takes longer than is gained: 2 % of a step of the big model on an H100.
_SEPARATE_PRODUCTS = {"xla_gpu_dot_merger_threshold_mb": 0}


def training_options(config: ModelConfig, mesh: Mesh) -> dict[str, Any] | None:
    """For `jax.jit` of a training step: separate products on GPUs, and on CPUs oneDNN.

    The latter where it is worth it. In bfloat16 XLA's own library has `x @ w` alone and computes
    the gradients' products in float32, which takes 2.2 times as long at the base model. In float32
    oneDNN gains an eighth there, and next to nothing on narrow models. Its programs cannot be kept
    in the compilation cache, and are compiled once more in each process. JAX 0.10 crashes with it.
    """
    if platform(mesh) == "gpu":
        return _SEPARATE_PRODUCTS
    half = jnp.dtype(config.dtype) == jnp.bfloat16
    wanted = _multiplies_bfloat16() if half else config.d_model >= _WIDE
    able = jax.__version_info__ >= (0, 11) and platform(mesh) == "cpu" and _has_onednn()
    return _ONEDNN if wanted and able else None


def init_options(mesh: Mesh) -> dict[str, Any] | None:
    """For `jax.jit` of the initial weights, a program that runs once: compiled in half the time."""
    return {"xla_backend_optimization_level": 1} if platform(mesh) == "cpu" else None


def _has_onednn() -> bool:
    """XLA is built with it for Linux on x86-64 alone."""
    return (host.system(), host.machine()) == ("Linux", "x86_64")


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether the CPU says so, which it does under Linux."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
