"""Stopping on request: a preempted or interrupted run saves before it ends."""

import os
import signal
import threading

from jax.experimental.multihost_utils import reached_preemption_sync_point

from transformer import hosts


class StopRequest:
    """Notes SIGTERM (preemption, `kill`) and SIGINT (Ctrl-C) instead of dying of them.

    A context manager; only the main thread may install handlers, elsewhere it notes nothing. A
    second Ctrl-C interrupts at once, as usual.

    Of several processes any one may get the signal; JAX's preemption service then finds a step
    that none has begun, and all stop there. It takes SIGTERM itself, and Ctrl-C is passed on to it.

    Attributes:
      signal: what the run stops for.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._several = hosts.count() > 1
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        if self._several:
            hosts.listen_for_stop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT,) if self._several else (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`. Every process asks at every step, the first one included.

        On one host that is a look at an attribute, on several one at a number that a thread of
        JAX's sets when there is news.
        """
        if self._several and reached_preemption_sync_point(step):
            self.signal = signal.SIGTERM
        return self.signal is not None

    def _note(self, number: int, _) -> None:
        if number == signal.SIGINT:
            signal.signal(number, self._previous[number])
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.signal = signal.Signals(number)
