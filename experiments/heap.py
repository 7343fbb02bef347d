"""Holes in the heap that compiling leaves behind, and malloc should not search (glibc only).

What XLA and LLVM free lies between what they keep: thousands of holes of as many sizes. glibc
sorts them into lists by size, which it walks wherever a step asks for temporaries of 10 KiB and
more. Where a process had compiled its program, and not read it from JAX's cache, steps of a small
model took 1.06 times as long, and a search 1.07 to 1.09 times. So the holes are taken, and given
back before the next program is compiled.
"""

import ctypes
import os
import re
import sys
import threading

_SIZES = (2**12, 2**20)  # bytes: where lists are short, and what a step itself may leave free
_LONG = 0.5  # seconds of compilation, which leave many holes
_PASSES = 3  # a list holds pieces of up to twice a size, of which less than that is left
_HEADER = 16  # bytes that malloc adds, at most

_taken: list[int] = []
_fragmented = False  # by a long compilation; a short one's end takes the holes again
_lock = threading.Lock()  # the initial weights are compiled in another thread


def watch() -> None:
    """Holes are filled after each compilation from now on, for scripts that keep their memory."""
    if "arena_max=1" not in os.environ.get("GLIBC_TUNABLES", ""):
        return  # not glibc, or arenas without number
    if "jax" in sys.modules:  # else this script compiles nothing
        from jax import monitoring

        monitoring.register_event_duration_secs_listener(_compiling)


def _compiling(event: str, seconds: float, **_: object) -> None:
    global _fragmented
    if event.endswith("jaxpr_to_mlir_module_duration"):  # XLA comes next
        release()
    elif event.endswith("backend_compile_duration"):
        _fragmented = _fragmented or seconds > _LONG
        if _fragmented:
            fill()


def fill() -> None:
    """Takes the free pieces of the heap that are neither small nor large."""
    libc = _libc()
    with _lock:
        for _ in range(_PASSES):
            for size, count in reversed(_free_pieces(libc)):
                _taken.extend(libc.malloc(size - _HEADER) for _ in range(count))


def release() -> None:
    """Gives back what `fill` took."""
    libc = _libc()
    with _lock:
        while _taken:
            libc.free(_taken.pop())


def _free_pieces(libc: ctypes.CDLL) -> list[tuple[int, int]]:
    """The lists of free pieces within `_SIZES`: the least size of each, in bytes, and how many."""
    text, length = ctypes.c_char_p(), ctypes.c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(length))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    found = re.findall(rb'<size from="(\d+)" to="(\d+)" total="\d+" count="(\d+)"', text.value)
    libc.free(text)
    least, most = _SIZES
    return [(int(a), int(n)) for a, b, n in found if int(a) >= least and int(b) <= most]


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.open_memstream.restype = ctypes.c_void_p
    libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.fclose.argtypes = [ctypes.c_void_p]
    return libc
