"""The process of a trial as its worker sees it: started, spoken to, watched, ended, and read after its death."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from worker.memory import resident_bytes
from worker.messages import Decoder, Message, encode

# The child sees the modules that this process sees, whatever lies in the folder where it starts.
# Its life is tied to ours and to nothing else first: loading the rest takes seconds.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from worker.lifeline import die_with, leave_signals
die_with(int(sys.argv[1]))
leave_signals()
from worker.child import main
main()
"""
_TAIL_BYTES = 16_384
_PIECE_BYTES = 65_536
# Of each pipe at a time, so that limits are looked at however much a trial prints.
_MAX_PIECES = 16
# Of silence, after which the last dump of its stack by a process that is about to be killed is whole.
_SILENCE_SECONDS = 0.3
_KILL_SECONDS = 10.0


class ChildProcess:
    """A process that runs `worker.child`, in a process group of its own.

    It is started by exec, never by fork alone: this process has threads, and is not allowed to use multiprocessing
    where it is a daemon of Dask's. The kernel ends it with the thread that made this object.
    """

    def __init__(self) -> None:
        path = json.dumps([entry or os.getcwd() for entry in sys.path])  # noqa: PTH109 - what "" means in sys.path
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", _START, str(os.getpid()), path],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin, self._answers, self._stderr = self._process.stdin, self._process.stdout, self._process.stderr
        self._decoder = Decoder()
        self._tail = b""
        self._selector = selectors.DefaultSelector()
        for stream in (self._answers, self._stderr):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of what it has printed since `forget`; after a fatal signal, the Python stack."""
        return self._tail.decode(errors="replace")

    def forget(self) -> None:
        """What was printed so far belongs to an earlier trial."""
        self.receive(0)
        self._tail = b""

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Sends a message; a process that is gone does not get it, which `is_alive` tells."""
        with suppress(BrokenPipeError):
            self._stdin.write(encode(message))

    def receive(self, seconds: float) -> list[Message]:
        """What has come from the process, after waiting for at most `seconds` where nothing has."""
        messages: list[Message] = []
        for key, _ in self._selector.select(seconds):
            for piece in self._pieces(key.fd):
                if key.fd == self._answers.fileno():
                    messages += self._decoder.feed(piece)
                else:
                    self._tail = (self._tail + piece)[-_TAIL_BYTES:]
                    sys.stderr.write(piece.decode(errors="replace"))
        return messages

    def resident_bytes(self) -> int:
        """Resident size; 0 where it is gone or unknown."""
        return resident_bytes(self.pid) or 0

    def interrupt(self) -> None:
        """Raises an exception in the trial, where the process has been told to stop and still runs Python."""
        self._signal(signal.SIGUSR1)

    def dump(self, seconds: float) -> None:
        """Lets the process print its Python stack, whatever it does, into `last_words`, for so long at most."""
        before = said = self._tail
        self._signal(signal.SIGUSR2)
        end = time.monotonic() + seconds
        # The dump comes in many small pieces, the first of them late where the machine is busy.
        while self.is_alive() and time.monotonic() < end:
            self.receive(_SILENCE_SECONDS)
            if said == self._tail != before:
                return
            said = self._tail

    def kill(self) -> None:
        """Ends the process and what it has started, at once; what it said before can still be received."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        # A driver may hold a process that is dead already: then nobody waits for it any longer.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)

    def close(self) -> None:
        """Kills the process and lets go of its pipes."""
        self.kill()
        self._selector.close()
        for stream in (self._stdin, self._answers, self._stderr):
            stream.close()

    def how_it_died(self) -> str:
        """One line, after its death: which signal, or which exit code."""
        code = self._process.poll()
        if code is None:
            return "the process of the trial was killed and has not ended"
        if code >= 0:
            return f"the process of the trial exited with code {code}"
        number = signal.Signals(-code)
        return f"the process of the trial died of {number.name} ({signal.strsignal(number)})"

    def was_killed(self) -> bool:
        """Whether SIGKILL ended it, as the kernel does when memory runs out."""
        return self._process.poll() == -signal.SIGKILL

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            self._process.send_signal(number)

    def _pieces(self, descriptor: int) -> Iterator[bytes]:
        """What lies in a pipe; one that has ended is not looked at again."""
        for _ in range(_MAX_PIECES):
            try:
                piece = os.read(descriptor, _PIECE_BYTES)
            except BlockingIOError:
                return
            if not piece:
                self._selector.unregister(descriptor)
                return
            yield piece
