"""Reads the text of a compiled program: what it runs, in which order and how often.

The text (`jax.stages.Compiled.as_text`) is the one form in which XLA shows a program of every
platform, whether or not the hardware is there. Only what costs are worked out from is read.
"""

import functools
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Array(NamedTuple):
    """One array of an instruction's result, as it lies in a device's memory."""

    dtype: str
    shape: tuple[int, ...]
    minor_to_major: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()  # the minor dimensions are padded to multiples of it
    space: int = 0  # 0 is the device's main memory; a TPU's others are on its chip

    @property
    def elements(self) -> int:
        """Entries, padding not counted."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in memory with the padding of tiles."""
        sizes = [self.shape[axis] for axis in reversed(self.minor_to_major)] or list(self.shape)
        for back, size in enumerate(reversed(self.tile), start=1):
            if back <= len(sizes):
                sizes[-back] = -(-sizes[-back] // size) * size
        return math.prod(sizes) * _bits(self.dtype) // 8


class Instruction(NamedTuple):
    """One line: `name = result opcode(operands), attributes`."""

    name: str
    opcode: str
    result: tuple[Array, ...]  # several where it is a tuple, nested ones flattened
    operands: tuple[str, ...]  # names; of a constant, its value
    attributes: str
    root: bool

    def attribute(self, name: str) -> str | None:
        """The value of `name=value`, where that is a name or a number."""
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes)
        return found and found[1]


Computation = dict[str, Instruction]  # by name, in the order in which they run


class Program(NamedTuple):
    """All computations, and the name of the one that is called from outside."""

    computations: dict[str, Computation]
    entry: str

    def called(self, instruction: Instruction) -> Computation | None:
        """What a fusion, a call or an asynchronous start runs."""
        for name in ("calls", "to_apply"):
            if (callee := instruction.attribute(name)) in self.computations:
                return self.computations[callee]
        return None

    def trips(self, loop: Instruction) -> int | None:
        """How often the body of `loop`, a while, runs; None where only the data can tell.

        It is what XLA found out, or else the constant that the condition compares a counter with:
        those of `lax.scan` and `fori_loop` count up from zero by one.
        """
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
            return int(known[1])
        condition = self.computations[loop.attribute("condition")]
        root = next(instruction for instruction in condition.values() if instruction.root)
        if root.opcode == "fusion":  # the comparison alone, with the operands as parameters
            inner = list(self.called(root).values())
            compared = next((i for i in inner if i.root), None)
            limits = [condition[name] for name in root.operands]
            limits += [i for i in inner if i.opcode == "constant"]
        else:
            compared, limits = root, [condition[name] for name in root.operands]
        constants = [i for i in limits if i.opcode == "constant"]
        if compared is None or compared.opcode != "compare" or len(constants) != 1:
            return None
        less = "direction=LT" in compared.attributes
        value = constants[0].operands[0]
        return int(value) if less and value.isdigit() else None


class Product(NamedTuple):
    """`count` matrix products of [rows inner] and [inner columns]."""

    count: float
    rows: float
    inner: float
    columns: float
    dtype: str  # of the operands

    @property
    def flops(self) -> float:
        """Multiplications and additions."""
        return 2 * self.count * self.rows * self.inner * self.columns


def parse(text: str) -> Program:
    """Reads the text of a program whose schedule is fixed, as every compiled one's is."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if line.endswith("{") and (head := _HEAD.match(line)):
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif line.startswith("}") and not line.startswith("}}"):  # "}}" ends a kernel's metadata
            current = None
        elif current is not None and (instruction := _instruction(line)):
            current[instruction.name] = instruction
    return Program(computations, entry)


_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_NAME = re.compile(r"(\s+)(ROOT )?%?([\w.\-]+) = ")


def _instruction(line: str) -> Instruction | None:
    head = _NAME.match(line)
    if not head:
        return None
    rest = line[head.end() :]
    end = _closing(rest, 0) if rest.startswith("(") else rest.index(" ")
    opening = rest.index("(", end)
    closing = _closing(rest, opening)
    inside = rest[opening + 1 : closing - 1]
    opcode = rest[end:opening].strip()
    operands = (inside,) if opcode in ("constant", "parameter") else _names(inside)
    return Instruction(
        head[3], opcode, _arrays(rest[:end]), operands, rest[closing:], bool(head[2])
    )


def _closing(text: str, start: int) -> int:
    """The place after the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place + 1
    return len(text)


def _names(operands: str) -> tuple[str, ...]:
    """Names of operands, printed with their types or without."""
    bare = _ARRAY.sub("", re.sub(r"/\*.*?\*/", "", operands))
    return tuple(re.findall(r"%([\w.\-]+)", bare) or re.findall(r"[\w.\-]+", bare))


