"""Losses of steps in flight: looked at a little later, averaged, logged, refused if not finite."""

import collections
import pathlib
import time
from collections.abc import Sequence

import numpy as np

from transformer import hosts
from transformer.config import Config
from transformer.data.batching import Batch
from transformer.errors import UserError
from transformer.training.checkpoint import Checkpoints
from transformer.training.metrics import MetricsLog, Progress
from transformer.training.step import StepMetrics

# Steps whose results are awaited later, so that the host prepares batches meanwhile.
IN_FLIGHT = 2


class Meter:
    """Follows the losses a few steps behind, and reports their means."""

    def __init__(
        self,
        config: Config,
        workdir: pathlib.Path,
        checkpoints: Checkpoints,
        log: MetricsLog,
        bar: Progress,
        step: int,
        unreported: Sequence[Sequence[float]] = (),
    ):
        """Goes on from `step`, with what was `unreported` there.

        `checkpoints` are asked for the last good one only.
        """
        self._num_steps, self._workdir, self._checkpoints = (
            config.training.num_steps,
            workdir,
            checkpoints,
        )
        self._log, self._bar = log, bar
        self._pending: collections.deque = collections.deque()
        self._done = [StepMetrics(*map(np.float32, numbers)) for numbers in unreported]
        self._step, self._rate = step, ""
        self.restart_clock()

    def restart_clock(self) -> None:
        """Begins a new interval, for what was just done was not training."""
        self._started, self._timed_tokens = time.time(), 0.0

    def add(self, step: int, batch: Batch, metrics: StepMetrics) -> None:
        """Notes a step that has been started; looks at one started before it."""
        self._pending.append((step, batch, metrics))
        if len(self._pending) > IN_FLIGHT:
            self._finish_one()

    def drain(self) -> None:
        """Waits for every step started."""
        while self._pending:
            self._finish_one()

    @property
    def unreported(self) -> list[list[float]]:
        """The numbers of the steps since the last report, JSON-able: the next one is of them, too.

        They are all there after `drain`.
        """
        return [[float(number) for number in metrics] for metrics in self._done]

    def report(self) -> None:
        """Means since the last report, to the log and the terminal."""
        self.drain()
        tokens = np.array([m.tokens for m in self._done])
        mean = {
            name: float(np.average([getattr(m, name) for m in self._done], weights=tokens))
            for name in ("loss", "nll", "accuracy")
        }
        rate = self._timed_tokens / max(time.time() - self._started, 1e-9)
        last = self._done[-1]
        values = mean | {
            "gradient_norm": float(last.gradient_norm),
            "learning_rate": float(last.learning_rate),
            "tokens": float(tokens.sum()),
            "tokens_per_second": round(rate, 1),
        }
        self._log.write("train", self._step, values)
        self._rate = f", {rate:,.0f} tokens/s"
        say = self._bar.message if self._step == self._num_steps else self._bar.status
        say(
            f"step {self._step}/{self._num_steps}: loss {mean['loss']:.4f}, "
            f"accuracy {mean['accuracy']:.1%}, learning rate {values['learning_rate']:.2e}, "
            f"{rate:,.0f} target tokens/s, {self._bar.eta} left"
        )
        self._done.clear()
        self.restart_clock()

    def _finish_one(self) -> None:
        step, batch, metrics = self._pending.popleft()
        metrics = StepMetrics(*(np.asarray(m) for m in metrics))
        if not (np.isfinite(metrics.loss) and np.isfinite(metrics.gradient_norm)):
            self._explain(step, batch, metrics)
        self._done.append(metrics)
        self._timed_tokens += float(metrics.tokens)
        self._step = step
        self._bar.advance(1, f"loss {metrics.loss:.3f}{self._rate}")

    def _explain(self, step: int, batch: Batch, metrics: StepMetrics) -> None:
        rows = f"_process_{hosts.index()}" if hosts.count() > 1 else ""  # each has its own
        path = self._workdir / f"batch_of_step_{step}{rows}.npz"
        np.savez(path, **{k: v for k, v in batch._asdict().items() if v is not None})
        good = self._checkpoints.latest_step
        saved = "there is no checkpoint yet" if good is None else f"step {good} is saved and good"
        raise UserError(
            f"the loss of step {step} is {metrics.loss} and its gradient norm "
            f"{metrics.gradient_norm}; the batch is in {path}; {saved}. Begin in another --workdir "
            "with a lower config.training.learning_rate_scale or config.training.clip_norm=1.0."
        )
