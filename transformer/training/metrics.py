"""Where the numbers of a run go: metrics.jsonl, TensorBoard, and the terminal."""

import datetime
import json
import pathlib
import sys
import time
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

    def __init__(self, workdir: pathlib.Path, step: int):
        """Opens the log to go on from `step`: what a killed run logged beyond it is taken out."""
        self._file = self._events = None
        if not hosts.is_first():
            return
        path = workdir / workdir_lib.METRICS
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line, step) <= step]
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
            elif isinstance(value, list) and value and isinstance(value[0], str):
                self._events.add_text(f"{kind}/{name}", "\n\n".join(value), step)
        for name, image in (images or {}).items():
            self._events.add_image(f"{kind}/{name}", image, step, dataformats="HWC")
        self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        if self._file is None:
            return
        self._file.close()
        self._events.close()


def _step_of(line: str, step: int) -> int:
    """The step of a record; a line that a crash cut short counts as beyond `step`."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return step + 1


class Progress:
    """A progress bar with ETA on a terminal; elsewhere one line a message, so that logs stay short.

    Everything goes to stderr: stdout is for results. Of several processes the first one speaks.
    """

    def __init__(self, total: int, done: int, unit: str = "step"):
        self._total, self._done, self._initial = total, done, done
        self._started = time.time()
        self._bar = tqdm.tqdm(
            total=total,
            initial=done,
            unit=unit,
            dynamic_ncols=True,
            smoothing=0.05,
            disable=not (hosts.is_first() and sys.stderr.isatty()),
        )
        self._terminal = not self._bar.disable

    def advance(self, count: int = 1, note: str = "") -> None:
        """Moves on by `count`; `note` stands behind the bar."""
        self._done += count
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)

    def reach(self, done: int) -> None:
        """Moves on to `done` in all."""
        self.advance(done - self._done)

    def note(self, text: str) -> None:
        """Shows what is being done behind the bar; nothing where there is no terminal."""
        self._bar.set_postfix_str(text)

    @property
    def eta(self) -> str:
        """Time left at the speed so far, as H:MM:SS."""
        elapsed = time.time() - self._started
        done = self._done - self._initial
        if not done:
            return "?"
        return str(datetime.timedelta(seconds=round(elapsed / done * (self._total - self._done))))

    def message(self, text: str) -> None:
        """A line that stays."""
        if self._terminal:
            self._bar.write(text, file=sys.stderr)
        elif hosts.is_first():
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()
