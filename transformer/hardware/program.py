"""What a compiled program does to one device: work of each instruction, collectives by kind."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from transformer.hardware.hlo import Array, Computation, Instruction, Product, Program, product_of

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)

# They name, number or rearrange what is there and run no code of their own.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota"),
    *(
        "partition-id",
        "replica-id",
        "opt-barrier",
        "domain",
        "add-dependency",
        "get-dimension-size",
    ),
}
_FREE_CALLS = (
    "ConcatBitcast",
    "AllocateBuffer",
    "Sharding",
    "LayoutConstraint",
    "AssumeGatherIndices",
)


class Work(NamedTuple):
    """What one run of an instruction takes."""

    products: tuple[Product, ...]
    memory_bytes: int  # read from and written to the device's main memory
    flops: float = 0.0  # of a kernel whose author states them; they are no products seen here


class Transfer(NamedTuple):
    """What one run of a collective moves."""

    kind: str
    bytes: int  # of the larger of its arrays, those that it reads and those that it makes
    group: tuple[int, ...]  # partitions that take part with partition 0

    @property
    def sent_bytes(self) -> float:
        """What each device sends when the group is a ring."""
        others = (len(self.group) - 1) / max(len(self.group), 1)
        if self.kind == "all-reduce":
            return 2 * others * self.bytes
        if self.kind.startswith("collective"):
            return self.bytes if len(self.group) > 1 else 0
        return others * self.bytes


class CollectiveTotal(NamedTuple):
    """All collectives of one kind in one run of the program."""

    count: int
    bytes: int
    sent_bytes: float


def entry(program: Program) -> Computation:
    """The computation that is called from outside."""
    return program.computations[program.entry]


def collectives(program: Program, devices: int, loop_trips: int = 1) -> dict[str, CollectiveTotal]:
    """Sums over a run, by kind. Loops count as often as they run, or else `loop_trips` times."""
    totals: dict[str, CollectiveTotal] = {}
    for instruction, computation, times in runs(program, loop_trips):
        if transfer := transfer_of(program, instruction, computation, devices):
            old = totals.get(transfer.kind, CollectiveTotal(0, 0, 0.0))
            totals[transfer.kind] = CollectiveTotal(
                old.count + times,
                old.bytes + times * transfer.bytes,
                old.sent_bytes + times * transfer.sent_bytes,
            )
    return totals


def runs(program: Program, loop_trips: int = 1) -> Iterator[tuple[Instruction, Computation, int]]:
    """Every instruction that runs, where it stands, and how often it does.

    A loop of which only the data can tell when it ends counts `loop_trips` times, one inside of
    such a loop once.
    """

    def visit(computation: Computation, times: int, unknown: int):
        for instruction in computation.values():
            if instruction.opcode == "while":
                trips, inner = program.trips(instruction), unknown
                if trips is None:
                    trips, inner = unknown, 1
                body = program.computations[instruction.attribute("body")]
                yield from visit(body, times * trips, inner)
            elif instruction.opcode == "call" and program.called(instruction):
                yield from visit(program.called(instruction), times, unknown)
            elif instruction.opcode == "conditional":
                for branch in branches(program, instruction):
                    yield from visit(branch, times, unknown)
            else:
                yield instruction, computation, times

    return visit(entry(program), 1, loop_trips)


def branches(program: Program, conditional: Instruction) -> list[Computation]:
    """The computations of which a conditional runs one; all are counted."""
    listed = re.search(r"branch_computations=\{([^}]*)\}", conditional.attributes)
    names = re.findall(r"[\w.\-]+", listed[1]) if listed else []
    names += [conditional.attribute(f"{value}_computation") for value in ("true", "false")]
    return [program.computations[name] for name in names if name in program.computations]


def transfer_of(
    program: Program, instruction: Instruction, computation: Computation, devices: int
) -> Transfer | None:
    """What a collective moves, of an asynchronous one its start; None for any other instruction."""
    if instruction.opcode in ("async-start", "call-start"):  # the second: of a TPU's SparseCores
        inner = program.called(instruction)
        found = (transfer_of(program, i, inner, devices) for i in inner.values())
        return next(filter(None, found), None)
    kind = instruction.opcode.removesuffix("-start")
    if kind not in COLLECTIVES:
        return None
    read = sum(array.bytes for array in _operands(instruction, computation))
    made = sum(array.bytes for array in instruction.result)
    if instruction.opcode.endswith("-start") and made > read:
        made -= read  # the result of a start names the operands as well
    return Transfer(kind, max(read, made), _group(instruction, devices))


def _group(instruction: Instruction, devices: int) -> tuple[int, ...]:
    """The partitions that exchange data with the first one that is named."""
    text = instruction.attributes
    if pairs := re.search(r"source_target_pairs=\{\{(\d+),(\d+)", text):
        return (int(pairs[1]), int(pairs[2])) if pairs[1] != pairs[2] else (int(pairs[1]),)
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return tuple(int(number) for number in listed[1].split(","))
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
        return _mesh_group(mesh[1], mesh[2])
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if iota:
        sizes, extents, order = ([int(n) for n in g.split(",")] if g else [] for g in iota.groups())
        numbers = np.arange(np.prod(extents)).reshape(extents)
        numbers = numbers.transpose(order) if order else numbers
        return tuple(numbers.reshape(sizes)[0].tolist())
    return tuple(range(devices))


def _mesh_group(axes: str, varied: str) -> tuple[int, ...]:
    """Of mesh['data'=4,'fsdp'=2] {'fsdp'}: the partitions that differ from the first in fsdp alone.

    'data':(2)2 is a part of an axis: 2 of its places, 2 apart by what follows it.
    """
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
    numbers = np.arange(math.prod(sizes.values())).reshape(tuple(sizes.values()))
    kept = []
    for name, size in sizes.items():
        part = re.search(rf"'{re.escape(name)}'(?::\((\d+)\)(\d+))?", varied)
        if part is None:
            kept.append(np.zeros(1, int))
        elif part[1]:
            step = size // (int(part[1]) * int(part[2]))
            kept.append(np.arange(int(part[2])) * step)
        else:
            kept.append(np.arange(size))
    return tuple(numbers[np.ix_(*kept)].ravel().tolist())


def work_of(program: Program, instruction: Instruction, computation: Computation) -> Work | None:
    """What an instruction that runs costs; None where it costs nothing, collectives included."""
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-done") or opcode.removesuffix("-start") in COLLECTIVES:
        return None
    if any(f'"{target}"' in instruction.attributes for target in _FREE_CALLS):
        return None
    operands = _operands(instruction, computation)
    written = _main_memory(instruction.result)
    if opcode in ("copy-start", "slice-start", "dynamic-slice-start", "async-start"):
        # The result names source, destination and a semaphore; what moves is the smaller one.
        arrays = [array for array in instruction.result if array.shape]
        moved = min((array.bytes for array in arrays), default=0)
        return Work((), moved * max(1, sum(array.space == 0 for array in arrays)))
    if opcode == "fusion":
        inner = program.called(instruction)
        return Work(tuple(products(program, inner)), _fusion_bytes(inner, operands, written))
    if opcode in ("dynamic-slice", "slice", "gather"):
        return Work((), 2 * written)
    if opcode == "dynamic-update-slice":
        return Work((), 2 * _main_memory(operands[1:2]))
    product = product_of(instruction, operands)
    said = re.search(r'"?flops"?:\s*"?(\d+)', instruction.attributes)
    return Work(
        (product,) if product else (),
        _main_memory(operands) + written,
        float(said[1]) if opcode == "custom-call" and said else 0.0,
    )


def kernels_without_flops(program: Program, loop_trips: int = 1) -> dict[str, int]:
    """How often kernels run of which only the traffic is known, by the name of their kind."""
    found: dict[str, int] = {}
    for instruction, computation, times in runs(program, loop_trips):
        if instruction.opcode != "custom-call":
            continue
        work = work_of(program, instruction, computation)
        if work and not work.products and not work.flops:
            target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
            found[target[1]] = found.get(target[1], 0) + times
    return found


def products(program: Program, computation: Computation) -> Iterator[Product]:
    """All matrix products inside of a fused computation."""
    for instruction in computation.values():
        if instruction.opcode == "fusion":
            yield from products(program, program.called(instruction))
        elif product := product_of(instruction, _operands(instruction, computation)):
            yield product


def _operands(instruction: Instruction, computation: Computation) -> list[Array]:
    found = (computation.get(name) for name in instruction.operands)
    return [array for operand in found if operand for array in operand.result]


def _main_memory(arrays) -> int:
    return sum(array.bytes for array in arrays if array.space == 0)


def _fusion_bytes(inner: Computation, operands: list[Array], written: int) -> int:
    """Bytes that a fusion reads and writes; of an array that it slices, the slices alone."""
    users: dict[str, list[Instruction]] = {}
    for instruction in inner.values():
        for name in instruction.operands:
            users.setdefault(name, []).append(instruction)
    read = 0
    for instruction in inner.values():
        if instruction.opcode != "parameter" or len(instruction.result) != 1:
            continue
        number = int(instruction.operands[0])
        array = operands[number] if number < len(operands) else instruction.result[0]
        if array.space:
            continue
        read += min(array.bytes, _read_of(instruction, users))
    for instruction in inner.values():
        # In place: all but the update stays as it is, though the result names the whole.
        if instruction.opcode == "dynamic-update-slice":
            whole = instruction.result[0].bytes
            update = inner[instruction.operands[1]].result[0].bytes
            written -= max(0, min(whole, written) - update)
    return read + written


def _read_of(parameter: Instruction, users: dict[str, list[Instruction]]) -> int:
    total = 0
    for user in users.get(parameter.name, []):
        if (
            user.opcode in ("dynamic-slice", "slice", "gather")
            and user.operands[0] == parameter.name
        ):
            total += sum(array.bytes for array in user.result)
        elif user.opcode == "bitcast":
            total += _read_of(user, users)
        elif not (user.opcode == "dynamic-update-slice" and user.operands[0] == parameter.name):
            return parameter.result[0].bytes
    return total
