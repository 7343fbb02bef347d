"""What XLA is told about one program, where its defaults are slow."""

import functools
import pathlib
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


def training_options(config: ModelConfig, mesh: Mesh) -> dict[str, Any] | None:
    """For `jax.jit` of a training step: oneDNN for bfloat16 products on a CPU that has them.

    XLA's own library has them for `x @ w` alone and computes the gradients' products in float32;
    a step of the base model took 2.2 times as long. Programs with oneDNN cannot be kept in the
    compilation cache, which float32, where they gain 6 to 14 %, is not worth. JAX 0.10 crashes.
    """
    half = jnp.dtype(config.dtype) == jnp.bfloat16
    able = jax.__version_info__ >= (0, 11) and _multiplies_bfloat16()
    return _ONEDNN if half and able and platform(mesh) == "cpu" else None


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Whether the CPU says so; Linux on x86-64 only, as is oneDNN in XLA."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
