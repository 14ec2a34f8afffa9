"""Ctrl-C and SIGTERM end a run after the chunk that is under way."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from rich import get_console

from jaxml.training.loop import Chunk

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_SIGNAL = 1.0  # seconds within which several count as one


class stop_on_signals(contextlib.AbstractContextManager):  # noqa: N801 - used as a function
    """A hook that ends the run after the chunk in which Ctrl-C or SIGTERM came.

    The other hooks see that chunk too, so that `checkpoint` saves it. A second signal, a second
    or more after the first, stops the process at once. Signals are as they were once the run is
    over; the hook can also be entered around more than one run. In a thread other than the main
    one it has no effect, because Python handles signals there alone. Several processes end
    together, whichever of them the signal reached; all of them must have the hook.

    Args:
        message: printed when the signal comes: what is being finished.

    Attributes:
        received: the signal that came, here or to another process, or `None`.
    """

    def __init__(self, message: str | None = None) -> None:
        self._message = message
        self.received: signal.Signals | None = None
        self._entered = 0
        self._reached: float | None = None
        self._listener: threading.Thread | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> stop_on_signals:
        self._entered += 1
        if self._entered == 1:
            self.received, self._reached = None, None
        if self._entered == 1 and threading.current_thread() is threading.main_thread():
            # Python's own handlers wait until the compiled call returns, which may take minutes;
            # what it writes to this descriptor comes at once
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            heeded = [s for s in _SIGNALS if signal.getsignal(s) != signal.SIG_IGN]  # not by nohup
            self._handlers = {s: signal.signal(s, lambda *_: None) for s in heeded}
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._entered -= 1
        if self._entered == 0 and self._listener is not None:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            self._writer.close()
            self._listener.join()
            self._reader.close()
            self._listener = None

    def __call__(self, chunk: Chunk) -> bool:  # noqa: ARG002
        """See `Hook`."""
        if jax.process_count() == 1:
            return self.received is not None
        # one that comes meanwhile waits for the next chunk, as all must answer the same
        received = int(multihost_utils.process_allgather(np.int32(self.received or 0)).max())
        if received:
            self.received = signal.Signals(received)
        return received > 0

    def _listen(self) -> None:
        while data := self._reader.recv(1):
            if data[0] not in self._handlers:
                continue
            now = time.monotonic()
            if self._reached is not None:
                # `timeout`, and a shell's Ctrl-C beside it, send the same one twice at once
                if now - self._reached < _ONE_SIGNAL:
                    continue
                get_console().show_cursor()  # a progress bar hides it
                os._exit(128 + data[0])
            self._reached = now  # unlike `received`, by a signal to this process
            self.received = signal.Signals(data[0])
            if self._message is not None:
                get_console().print(self._message)
