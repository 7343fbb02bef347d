"""The tables of docs/scale.md: base and big compiled for 8 and 256 chips of every kind there is.

    python experiments/compile_tables.py --results=runs/compile

Each row is a run of compile_check.py in a process of its own, whose JSON is kept in --results: what
was stopped goes on, and only rows without a result are compiled, a minute to several each. Rows of
kinds for which this environment lacks the compiler are left to another one: p100 and v100 take
CUDA 12, which does not go with the CUDA 13 of the others in one environment.
"""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from absl import flags

from experiments import cli, tables
from transformer import files

RESULTS = flags.DEFINE_string("results", "runs/compile", "folder of what was compiled so far")

# (8 chips, 256 chips); v3 has no slice of 8 chips: 4 are the 8 cores of a "v3-8".
SIZES = {
    "v3": ("2x2", "16x16"),
    "v4": ("2x2x2", "4x8x8"),
    "v5e": ("2x4", "16x16"),
    "v5p": ("2x2x2", "4x8x8"),
    "v6e": ("2x4", "16x16"),
    "tpu7x": ("2x2x2", "4x8x8"),
    "p100": ("8", "256"),
    "v100": ("8", "256"),
    "a100": ("8", "256"),
    "h100": ("8", "256"),
}
FLOAT32_ONLY = ("p100", "v100")
FUSED = ("a100", "h100")  # these also with a kernel for attention; on TPUs it is for longer rows
PAPER_SECONDS = {"base": 0.4, "big": 1.0}  # of a step, section 5.2


class Row(NamedTuple):
    """One compilation: the name of its result, and the flags of compile_check.py."""

    name: str
    model: str
    flags: tuple[str, ...]


def rows() -> Iterator[Row]:
    """The paper's machine and batch first, then 25,000 tokens a chip everywhere."""
    for model in ("base", "big"):
        yield Row(f"{model}_paper", model, (f"--config=configs/{model}.py", "--topology=p100:8"))
    for model in ("base", "big"):
        for kind, sizes in SIZES.items():
            dtype = "float32" if kind in FLOAT32_ONLY else "bfloat16"
            cores = 2 if kind in ("v3", "tpu7x") else 1
            for size in sizes:
                for attention in ("plain", "fused") if kind in FUSED else ("plain",):
                    yield Row(
                        f"{model}_{kind}_{size}" + "_fused" * (attention == "fused"),
                        model,
                        (
                            f"--config=configs/{model}.py",
                            f"--config.model.dtype={dtype}",
                            f"--config.model.attention={attention}",
                            f"--topology={kind}:{size}",
                            f"--tokens_per_device={25_000 // cores}",
                        ),
                    )


def main() -> None:
    """See the module's docstring."""
    folder = pathlib.Path(RESULTS.value)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[Row, dict[str, Any]] = {}
    for row in rows():
        path = folder / f"{row.name}.json"
        if not path.exists():
            _compile(row, path)
        if path.exists():
            found[row] = json.loads(path.read_text())
    for model in ("base", "big"):
        own = {row: record for row, record in found.items() if row.model == model}
        if own:
            print(f"### {model}\n")
            print(tables.table(*table_of(own), "markdown"))
            print()


def table_of(found: dict[Row, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of one model."""
    head = ["machine", "chips", "dtype", "tokens a chip", "GiB a device", "all-reduce MB"]
    head += [
        "ms a step, estimate",
        "by XLA's cycles",
        "target tokens/s",
        "MFU",
        "roofline",
        "hours",
    ]
    return head, [_cells(row, record) for row, record in found.items()]


def _cells(row: Row, record: dict[str, Any]) -> list[str]:
    memory = record["bytes_per_device"]
    machine = record["topology"]
    if row.name.endswith("_paper"):
        machine += f" (the paper's: {PAPER_SECONDS[row.model] * 1e3:.0f} ms a step)"
    if row.name.endswith("_fused"):
        machine += ", fused attention"
    cells = [machine, str(record["chips"]), record["dtype"]]
    cells.append(f"{record['batch']['target_tokens'] / record['chips']:,.0f}")
    need, room = (memory[key] / 2**30 for key in ("needed", "available"))
    cells.append(f"{need:.1f} of {room:.1f}" + ("" if record["fits"] else ": does not fit"))
    if "estimate" not in record:
        return [*cells, *[""] * 7]
    timing = record["estimate"]
    sent = record["collectives"].get("all-reduce", {"bytes": 0})["bytes"]
    return [
        *cells,
        f"{sent / 1e6:,.0f}",
        f"{timing['seconds'] * 1e3:,.1f}",
        f"{timing['compiler_seconds'] * 1e3:,.1f}" if "compiler_seconds" in timing else "",
        f"{timing['target_tokens_per_second']:,}",
        f"{timing['mfu']:.0%}",
        f"{timing['roofline_mfu']:.0%}",
        f"{timing['hours']:,.1f}",
    ]


def _compile(row: Row, path: pathlib.Path) -> None:
    print(row.name, file=sys.stderr, flush=True)
    script = pathlib.Path(__file__).with_name("compile_check.py")
    done = subprocess.run(
        [sys.executable, str(script), *row.flags], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode == 0:
        files.write(path, done.stdout)


if __name__ == "__main__":
    cli.run(main)
