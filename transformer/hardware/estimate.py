"""How long a compiled program would take on hardware that is not there: no measurement.

Every instruction of the program's schedule takes as long as its slowest part: its matrix products
at the speed of the matrix units, or its reads and writes at the speed of the main memory. They run
one after the other. Copies and collectives that XLA made asynchronous run beside them, each kind
after its own, and hold the program up only where it waits for one that is not done.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from transformer.hardware.accelerators import Accelerator
from transformer.hardware.hlo import Computation, Instruction, Product, Program
from transformer.hardware.program import Transfer, branches, entry, runs, transfer_of, work_of

MATRIX_SHARE = {"tpu": 0.9, "gpu": 0.7}
MEMORY_SHARE = {"tpu": 0.85, "gpu": 0.75}
CUDNN_ATTENTION_SHARE = 0.35  # of the memory's bandwidth, seen on an H100 with rows of 64 tokens
LINK_SHARE = 0.8
START_SECONDS = {"tpu": 0.5e-6, "gpu": 2e-6}
HOP_SECONDS = {"tpu": 1e-6, "gpu": 3e-6}


class Place(NamedTuple):
    """Where a device sits."""

    coordinates: tuple[int, ...]  # TPU: in the torus
    host: int


@dataclasses.dataclass
class Estimate:
    """Seconds on one device; the first is the whole, the others say what it is made of."""

    seconds: float = 0.0
    product_seconds: float = 0.0  # instructions that wait for the matrix units
    memory_seconds: float = 0.0  # instructions that wait for the main memory
    start_seconds: float = 0.0  # of starting instructions
    copy_wait_seconds: float = 0.0  # waiting for asynchronous copies
    collective_seconds: float = 0.0  # of all collectives, hidden or not
    collective_wait_seconds: float = 0.0  # waiting for them
    flops: float = 0.0  # of the program's matrix products
    peak_seconds: float = 0.0  # of these at the peak rate
    memory_bytes: float = 0.0


def assumptions(accelerator: Accelerator) -> list[str]:
    """What `estimate` takes for granted, in sentences."""
    kind = accelerator.platform
    attention = f", cuDNN's attention {CUDNN_ATTENTION_SHARE:.0%} of the memory's"
    return [
        "estimate from the compiled program and public peak rates; nothing was run",
        f"matrix products reach {MATRIX_SHARE[kind]:.0%} of the peak after their dimensions are "
        f"padded to multiples of {accelerator.matrix_unit}",
        f"memory reaches {MEMORY_SHARE[kind]:.0%} and links reach {LINK_SHARE:.0%} of their "
        "bandwidth" + (attention if kind == "gpu" else ""),
        "instructions run one after the other, each as long as the slower of its products and its "
        f"memory traffic, and {START_SECONDS[kind] * 1e6:g} microseconds to start",
        "of the traffic what stays on the chip (memory spaces other than 0) is free; arithmetic "
        "other than matrix products is free",
        "asynchronous copies and collectives overlap with what the schedule puts between their "
        "start and their end; synchronous ones with nothing",
        "collectives run as rings over all links that their group has, those of other programs "
        f"idle, with {HOP_SECONDS[kind] * 1e6:g} microseconds a hop",
        "input, checkpoints and validation take no time",
    ]


def estimate(
    program: Program,
    accelerator: Accelerator,
    places: Sequence[Place],
    torus: Sequence[int] = (),
    loop_trips: int = 1,
) -> Estimate:
    """Goes through the schedule once with a clock.

    Args:
      program: for one of the devices; all run the same.
      accelerator: what the devices are.
      places: of the program's partitions, in order.
      torus: extents of the TPU slice.
      loop_trips: how often loops run whose end depends on the data.
    """
    return _Clock(program, accelerator, tuple(places), tuple(torus)).run(loop_trips)


def roofline_seconds(found: Estimate, accelerator: Accelerator) -> float:
    """What no program with these products, this traffic and these waits can be faster than.

    All products at the peak or all traffic at the full bandwidth, whichever takes longer, as if
    one hid the other entirely; then the waiting for collectives, as estimated.
    """
    memory = found.memory_bytes * accelerator.devices_per_chip / accelerator.memory_bandwidth
    return max(found.peak_seconds, memory) + found.collective_wait_seconds


def compiler_seconds(
    program: Program, accelerator: Accelerator, loop_trips: int = 1
) -> float | None:
    """The sum of XLA's own estimates, which it leaves in programs for TPUs; collectives are not in.

    They are cycles. The clock is taken to be the one at which the product that the compiler thinks
    fastest would run at the peak. None where there are no such estimates.
    """
    cycles, seconds_per_cycle = 0, 0.0
    for instruction, computation, times in runs(program, loop_trips):
        if not (found := re.search(r'"estimated_cycles":"(\d+)"', instruction.attributes)):
            continue
        own = int(found[1])
        cycles += times * own
        work = work_of(program, instruction, computation)
        ideal = sum(p.flops / _peak(p, accelerator) for p in work.products) if work else 0.0
        seconds_per_cycle = max(seconds_per_cycle, ideal / own if own else 0.0)
    return cycles * seconds_per_cycle if cycles and seconds_per_cycle else None


def product_seconds(product: Product, accelerator: Accelerator) -> float:
    """At the attainable speed of the matrix units, with all dimensions filled up to theirs.

    One operand is laid out on the unit and the other one streams through it; fewer rows than the
    unit has do not hide the time in which the next piece is laid out.
    """
    unit = accelerator.matrix_unit
    sizes = (product.rows, product.inner, product.columns)
    padded = math.prod(-(-round(size) // unit) * unit for size in sizes)
    attainable = _peak(product, accelerator) * MATRIX_SHARE[accelerator.platform]
    return 2 * product.count * padded / attainable


def transfer_seconds(
    transfer: Transfer,
    accelerator: Accelerator,
    places: Sequence[Place],
    torus: Sequence[int] = (),
) -> float:
    """Of a ring over the group's links.

    On a TPU each axis along which the group extends gives its links: two directions where the
    torus is closed, one where it is a line, of which the ends are the bottleneck. GPUs of one
    host use NVLink; across hosts the adapters of a host carry what all its GPUs have together.
    """
    group = [places[number] for number in transfer.group if number < len(places)]
    if len(group) < 2:
        return 0.0
    if accelerator.platform == "gpu":
        hops = len(group).bit_length() - 1
        bandwidth = accelerator.link_bandwidth
        if len({place.host for place in group}) > 1:
            bandwidth = min(bandwidth, accelerator.host_bandwidth)
    else:
        bandwidth, hops = 0.0, 0
        for axis, extent in enumerate(torus):
            spread = len({place.coordinates[axis] for place in group})
            closed = accelerator.wraps_at and extent % accelerator.wraps_at == 0
            if spread > 1:
                bandwidth += accelerator.link_bandwidth * (2 if closed and spread == extent else 1)
                hops += spread - 1
        # Two cores of one chip share its links, and reach each other without.
        shared = accelerator.devices_per_chip
        bandwidth = bandwidth / shared or accelerator.memory_bandwidth / shared
    latency = hops * HOP_SECONDS[accelerator.platform]
    return latency + transfer.sent_bytes / (bandwidth * LINK_SHARE)


def _peak(product: Product, accelerator: Accelerator) -> float:
    """Of one device. Halves are all taken for bfloat16."""
    half = product.dtype in ("bf16", "f16")
    chip = (half and accelerator.bfloat16_flops) or accelerator.float32_flops
    return chip / accelerator.devices_per_chip


class _Clock:
    """The time, and when links and copies are free again."""

    def __init__(self, program, accelerator, places, torus):
        self.program, self.accelerator = program, accelerator
        self.places, self.torus = places, torus
        self.memory_rate = accelerator.memory_bandwidth / accelerator.devices_per_chip
        self.memory_rate *= MEMORY_SHARE[accelerator.platform]
        self.total = Estimate()
        self.copies_free = self.links_free = 0.0
        self.ends: dict[str, float] = {}  # of what runs beside, by the name of its start

    def run(self, loop_trips: int) -> Estimate:
        self._computation(entry(self.program), loop_trips)
        # Copies beside the instructions take their share of the memory's time as well.
        self.total.seconds = max(self.total.seconds, self.total.memory_bytes / self.memory_rate)
        return self.total

    def _computation(self, computation: Computation, unknown: int) -> None:
        for instruction in computation.values():
            if instruction.opcode == "while":
                self._loop(instruction, unknown)
            elif instruction.opcode == "conditional":
                for branch in branches(self.program, instruction):
                    self._computation(branch, unknown)
            elif instruction.opcode == "call" and (called := self.program.called(instruction)):
                self._computation(called, unknown)
            else:
                self._instruction(instruction, computation)

    def _loop(self, loop: Instruction, unknown: int) -> None:
        trips, inner = self.program.trips(loop), unknown
        if trips is None:
            trips, inner = unknown, 1
        before = dataclasses.replace(self.total)
        self._computation(self.program.computations[loop.attribute("body")], inner)
        # The other rounds are like the first.
        for field in dataclasses.fields(Estimate):
            first = getattr(self.total, field.name) - getattr(before, field.name)
            setattr(self.total, field.name, getattr(before, field.name) + trips * first)

    def _instruction(self, instruction: Instruction, computation: Computation) -> None:
        total, name = self.total, instruction.name
        if instruction.opcode.endswith("-done"):
            start = instruction.operands[0]
            wait = max(0.0, self.ends.pop(start, 0.0) - total.seconds)
            total.seconds += wait
            if transfer_of(self.program, computation[start], computation, len(self.places)):
                total.collective_wait_seconds += wait
            else:
                total.copy_wait_seconds += wait
            return
        beside = instruction.opcode.endswith("-start")
        if transfer := transfer_of(self.program, instruction, computation, len(self.places)):
            took = transfer_seconds(transfer, self.accelerator, self.places, self.torus)
            total.collective_seconds += took
            self.links_free = max(self.links_free, total.seconds) + took
            if beside:
                self.ends[name] = self.links_free
            else:
                total.collective_wait_seconds += self.links_free - total.seconds
                total.seconds = self.links_free
            return
        work = work_of(self.program, instruction, computation)
        if work is None:
            return
        total.memory_bytes += work.memory_bytes
        total.flops += sum(product.flops for product in work.products) + work.flops
        memory = work.memory_bytes / self.memory_rate
        if "__cudnn$fmha" in instruction.attributes:
            memory *= MEMORY_SHARE["gpu"] / CUDNN_ATTENTION_SHARE
        if beside:
            self.copies_free = max(self.copies_free, total.seconds) + memory
            self.ends[name] = self.copies_free
            return
        compute = sum(product_seconds(product, self.accelerator) for product in work.products)
        total.peak_seconds += sum(p.flops / _peak(p, self.accelerator) for p in work.products)
        if work.flops:
            peak = self.accelerator.bfloat16_flops or self.accelerator.float32_flops
            least = work.flops * self.accelerator.devices_per_chip / peak
            total.peak_seconds += least
            compute += least / MATRIX_SHARE[self.accelerator.platform]
        if compute > memory:
            total.product_seconds += compute
        else:
            total.memory_seconds += memory
        start = START_SECONDS[self.accelerator.platform] if work.memory_bytes else 0.0
        total.start_seconds += start
        total.seconds += max(compute, memory) + start
