from __future__ import annotations

import json

import httpx2
import pytest

from service.client.following import Following
from service.errors import NotFoundError, UnreachableError

URL = httpx2.URL("http://service/")


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def message(seq: int) -> httpx2.ServerSentEvent:
    document = {"seq": seq, "kind": "trial_added", "trial_id": None, "at": "2026-01-01T00:00:00Z", "payload": {}}
    return httpx2.ServerSentEvent(data=json.dumps(document), id=str(seq))


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, json={"detail": "said"}, request=httpx2.Request("GET", URL))


def test_each_event_is_taken_once_and_the_next_request_goes_on_behind_it() -> None:
    following = Following("s", 4, follow=True)
    taken = [following.take(message(seq)) for seq in (4, 5, 6, 5, 6, 7)]
    assert [event.seq for event in taken if event is not None] == [5, 6, 7]
    assert following.request["params"] == {"after": 7, "follow": True, "until_end": True}


def test_only_the_last_message_ends_it() -> None:
    following = Following("s", 0, follow=False)
    assert not following.is_over
    assert following.take(httpx2.ServerSentEvent(event="end", data='{"state":"COMPLETED"}')) is None
    assert following.is_over


def test_pauses_grow_and_are_short_again_once_something_has_come() -> None:
    following = Following("s", 0, follow=True, clock=Clock())
    assert following.check(response(200))
    assert [following.lost(URL) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    following.take(message(1))
    assert following.lost(URL) == 0.2


def test_a_service_that_was_never_there_is_given_up_at_once_and_another_after_a_minute() -> None:
    clock = Clock()
    never, once = (Following("s", 0, follow=True, clock=clock) for _ in range(2))
    with pytest.raises(UnreachableError, match="refused"):
        never.lost(URL, httpx2.ConnectError("refused"))
    assert once.check(response(200))
    clock.now = 60.0
    assert once.lost(URL) > 0
    clock.now = 60.1
    with pytest.raises(UnreachableError, match="the stream of events breaks off"):
        once.lost(URL)


def test_who_is_busy_is_asked_again_and_who_refuses_is_not() -> None:
    following = Following("s", 0, follow=True)
    assert not following.check(response(503)) and not following.check(response(429))
    with pytest.raises(NotFoundError, match="said"):
        following.check(response(404))


def test_what_is_no_event_is_another_service() -> None:
    with pytest.raises(UnreachableError, match="sends no events of this version"):
        Following("s", 0, follow=True).take(httpx2.ServerSentEvent(data="{}"))
