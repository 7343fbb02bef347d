"""Where the numbers of a run go: metrics.jsonl, TensorBoard, and the terminal."""

import datetime
import html
import json
import pathlib
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tqdm
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from transformer import files, hosts
from transformer.training import workdir as workdir_lib


class MetricsLog:
    """Appends records to DIR/metrics.jsonl and their numbers to TensorBoard events beside it.

    The first process does; in the others nothing happens.
    """

    def __init__(self, workdir: pathlib.Path, step: int, validates_again: bool = False):
        """Opens the log to go on from `step`: what a killed run logged beyond it is taken out.

        So is its validation of `step` itself, if that is to come again.
        """
        self._file = self._events = None
        if not hosts.is_first():
            return
        path = workdir / workdir_lib.METRICS
        if path.exists():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if not _comes_again(line, step, validates_again)]
            files.write(path, "".join(f"{line}\n" for line in kept))
        self._file = path.open("a")
        # TensorBoard itself drops what it read beyond purge_step.
        self._events = SummaryWriter(str(workdir), purge_step=step + 1, write_to_disk=True)

    def write(
        self,
        kind: str,
        step: int,
        values: dict[str, Any],
        images: dict[str, UInt8[np.ndarray, "height width 3"]] | None = None,
    ) -> None:
        """One record: `kind` ("train", "validation", ...), `step` and `values`.

        `images` (red, green and blue) go to TensorBoard alone.
        """
        if self._file is None:
            return
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.add_scalar(f"{kind}/{name}", value, step)
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                self._events.add_text(f"{kind}/{name}", markdown_table(value), step)
        for name, image in (images or {}).items():
            self._events.add_image(f"{kind}/{name}", image, step, dataformats="HWC")
        self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        if self._file is None:
            return
        self._file.close()
        self._events.close()


def kinds_logged(workdir: pathlib.Path, step: int) -> set[str]:
    """The kinds of the records that DIR/metrics.jsonl has of `step`."""
    path = workdir / workdir_lib.METRICS
    records = map(_record, path.read_text().splitlines() if path.exists() else [])
    return {record["kind"] for record in records if record and record["step"] == step}


def markdown_table(rows: Sequence[dict[str, str]]) -> str:
    """One column a key; the texts stand in it as they are, whatever they mean in Markdown."""

    def line(cells: Iterable[str]) -> str:
        plain = (html.escape(" ".join(cell.split()), quote=False) for cell in cells)
        escaped = (re.sub(r"([\\`*_{}\[\]|])", r"\\\1", cell) for cell in plain)
        return f"| {' | '.join(escaped)} |"

    return "\n".join(
        [line(rows[0]), "|---" * len(rows[0]) + "|", *(line(r.values()) for r in rows)]
    )


def _comes_again(line: str, step: int, validates_again: bool) -> bool:
    """Whether a record is of what follows `step`; one that a crash cut short is, too."""
    record = _record(line)
    if record is None:
        return True
    own = validates_again and record["kind"] == "validation"
    return record["step"] >= step + (not own)


def _record(line: str) -> dict[str, Any] | None:
    """What a line holds, None if a crash cut it short."""
    try:
        record = json.loads(line)
        return record if record.keys() >= {"kind", "step"} else None
    except (json.JSONDecodeError, AttributeError):
        return None


def say_line(text: str) -> None:
    """A line on stderr, where no bar stands; of several processes the first one speaks."""
    if hosts.is_first():
        print(text, file=sys.stderr, flush=True)


# A run of a day writes some 1,500 lines, however fast its steps are.
FIRST_LINES = 30
SECONDS_A_LINE = 60
_BAR = "{n_fmt}/{total_fmt} {unit}s |{bar}| {remaining} left{postfix}"


class Progress:
    """A progress bar with ETA on a terminal; elsewhere one line a message, so that logs stay short.

    Everything goes to stderr: stdout is for results. Of several processes the first one speaks.
    """

    def __init__(self, total: int, done: int, unit: str = "step"):
        self._total, self._done, self._initial = total, done, done
        self._started = self._said = time.time()
        self._lines, self._kept = 0, ""
        self._bar = tqdm.tqdm(
            total=total,
            initial=done,
            unit=unit,
            bar_format=_BAR,
            dynamic_ncols=True,
            smoothing=0.05,
            disable=not (hosts.is_first() and sys.stderr.isatty()),
        )
        self._terminal = not self._bar.disable

    def advance(self, count: int = 1, note: str = "") -> None:
        """Moves on by `count`; `note` stands behind the bar."""
        self._done += count
        if note:
            self._bar.set_postfix_str(note + self._kept, refresh=False)
        self._bar.update(count)

    def reach(self, done: int) -> None:
        """Moves on to `done` in all."""
        self.advance(done - self._done)

    def note(self, text: str) -> None:
        """Shows what is being done behind the bar; nothing where there is no terminal."""
        self._bar.set_postfix_str(text)

    def keep(self, text: str) -> None:
        """Shows `text` behind every note from now on."""
        self._kept = f", {text}"

    @property
    def eta(self) -> str:
        """Time left at the speed so far, as H:MM:SS."""
        elapsed = time.time() - self._started
        done = self._done - self._initial
        if not done:
            return "?"
        return str(datetime.timedelta(seconds=round(elapsed / done * (self._total - self._done))))

    def status(self, text: str) -> None:
        """A line on how far it is: the first FIRST_LINES, then one in SECONDS_A_LINE."""
        if self._lines >= FIRST_LINES and time.time() - self._said < SECONDS_A_LINE:
            return
        self._lines, self._said = self._lines + 1, time.time()
        self.message(text)

    def message(self, text: str) -> None:
        """A line that stays."""
        if self._terminal:
            self._bar.write(text, file=sys.stderr)
        else:
            say_line(text)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()