def _arrays(text: str) -> tuple[Array, ...]:
    arrays = []
    for dtype, sizes, layout in _ARRAY.findall(text):
        shape = tuple(int(size.lstrip("<=")) for size in sizes.split(",") if size)
        order = layout.partition(":")[0]
        tile = re.search(r"T\(([\d,]+)\)", layout)
        space = re.search(r"S\((\d+)\)", layout)
        arrays.append(
            Array(
                dtype,
                shape,
                tuple(int(axis) for axis in order.split(",") if axis),
                tuple(int(size) for size in tile[1].split(",")) if tile else (),
                int(space[1]) if space else 0,
            )
        )
    return tuple(arrays)


@functools.cache
def _bits(dtype: str) -> int:
    if dtype in ("pred", "token", "opaque"):
        return 8 if dtype == "pred" else 0
    return int(re.search(r"\d+", dtype)[0])


def product_of(instruction: Instruction, operands: Sequence[Array]) -> Product | None:
    """The matrix products of a dot, a convolution, or a call of cuBLAS or an attention kernel.

    TPUs run every product as a convolution. A product of B times [M K] and [K N] has B M K and
    B K N entries in, B M N out, and B M N K multiplications: from these four numbers follow B, M,
    N and K, whatever the axes are called.
    """
    attention = _cudnn_attention(instruction, operands) or _splash_attention(instruction, operands)
    if attention:
        return attention
    if instruction.opcode == "dot" or _is_cublas(instruction):
        left = operands[0]
        axes = re.search(
            r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d,"]*)', instruction.attributes
        )
        inner = math.prod(left.shape[int(axis)] for axis in re.findall(r"\d+", axes[1]))
        output = max(instruction.result, key=lambda array: array.elements)
        if _is_cublas(instruction):  # a tuple: the product and a workspace
            output = instruction.result[0]
        multiplications = output.elements * inner
    elif instruction.opcode == "convolution":
        output = instruction.result[0]
        multiplications = _convolution(instruction, operands, output)
    else:
        return None
    if not multiplications:
        return None
    left, right = operands[0].elements, operands[1].elements
    count = max(1.0, left * right * output.elements / multiplications**2)
    return Product(
        count=count,
        rows=multiplications / right,
        inner=multiplications / output.elements,
        columns=multiplications / left,
        dtype=operands[0].dtype,
    )


def _is_cublas(instruction: Instruction) -> bool:
    return instruction.opcode == "custom-call" and "__cublas$" in instruction.attributes


def _cudnn_attention(instruction: Instruction, operands: Sequence[Array]) -> Product | None:
    """cuDNN's fused attention: Q K^T and the weighted sum of V.

    The backward pass has the first once more and two for the gradient of either.
    """
    if instruction.opcode != "custom-call" or "__cudnn$fmha" not in instruction.attributes:
        return None
    scores = re.search(
        r'"intermediate_tensor_shape":\s*\{.*?"dimensions":\s*\[([\d",\s]+)\]',
        instruction.attributes,
    )
    batch, heads, rows, columns = (int(size) for size in re.findall(r"\d+", scores[1]))
    inner = operands[0].elements / (batch * heads * rows)
    number = 5 if "Backward" in instruction.attributes else 2
    return Product(number * batch * heads, rows, inner, columns, operands[0].dtype)


# Q K^T and the sum of V; Q K^T, dO V^T and the gradient of Q; these two and those of K and V.
_SPLASH_PRODUCTS = {"splash_mha_fwd": 2, "splash_mha_dq": 3, "splash_mha_dkv": 4}


def _splash_attention(instruction: Instruction, operands: Sequence[Array]) -> Product | None:
    """A kernel of splash attention; blocks that a causal mask lets it skip are counted too."""
    name = re.match(r"splash_mha_(?:fwd|dq|dkv)", instruction.name)
    if instruction.opcode != "custom-call" or not name:
        return None
    query, key = [array for array in operands if len(array.shape) == 4][:2]
    batch, heads, rows, inner = query.shape
    number = _SPLASH_PRODUCTS[name[0]] * batch * heads
    return Product(number, rows, inner, key.shape[2], query.dtype)


def _convolution(instruction: Instruction, operands: Sequence[Array], output: Array) -> int:
    """Multiplications, those with the zeros of padding and dilation left out."""
    left, right = operands[:2]
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    window = re.search(r"window=\{([^}]*)\}", instruction.attributes)
    parts = dict(part.split("=") for part in window[1].split()) if window else {}
    total = right.shape[labels[2].index("i")]
    total *= output.shape[labels[3].index("b")] * output.shape[labels[3].index("f")]
    for axis in range(len(labels[3]) - 2):

        def part(name: str, default: str, axis: int = axis) -> str:
            return parts[name].split("x")[axis] if name in parts else default

        size, stride = int(part("size", "1")), int(part("stride", "1"))
        before = int(part("pad", "0_0").partition("_")[0])
        dilation, spread = int(part("lhs_dilate", "1")), int(part("rhs_dilate", "1"))
        extent = left.shape[labels[1].index(str(axis))]
        places = (
            np.arange(output.shape[labels[3].index(str(axis))])[:, None] * stride
            + np.arange(size) * spread
            - before
        )
        inside = (places >= 0) & (places < (extent - 1) * dilation + 1)
        total *= int((inside & (places % dilation == 0)).sum())
    return total
