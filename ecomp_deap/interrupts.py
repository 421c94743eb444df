"""`Interrupts`: Ctrl-C and SIGTERM, which wait for the end of a generation where one is running."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Interrupts"]


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop.

    Attributes:
        exit_code: What a process ends with by convention: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


class Interrupts:
    """Takes the place of Python's handlers while it is entered.

    Outside of `held` a signal raises `Interrupted` at once. Within, the first one only asks for
    it; the second raises.

    Args:
        tell: Called with what a user should know, from a signal handler.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._held = False
        self._pending: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def pending(self) -> bool:
        """Whether a signal came that was held."""
        return self._pending is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the first signal until `check` is called, or the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.check()

    def check(self) -> None:
        """Raise `Interrupted` if a signal was held."""
        if self._pending is not None:
            raise Interrupted(self._pending)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held and self._pending is None:
            self._pending = number
            with suppress(RuntimeError):  # the signal came in the middle of another line
                self._tell("stopping after this generation; again to stop at once")
        else:
            raise Interrupted(number)
