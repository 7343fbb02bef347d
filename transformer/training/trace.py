"""What the profiler recorded, with the names of layers: as a timeline, and as a table.

XLA's CPU events carry the names of instructions only. Which layer an instruction belongs to stands
in the compiled programs (`jax.named_scope` puts it there), and these are in the recording too.
"""

import gzip
import json
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

# The scopes of transformer/model/encoder_decoder.py and transformer/training/step.py.
_SCOPE = re.compile(
    r"encoder|decoder|layer_\d+|embedding|self_attention|cross_attention|feed_forward|loss"
    r"|optimizer|moving_average|metrics"
)


class Event(NamedTuple):
    """One piece of work on one thread of a host or one stream of a device."""

    process: str
    thread: str
    name: str
    start: float  # nanoseconds
    duration: float
    op_name: str  # of an instruction of a compiled program, "" of anything else


def read_events(path: pathlib.Path) -> list[Event]:
    """All events of an .xplane.pb file, thread by thread."""
    raw = path.read_bytes()
    found = []
    for plane in jax.profiler.ProfileData.from_serialized_xspace(raw).planes:
        for number, line in enumerate(plane.lines):
            where = (plane.name, f"{line.name} {number}")
            for event in line.events:
                found.append((where, event, dict(event.stats)))
    run = defaultdict(set)  # (module, program): names of instructions
    for *_, stats in found:
        if {"hlo_module", "program_id", "hlo_op"} <= stats.keys():
            run[stats["hlo_module"], stats["program_id"]].add(stats["hlo_op"])
    op_names = _match(run, list(_programs(raw)))
    events = []
    for where, event, stats in found:
        names = op_names.get((stats.get("hlo_module"), stats.get("program_id")), {})
        op_name = names.get(stats.get("hlo_op"), "")
        events.append(Event(*where, event.name, event.start_ns, event.duration_ns, op_name))
    return events


def _match(
    run: dict[tuple[str, int], set[str]], programs: list[tuple[str, dict[str, str]]]
) -> dict[tuple[str, int], dict[str, str]]:
    """The op_names of each program that ran.

    JAX counts programs and XLA's events count them from another number, in the same order: of
    the programs of a name (one for each shape of batches) the next one with the instructions is
    taken.
    """
    matched, left = {}, list(programs)
    for module, program in sorted(run):
        for candidate in left:
            if candidate[0] == module and run[module, program] <= candidate[1].keys():
                matched[module, program] = candidate[1]
                left.remove(candidate)
                break
    return matched


def layer_of(op_name: str) -> tuple[str, bool]:
    """The layer of an instruction ("other" where it is in none); whether of the backward pass.

    jit(train_step)/transpose(jvp(encoder))/layer_0/feed_forward/mul is of encoder/layer_0/
    feed_forward, backward.
    """
    parts = re.findall(r"[^/()]+", op_name)
    return "/".join(filter(_SCOPE.fullmatch, parts)) or "other", "transpose(" in op_name


def write_timeline(events: list[Event], path: pathlib.Path) -> None:
    """A JSON trace for ui.perfetto.dev or chrome://tracing, compressed."""
    processes, threads, entries = {}, {}, []

    def describe(kind: str, pid: int, tid: int, name: str) -> None:
        fields = {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}
        entries.append(fields)

    for event in events:
        if event.process not in processes:
            processes[event.process] = len(processes)
            describe("process_name", processes[event.process], 0, event.process)
        pid = processes[event.process]
        if event[:2] not in threads:
            threads[event[:2]] = len(threads)
            describe("thread_name", pid, threads[event[:2]], event.thread)
        entry = {"ph": "X", "name": event.name, "pid": pid, "tid": threads[event[:2]]}
        entry |= {"ts": event.start / 1e3, "dur": event.duration / 1e3}
        if event.op_name:
            layer, backward = layer_of(event.op_name)
            entry["name"] = f"{layer} (backward)" if backward else layer
            entry["args"] = {"instruction": event.name, "op_name": event.op_name}
        entries.append(entry)
    with gzip.open(path, "wt") as file:
        json.dump({"traceEvents": entries}, file)


def table(events: list[Event], steps: int) -> str:
    """Milliseconds a step of each layer, added up over threads and devices; "" without any."""
    times = defaultdict(lambda: np.zeros(2))  # forward, backward
    for event, own in _own_times(events):
        if event.op_name:
            layer, backward = layer_of(event.op_name)
            times[layer][int(backward)] += own / steps / 1e6
    if not times:
        return ""
    total = sum(times.values())
    lines = [f"{'ms a step':<34}{'forward':>10}{'backward':>10}{'share':>9}"]
    for layer, time in [*sorted(times.items(), key=_place), ("all", total)]:
        share = time.sum() / total.sum()
        lines.append(f"{layer:<34}{time[0]:>10.2f}{time[1]:>10.2f}{share:>9.1%}")
    return "\n".join(lines) + "\n"


def _place(row: tuple[str, np.ndarray]) -> tuple:
    """Layer 10 after layer 9, and what is in no layer at the end."""
    return row[0] == "other", re.sub(r"\d+", lambda number: number[0].zfill(4), row[0])


def _own_times(events: list[Event]) -> Iterator[tuple[Event, float]]:
    """Each instruction with its time, that of instructions within it (a loop's) left out."""
    open_events: list[list] = []
    instructions = [event for event in events if event.op_name]
    for event in sorted(instructions, key=lambda e: (e[:2], e.start, -e.duration)):
        while open_events and (
            open_events[-1][0][:2] != event[:2]
            or open_events[-1][0].start + open_events[-1][0].duration <= event.start
        ):
            yield tuple(open_events.pop())
        if open_events:
            open_events[-1][1] -= event.duration
        open_events.append([event, event.duration])
    yield from map(tuple, open_events)


def _programs(raw: bytes) -> Iterator[tuple[str, dict[str, str]]]:
    """(module, {instruction: op_name}) of the programs in an XSpace (tsl/profiler/protobuf).

    The plane /host:metadata has one event's metadata a program, named MODULE(number), with the
    HloProto as a stat. `jax.profiler.ProfileData` does not show it.
    """
    programs = {}
    for plane in _fields(raw, 1):
        for entry in _fields(plane, 4):
            for metadata in _fields(entry, 2):
                name = re.fullmatch(rb"(.*)\((\d+)\)", next(_fields(metadata, 2), b""))
                protos = (hlo for stat in _fields(metadata, 5) for hlo in _fields(stat, 6))
                if name and (proto := next(protos, None)):
                    programs[int(name[2])] = name[1].decode(), dict(_instructions(proto))
    return (programs[number] for number in sorted(programs))


def _instructions(hlo: bytes) -> Iterator[tuple[str, str]]:
    """(instruction, op_name) of an HloProto's instructions (xla/service/hlo.proto)."""
    for module in _fields(hlo, 1):
        for computation in _fields(module, 3):
            for instruction in _fields(computation, 2):
                for metadata in _fields(instruction, 7):
                    name, op_name = next(_fields(instruction, 1)), next(_fields(metadata, 2), b"")
                    yield name.decode(), op_name.decode()


def _fields(message: bytes, number: int) -> Iterator[bytes]:
    """The fields with that number of a message in protobuf's wire format; only those of bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            varint()
        elif kind == 2:
            size = varint()
            if tag >> 3 == number:
                yield message[at : at + size]
            at += size
        else:
            at += {1: 8, 5: 4}[kind]
