"""What the scripts settle before JAX starts."""

import gc
import os
import platform
import sys
import types

import pytest

from experiments import environment


@pytest.fixture
def executed(monkeypatch):
    """The command lines that would have replaced this process."""
    calls = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: calls.append(arguments))
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(sys, "orig_argv", ["python", "experiments/train.py", "--help"])
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    monkeypatch.delenv("GLIBC_TUNABLES")
    return calls


def run_as(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__file__=path))
    environment.keep_memory()


def test_a_script_starts_again_with_the_same_arguments(monkeypatch, executed):
    run_as(monkeypatch, environment.__file__.replace("environment", "train"))
    assert executed == [[sys.executable, "experiments/train.py", "--help"]]
    tunables = os.environ["GLIBC_TUNABLES"].split(":")
    assert {"glibc.malloc.mmap_max=0", "glibc.malloc.arena_max=1"} < set(tunables)
    # The new process finds the variable, and goes on.
    run_as(monkeypatch, environment.__file__.replace("environment", "train"))
    assert len(executed) == 1


def test_other_programs_and_other_systems_are_left_alone(monkeypatch, executed):
    run_as(monkeypatch, pytest.__file__)
    run_as(monkeypatch, None)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    run_as(monkeypatch, environment.__file__.replace("environment", "train"))
    assert executed == []


def test_what_the_user_has_set_stays(monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "mine")
    mine = ["--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_DEFAULT", "--xla_dump_to=there"]
    monkeypatch.setenv("XLA_FLAGS", " ".join(mine))
    environment.setup()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert os.environ["XLA_FLAGS"].split() == [*mine, "--xla_gpu_enable_triton_gemm=false"]


def test_compiled_programs_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for cores in (1, 2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: range(n), raising=False)
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        environment.setup()
        expected = tmp_path / "transformer-jax" / f"compiled-{cores}"
        assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(expected)


def test_a_profile_sees_every_kernel_by_its_name(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1")
    environment.profile()
    assert os.environ["XLA_FLAGS"] == "--xla_something=1 --xla_gpu_enable_command_buffer="
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_command_buffer=FUSION")
    environment.profile()
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_enable_command_buffer=FUSION"


def test_the_garbage_collector_is_seldom_called(monkeypatch):
    seen = []
    monkeypatch.setattr(gc, "set_threshold", seen.append)
    environment.setup()
    assert seen and seen[0] > 10 * 700  # Python's own
