"""The holes that compiling leaves in the heap, in processes with the scripts' malloc."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")

# 500 pieces of 24 to 88 KiB, which pieces that stay keep apart.
HOLES = """
import jax
from experiments import heap
jax.jit(lambda x: x)(1)
libc = heap._libc()
heap.fill()  # what JAX has left free
for _ in range(20_000):
    libc.malloc(2_000)
freed = []
for n in range(500):
    freed.append(libc.malloc(24_000 + 128 * n))
    libc.malloc(2_000)
for piece in freed:
    libc.free(piece)
libc.free(libc.malloc(4_000_000))  # sorts them
heap.release()
count = lambda: sum(n for size, n in heap._free_pieces(libc) if size > 16_000)
"""


def child(code: str, tunables: str = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0") -> str:
    environment = dict(os.environ, GLIBC_TUNABLES=tunables)
    command = [sys.executable, "-c", HOLES + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_holes_are_taken_and_given_back():
    code = "print(count()); heap.fill(); print(count()); heap.release(); print(count())"
    before, filled, after = map(int, child(code).split())
    assert before >= 500
    assert filled < 10
    assert after >= 500


def test_holes_are_filled_after_a_long_compilation_and_free_for_the_next():
    code = """
heap._LONG = 0
heap.watch()
jax.jit(lambda x: x + 1).lower(1).compile()
libc.free(libc.malloc(4_000_000))
print(count())
lowered = jax.jit(lambda x: x + 2).lower(1)
print(count())
heap._LONG = 100  # this one is a short one
lowered.compile()
libc.free(libc.malloc(4_000_000))
print(count())
"""
    filled, free, again = map(int, child(code).split())
    assert free >= 400  # lowering takes a few
    assert filled < free / 2
    assert again < free / 2


def test_a_heap_with_other_settings_is_left_alone():
    code = "heap._LONG = 0; heap.watch(); jax.jit(lambda x: x + 1).lower(1).compile(); "
    code += "print(len(heap._taken))"
    assert child(code, tunables="glibc.malloc.mmap_max=0") == "0\n"
    assert child(code) != "0\n"
