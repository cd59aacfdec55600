from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.messages import Decoder, Describe, Described, Epoch, Inspect, Message, Run, Stop, encode, read
from worker.schema import EpochMetrics, Recipe, TaskDescription, TaskObjective, TaskTrialSpec, TrialSpec

SPEC = TrialSpec(
    study_id="s", trial_id="t", dataset="digits", network="réseau", recipe=Recipe(), shift_depth=0, epochs=1
)
METRICS = EpochMetrics(study_id="s", trial_id="t", attempt=1, epoch=1, training_loss=0.5, seconds=1.0)
DESCRIPTION = TaskDescription(
    name="valley",
    space={"hyperparameters": []},
    objectives={"height": TaskObjective(direction="minimize", unit="m")},
    fidelity=None,
    device="CPU and memory",
)
MESSAGES: list[Message] = [
    Run(spec=SPEC),
    Run(spec=TaskTrialSpec(study_id="s", trial_id="t", task="valley", config={"rate": 0.5, "start": "low"})),
    Describe(name="valley"),
    Described(description=DESCRIPTION),
    Stop(),
    Epoch(metrics=METRICS),
    Inspect(dataset="digits", network="resnet8", data_dir=None, download=False),
]


@given(st.lists(st.sampled_from(MESSAGES)), st.integers(1, 50))
def test_messages_survive_a_pipe_in_pieces_of_any_size(sent: list[Message], size: int) -> None:
    raw = b"".join(map(encode, sent))
    decoder = Decoder()
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert [message for piece in pieces for message in decoder.feed(piece)] == sent


@given(st.lists(st.sampled_from(MESSAGES)))
def test_a_stream_gives_its_messages_and_then_none(sent: list[Message]) -> None:
    stream = io.BytesIO(b"".join(map(encode, sent)))
    assert [read(stream) for _ in sent] == sent
    assert read(stream) is None


@pytest.mark.parametrize("n_bytes", [1, 4, 20])
def test_a_stream_that_ends_within_a_message_has_ended(n_bytes: int) -> None:
    assert read(io.BytesIO(encode(Run(spec=SPEC))[:n_bytes])) is None


def test_a_frame_that_is_no_message_is_an_error() -> None:
    with pytest.raises(ValidationError):
        Decoder().feed(b"\0\0\0\2{}")
