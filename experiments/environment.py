"""What must be settled before JAX starts, so that a plain command is fast and quiet."""

import gc
import os
import pathlib
import platform
import sys
import warnings

XLA_FLAGS = {
    # XLA's default schedule for CPUs favours concurrency between operations; those of a training
    # step fill the cores by themselves, so take the order that needs less memory.
    "--xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # On GPUs XLA writes dozens of Triton kernels for every matrix product and times them, in each
    # shape anew. For a step of the base model on an H100 that was 36 s of compilation instead of
    # 20, and 43.6 ms a step instead of 44.0: cuBLAS is as good.
    "--xla_gpu_enable_triton_gemm": "false",
}


def setup() -> None:
    """Environment variables that count only if they are set before JAX starts.

    What the user has set stays as it is.
    """
    from absl import logging  # not before `keep_memory`, after which it would be imported again

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no information from the C++ libraries
    logging.set_verbosity(logging.ERROR)  # nor Orbax's notes on what was asked of it
    # Imports and traced programs are hundreds of thousands of objects that stay: at Python's own
    # threshold of 700 the collector goes over them all the time.
    gc.set_threshold(500_000)
    # What was compiled once is read back by the next process, a resumed run's for example. XLA
    # lays a program out for the cores it sees, and JAX's key to the cache does not count them: a
    # program from a single core would stay on one.
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    compiled = cache / "transformer-jax" / f"compiled-{_cores()}"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    # Programs with oneDNN (transformer/training/compiler.py) cannot be kept: no news to a user.
    warnings.filterwarnings("ignore", message="Error writing persistent.*onednn-fusion")
    _add_xla_flags(XLA_FLAGS)


def profile() -> None:
    """What a profile takes: called before JAX runs anything.

    GPUs run most of a program as one graph, whose kernels do not say what they are from.
    """
    _add_xla_flags({"--xla_gpu_enable_command_buffer": ""})


def _add_xla_flags(flags: dict[str, str]) -> None:
    """Those that are not set already."""
    given = os.environ.get("XLA_FLAGS", "")
    missing = [f"{name}={value}" for name, value in flags.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *missing]).strip()


def _cores() -> int:
    """The CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def keep_memory() -> None:
    """Starts the script once more with a malloc that keeps the memory it has (glibc only).

    A training step on a CPU frees and takes again buffers of many megabytes. By default glibc
    returns each to the system, and a sixth of the time goes by in page faults; how it behaves is
    settled when a process starts. All threads share one arena, since none of this reaches the
    others, and it is XLA's threads that allocate. Where GLIBC_TUNABLES is set already, or the
    interpreter runs something else than a script of this folder (tests, notebooks), nothing
    happens.
    """
    main = getattr(sys.modules["__main__"], "__file__", None)
    script = main and pathlib.Path(main).resolve().parent == pathlib.Path(__file__).parent.resolve()
    if not script or platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ:
        return
    tunables = {
        "arena_max": 1,
        "mmap_max": 0,
        "trim_threshold": 10**11,
        "top_pad": 2**28,
        "hugetlb": 1,
    }
    os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{k}={v}" for k, v in tunables.items())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
