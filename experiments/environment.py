"""What must be settled before JAX starts, so that a plain command is fast and quiet."""

import os
import pathlib
import platform
import sys

from absl import logging


def setup() -> None:
    """Environment variables that count only if they are set before JAX starts.

    What the user has set stays as it is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no information from the C++ libraries
    logging.set_verbosity(logging.ERROR)  # nor Orbax's notes on what was asked of it
    # What was compiled once is read back by the next process, a resumed run's for example.
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "transformer-jax" / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    # XLA's default schedule for CPUs favours concurrency between operations; those of a training
    # step fill the cores by themselves, so take the order that needs less memory.
    scheduler, given = "--xla_cpu_scheduler_type", os.environ.get("XLA_FLAGS", "")
    if scheduler not in given:
        flag = f"{scheduler}=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
        os.environ["XLA_FLAGS"] = f"{given} {flag}".strip()


def keep_memory() -> None:
    """Starts the script once more with a malloc that keeps the memory it has (glibc only).

    A training step on a CPU frees and takes again buffers of many megabytes. By default glibc
    returns each to the system, and a sixth of the time goes by in page faults; how it behaves is
    settled when a process starts. Where GLIBC_TUNABLES is set already, or the interpreter runs
    something else than a script of this folder (tests, notebooks), nothing happens.
    """
    main = getattr(sys.modules["__main__"], "__file__", None)
    script = main and pathlib.Path(main).resolve().parent == pathlib.Path(__file__).parent.resolve()
    if not script or platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ:
        return
    tunables = {"mmap_max": 0, "trim_threshold": 10**11, "top_pad": 2**28, "hugetlb": 1}
    os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{k}={v}" for k, v in tunables.items())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
