"""What is publicly known of the accelerators that programs are compiled for: one table.

TPUs: the pages "TPU v3", "v4", "v5e", "v5p", "v6e" and "TPU7x" of Google Cloud's documentation; of
v3 and v4, whose links these do not give, Jouppi et al., "A domain-specific supercomputer for
training deep neural networks" (2020) and "TPU v4: an optically reconfigurable supercomputer for
machine learning" (2023).

GPUs: NVIDIA's data sheets of Tesla P100 SXM2 16 GB, V100 SXM2 16 GB, A100 SXM4 80 GB and H100 SXM5
80 GB, dense matrices throughout, and of the machines that eight of them come in: DGX-1 (four
100 Gb/s InfiniBand adapters), DGX A100 (eight of 200 Gb/s) and DGX H100 (eight of 400 Gb/s).
"""

import dataclasses
from typing import Literal

GIB = 2**30
GPUS_PER_HOST = 8


@dataclasses.dataclass(frozen=True)
class GpuCore:
    """What XLA's compiler asks about a GPU beyond its speed; CUDA's device properties."""

    compute_capability: tuple[int, int]
    multiprocessors: int
    float32_units: int  # a multiprocessor
    clock_ghz: float
    l2_bytes: int
    shared_bytes_multiprocessor: int
    shared_bytes_block: int  # the most that a kernel may opt in to


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One chip. Rates are peaks: FLOP/s of matrix products, bytes/s in one direction."""

    name: str
    platform: Literal["tpu", "gpu"]
    bfloat16_flops: float | None  # None: it has no such products, and XLA computes in float32
    float32_flops: float  # at JAX's default precision
    memory_bytes: int
    memory_bandwidth: float
    link_bandwidth: float  # TPU: of one link to one neighbour; GPU: of NVLink as a whole
    host_bandwidth: float  # GPU: of a host's network adapters; TPU: there is no such border
    matrix_unit: int  # products are cut into pieces of so many rows and columns
    devices_per_chip: int = 1  # JAX's devices; two where each core is one
    wraps_at: int = 0  # TPU: an axis of the torus is closed if its length is a multiple; 0: never
    gpu: GpuCore | None = None


def _tpu(name, tflops, gib, bandwidth_gb, link_gb, matrix_unit, **rest) -> Accelerator:
    # At JAX's default precision a TPU rounds float32 operands of a product to bfloat16.
    return Accelerator(
        name=name,
        platform="tpu",
        bfloat16_flops=tflops * 1e12,
        float32_flops=tflops * 1e12,
        memory_bytes=gib * GIB,
        memory_bandwidth=bandwidth_gb * 1e9,
        link_bandwidth=link_gb * 1e9,
        host_bandwidth=0.0,
        matrix_unit=matrix_unit,
        **rest,
    )


def _gpu(name, bfloat16, float32, memory, bandwidth, link_gb, host_gb, **core) -> Accelerator:
    return Accelerator(
        name=name,
        platform="gpu",
        bfloat16_flops=bfloat16 and bfloat16 * 1e12,
        float32_flops=float32 * 1e12,
        memory_bytes=memory,
        memory_bandwidth=bandwidth,
        link_bandwidth=link_gb * 1e9,
        host_bandwidth=host_gb * 1e9,
        matrix_unit=64,
        gpu=GpuCore(**core),
    )


ACCELERATORS = {
    accelerator.name: accelerator
    for accelerator in (
        _tpu("v3", 123, 32, 900, 82, 128, devices_per_chip=2, wraps_at=32),
        _tpu("v4", 275, 32, 1_200, 50, 128, wraps_at=4),
        _tpu("v5e", 197, 16, 819, 50, 128, wraps_at=16),
        _tpu("v5p", 459, 95, 2_765, 100, 128, wraps_at=4),
        _tpu("v6e", 918, 32, 1_638, 100, 256, wraps_at=16),
        _tpu("tpu7x", 2_307, 192, 7_380, 100, 256, devices_per_chip=2, wraps_at=4),
        _gpu(
            "p100",
            None,
            10.6,
            17_066_885_120,
            732.16e9,
            80,
            50,
            compute_capability=(6, 0),
            multiprocessors=56,
            float32_units=64,
            clock_ghz=1.4805,
            l2_bytes=4 << 20,
            shared_bytes_multiprocessor=64 << 10,
            shared_bytes_block=48 << 10,
        ),
        _gpu(
            "v100",
            None,
            15.7,
            16_935_682_048,
            898.048e9,
            150,
            50,
            compute_capability=(7, 0),
            multiprocessors=80,
            float32_units=64,
            clock_ghz=1.53,
            l2_bytes=6 << 20,
            shared_bytes_multiprocessor=96 << 10,
            shared_bytes_block=96 << 10,
        ),
        # From Ampere on XLA multiplies float32 matrices in TF32, at JAX's default precision.
        _gpu(
            "a100",
            312,
            156,
            85_100_068_864,
            2_039.04e9,
            300,
            200,
            compute_capability=(8, 0),
            multiprocessors=108,
            float32_units=64,
            clock_ghz=1.41,
            l2_bytes=40 << 20,
            shared_bytes_multiprocessor=164 << 10,
            shared_bytes_block=163 << 10,
        ),
        _gpu(
            "h100",
            989.4,
            494.7,
            84_942_979_072,
            3_352.32e9,
            450,
            400,
            compute_capability=(9, 0),
            multiprocessors=132,
            float32_units=128,
            clock_ghz=1.98,
            l2_bytes=50 << 20,
            shared_bytes_multiprocessor=228 << 10,
            shared_bytes_block=227 << 10,
        ),
    )
}
