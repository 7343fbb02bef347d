"""What JAX's profiler recorded, read from its file.

XLA's CPU events carry the names of instructions only. Which layer an instruction belongs to stands
in the compiled programs (`jax.named_scope` puts it there), and these are in the recording too.
"""

import pathlib
import re
from collections import defaultdict
from typing import NamedTuple

Message = defaultdict[int, list]  # values by the number of their field


class Event(NamedTuple):
    """One piece of work on one thread of a host or one stream of a device."""

    process: str
    thread: str
    name: str
    start: float  # nanoseconds
    duration: float
    op_name: str  # of an instruction of a compiled program, "" of anything else


def read_events(path: pathlib.Path) -> list[Event]:
    """All events of an .xplane.pb file, thread by thread.

    It is an XSpace (tsl/profiler/protobuf/xplane.proto), whose fields are read by their numbers:
    `jax.profiler.ProfileData` leaves out the programs, and JAX 0.12's ends the process.
    """
    planes = [_parse(plane) for plane in _parse(path.read_bytes())[1]]
    found = []
    run = defaultdict(set)  # (module, program): names of instructions
    for plane in planes:
        names, stat_names = _names(plane[4]), _names(plane[5])
        for number, raw_line in enumerate(plane[3]):
            line = _parse(raw_line)
            where = (_text(plane[2]), f"{_text(line[2])} {number}")
            begin = sum(line[3])
            for raw_event in line[4]:
                event = _parse(raw_event)
                stats = _stats(event[4], stat_names)
                if {"hlo_module", "program_id", "hlo_op"} <= stats.keys():
                    run[stats["hlo_module"], stats["program_id"]].add(stats["hlo_op"])
                when = (begin + sum(event[2]) / 1e3, sum(event[3]) / 1e3)
                found.append((where, names.get(sum(event[1]), ""), when, stats))
    op_names = _match(run, _programs(planes))
    events = []
    for where, name, when, stats in found:
        program = op_names.get((stats.get("hlo_module"), stats.get("program_id")), {})
        events.append(Event(*where, name, *when, program.get(stats.get("hlo_op"), "")))
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


def _programs(planes: list[Message]) -> list[tuple[str, dict[str, str]]]:
    """(module, {instruction: op_name}) of the programs, in the order in which JAX counts them.

    The plane /host:metadata has one event's metadata a program, named MODULE(number), with an
    HloProto (xla/service/hlo.proto) as a stat.
    """
    programs = {}
    for plane in planes:
        for entry in plane[4] if _text(plane[2]) == "/host:metadata" else ():
            metadata = _parse(_parse(entry)[2][0])
            name = re.fullmatch(r"(.*)\((\d+)\)", _text(metadata[2]))
            protos = [proto for stat in metadata[5] for proto in _parse(stat)[6]]
            if name and protos:
                programs[int(name[2])] = name[1], _op_names(protos[0])
    return [programs[number] for number in sorted(programs)]


def _op_names(hlo: bytes) -> dict[str, str]:
    op_names = {}
    for computation in _parse(_parse(hlo)[1][0])[3]:
        for raw in _parse(computation)[2]:
            instruction = _parse(raw)
            for metadata in instruction[7]:
                op_names[_text(instruction[1])] = _text(_parse(metadata)[2])
    return op_names


def _names(entries: list[bytes]) -> dict[int, str]:
    """Of a map from numbers to metadata, the names."""
    found = {}
    for entry in map(_parse, entries):
        for metadata in map(_parse, entry[2]):
            found[sum(entry[1])] = _text(metadata[2])
    return found


def _stats(raw: list[bytes], names: dict[int, str]) -> dict[str, int | str]:
    """An event's facts; a text stands there itself or as the number of a name."""
    stats = {}
    for stat in map(_parse, raw):
        value = names.get(stat[7][0], "") if stat[7] else sum(stat[3] + stat[4])
        stats[names.get(sum(stat[1]), "")] = _text(stat[5]) if stat[5] else value
    return stats


def _text(values: list[bytes]) -> str:
    return values[0].decode(errors="replace") if values else ""


def _parse(message: bytes) -> Message:
    """The fields of a message in protobuf's wire format by their numbers; fractions are left out.

    A number that is 0 is not written, so that the sum of a field's values is its value.
    """
    fields: Message = defaultdict(list)
    at, end = 0, len(message)

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < end:
        number, kind = divmod(varint(), 8)
        if kind == 0:
            fields[number].append(varint())
        elif kind == 2:
            size = varint()
            fields[number].append(message[at : at + size])
            at += size
        else:
            at += {1: 8, 5: 4}[kind]
    return fields
