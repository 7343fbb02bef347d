"""Stopping on request: a preempted or interrupted run saves before it ends."""

import signal
import threading


class StopRequest:
    """Notes SIGTERM (preemption, `kill`) and SIGINT (Ctrl-C) instead of dying of them.

    A context manager; only the main thread may install handlers, elsewhere it notes nothing. A
    second Ctrl-C interrupts at once, as usual.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        self.signal = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, self._previous[number])
