"""The process that trials run in: loads everything once, then runs one trial after the other until its worker is gone.

Standard input and output carry messages (worker/messages.py); what anybody prints goes to standard error.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

import torch

from worker.energy.carbon import carbon_model
from worker.energy.devices import describe, pick_device, synchronize
from worker.energy.meter import EnergyMeter
from worker.energy.reading import NoSource
from worker.entry import as_failure, describe_task, inspect_task, run_trial
from worker.errors import ConfigurationError, StoppedError
from worker.messages import (
    Begun,
    Describe,
    Described,
    Done,
    Epoch,
    Inspect,
    Inspected,
    Message,
    Ready,
    Run,
    SoFar,
    Stop,
    encode,
    read,
)
from worker.schema import EnergyReport, EpochMetrics, Failure, SiteSpec
from worker.trial import make_meter

# Asks the kernel to prefer this process to its worker when memory runs out; anybody may raise their own.
_OOM_SCORE = "900"


def main() -> None:
    """Serves the worker that started this process until it closes the pipe or dies."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    faulthandler.register(signal.SIGUSR2)
    messages, answers = _take_pipes()
    Child(messages, answers).serve()


class Child:
    """Answers messages one after the other; a stop is heard at any time.

    Args:
        messages: from the worker; its end ends the process.
        answers: to the worker.
    """

    def __init__(self, messages: BinaryIO, answers: BinaryIO) -> None:
        self._messages, self._answers = messages, answers
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._stop = threading.Event()
        self._may_interrupt = False

    def serve(self) -> None:
        """Never returns: the process ends with its worker."""
        signal.signal(signal.SIGUSR1, self._interrupt)
        threading.Thread(target=self._listen, daemon=True).start()
        warm()
        self._send(Ready())
        while True:
            message = self._inbox.get()
            if isinstance(message, Run):
                self._run(message)
            elif isinstance(message, Inspect):
                self._send(_inspect(message))
            elif isinstance(message, Describe):
                self._send(_describe(message))

    def _listen(self) -> None:
        while (message := read(self._messages)) is not None:
            if isinstance(message, Stop):
                self._stop.set()
            else:
                # Here and not where the trial starts: a stop may follow on its heels.
                self._stop.clear()
                self._inbox.put(message)
        os._exit(0)

    def _run(self, message: Run) -> None:
        with suppress(ConfigurationError):  # that of a site, which the trial will come upon itself
            self._send(Begun(unmeasured=_unmeasured(message.spec.site)))
        self._may_interrupt = True
        try:
            result = run_trial(
                message.spec,
                on_interim=lambda interim: self._send(SoFar(interim=interim)),
                on_epoch=self._tell_epoch,
                should_stop=self._stop.is_set,
            )
        finally:
            self._may_interrupt = False
        self._send(Done(result=result))
        # While nobody waits: what the trial left behind must not be part of the next.
        gc.collect()
        if torch.cuda.is_initialized():
            with suppress(RuntimeError):  # after a CUDA assertion, when this process is about to be replaced
                torch.cuda.empty_cache()

    def _tell_epoch(self, metrics: EpochMetrics) -> None:
        self._send(Epoch(metrics=metrics))

    def _send(self, message: Message) -> None:
        before, self._may_interrupt = self._may_interrupt, False
        self._answers.write(encode(message))
        self._answers.flush()
        self._may_interrupt = before

    def _interrupt(self, _number: int, _frame: object) -> None:
        """The worker has waited long enough for `should_stop` to be asked: stops the trial wherever it is."""
        if self._may_interrupt and self._stop.is_set():
            self._may_interrupt = False
            raise StoppedError("stopped outside the training loop")


def warm() -> None:
    """Loads what the first trial would have to wait for."""
    # The first optimizer of a process imports for seconds.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    make_meter(pick_device())
    # What is there now stays: it need not be looked at after every trial.
    gc.collect()
    gc.freeze()


def _unmeasured(site: SiteSpec) -> EnergyReport:
    """A report without energy, but with all that a reader needs to know of the device and the site."""
    device = pick_device()
    meter = EnergyMeter(
        source=NoSource(),
        device=describe(device),
        synchronize=lambda: synchronize(device),
        carbon=carbon_model(site),
        site=site,
    )
    with meter:
        pass
    return meter.report()


def _inspect(message: Inspect) -> Inspected:
    try:
        facts = inspect_task(
            message.dataset,
            message.network,
            message.data_dir,
            download=message.download,
            weights_path=message.weights_path,
            site=message.site,
        )
    except ConfigurationError as error:
        return Inspected(failure=_refusal(error))
    return Inspected(facts=facts)


def _describe(message: Describe) -> Described:
    try:
        return Described(description=describe_task(message.name, site=message.site))
    except ConfigurationError as error:
        return Described(failure=_refusal(error))


def _refusal(error: ConfigurationError) -> Failure:
    """As a failure, in the very words of the error: it is raised again where it was asked."""
    return as_failure(error).model_copy(update={"message": str(error)})


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the worker; standard input is empty from now on, and standard output is standard error."""
    messages, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return messages, answers
