"""A trace of a few training steps: what the devices do, layer by layer, and what they wait for."""

import pathlib
from collections.abc import Callable, Sequence

import jax

from transformer import hosts
from transformer.data.batching import Batch, Shape
from transformer.files import write
from transformer.training.step import TrainState
from transformer.training.trace import table, write_timeline
from transformer.training.xplane import read_events

TIMELINE, LAYERS = "timeline.json.gz", "layers.txt"
STEPS = 5
WARM_UP = 2  # steps after the last compilation that are left out


class Profiler:
    """Traces some steps of a run once, as they are for hours: nothing is compiled or saved in them.

    The trace begins when this process has taken a step with each shape of the batches, and lies
    between two breaks of the loop: STEPS steps, or fewer where breaks are nearer to each other.
    Of several processes the first one traces.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        shapes: Sequence[Shape],
        breaks: Sequence[int],
        num_steps: int,
        say: Callable[[str], None],
    ):
        """Nothing is written before the first traced step.

        Args:
          folder: made for LAYERS and TIMELINE of the last trace, and all recordings of JAX's.
          shapes: of the batches to come; a step is compiled for each.
          breaks: after every so many steps the loop does something else for a while.
          num_steps: of the run.
          say: is told where the trace is.
        """
        self._folder, self._say = folder, say
        self._breaks = [*breaks, num_steps]
        self._new = {(shape.source_length, shape.target_length) for shape in shapes}
        self._steps = min(STEPS, *self._breaks)
        self._warm = self._left = 0
        self._done = not hosts.is_first()

    def before(self, step: int, state: TrainState) -> None:
        """Begins the trace if it is time to; `state` is that of `step` steps done."""
        room = min(every - step % every for every in self._breaks)
        if self._done or self._left or self._warm < WARM_UP or room < self._steps:
            return
        self._left = self._steps
        jax.block_until_ready(state)  # or the end of earlier steps would be in it
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # each call of a Python function would hide the rest
        jax.profiler.start_trace(self._folder, profiler_options=options)

    def after(self, batch: Batch, state: TrainState) -> None:
        """Counts a step, and ends the trace with the last one of it."""
        self._warm = 0 if self._new else self._warm + 1
        self._new.discard((batch.source.shape[1], batch.target_in.shape[1]))
        if self._left:
            self._left -= 1
            if not self._left:
                jax.block_until_ready(state)
                self._write()

    def close(self) -> None:
        """Ends what a stopped run has begun, and says so where there was nothing to trace."""
        if self._left:
            self._steps -= self._left
            self._write()
        elif not self._done:
            self._say(
                f"no profile: the run ended before {WARM_UP + self._steps} steps without a break "
                f"had followed the last compilation ({len(self._new)} shapes of batches never came)"
            )

    def _write(self) -> None:
        jax.profiler.stop_trace()
        self._done = True
        recording = max(self._folder.glob("plugins/profile/*/*.xplane.pb"))
        try:
            events = read_events(recording)
            write_timeline(events, self._folder / TIMELINE)
            layers = table(events, self._steps)
            if layers:
                write(self._folder / LAYERS, layers)
        except Exception as error:  # its format is XLA's, and a run is worth more than its profile
            self._say(
                f"profile of {self._steps} steps: {recording}, of which no table could be made "
                f"({type(error).__name__}: {error}); pip install xprof shows it"
            )
            return
        self._say(
            f"profile of {self._steps} steps in {self._folder}: {f'{LAYERS}; ' * bool(layers)}"
            f"{TIMELINE} for ui.perfetto.dev; or pip install xprof, xprof --logdir={self._folder}"
        )
