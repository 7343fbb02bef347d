"""A recording with the names of layers: as a timeline, and as a table."""

import gzip
import json
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from transformer.training.xplane import Event

# The scopes of transformer/model/encoder_decoder.py and transformer/training/step.py.
_SCOPE = re.compile(
    r"encoder|decoder|layer_\d+|embedding|self_attention|cross_attention|feed_forward|loss"
    r"|optimizer|moving_average|metrics"
)


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
