"""Every habit of a Command Center, and the value that it comes to."""

import asyncio
import time
from email.utils import formatdate

import pytest

from handlers.polymaker.client import LONGEST_PAUSE_S, PAUSE_S
from handlers.polymaker.replies import KeyRefused, Ok, Rejected, Throttled, Unavailable, Uncertain
from tests.fakes.center import KEY
from tests.fakes.center_habits import HABITS, Habit
from tests.handlers.polymaker.support import CALLS, POSTS, both

UNSURE = {"reset_before", "reset_after", "reset_midway", "garbage", "closed", "hang", "huge"}
"""Nobody can know what became of it."""
BARE = {"no_content", "empty", "null", "text", "html", "deep"}
"""A success without the answer that was asked for."""
STATUS = {
    "not_found": Rejected("HTTP 404: Not found", 404),
    "conflict": Rejected("HTTP 409: there is an open run", 409),
    "too_large": Rejected("HTTP 413", 413),
    "unauthorized": KeyRefused(401),
    "forbidden": KeyRefused(403),
    "broken": Unavailable("HTTP 500: Internal Server Error", 500),
    "broken_after": Unavailable("HTTP 500: Internal Server Error", 500),
    "broken_json": Unavailable("HTTP 500: database is locked", 500),
    "away": Unavailable("HTTP 503", 503),
    "busy": Throttled(7.0),
    "busy_bare": Throttled(PAUSE_S),
    "redirect": Unavailable("HTTP 302: it sends us to http://127.0.0.1:1, which is not followed", 302),
    "status:418": Rejected("HTTP 418: so be it", 418),
    "status:408": Unavailable("HTTP 408: so be it", 408),
    "status:425": Unavailable("HTTP 425: so be it", 425),
}


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("name", [*HABITS, *(name for name in STATUS if name not in HABITS)])
async def test_every_habit_at_every_call(path: str, name: str) -> None:
    async with both(timeout_s=0.3 if name == "hang" else 2.0) as (center, found):
        center.script(path, name)
        reply = await CALLS[path](found)
        if name in STATUS:
            assert reply == STATUS[name]
        elif name == "busy_date":
            assert isinstance(reply, Throttled)
            assert 55 < reply.after_s <= 60
        elif name in UNSURE:
            assert isinstance(reply, Uncertain if path in POSTS else Unavailable)
            assert reply.reason
        elif name in BARE and path == "/run/start":
            assert isinstance(reply, Rejected)
            status = 204 if name == "no_content" else 200
            assert reply == Rejected(f"it answered HTTP {status}, but named no run", status)
        else:
            assert isinstance(reply, Ok)
        assert len(center.asked(path)) == (name != "reset_before"), "sent once, and never again"
        assert center.opened == 1
        assert not center.violations
        assert isinstance(await CALLS[path](found), Ok), "and the next one is not the worse for it"


@pytest.mark.parametrize("path", ["/trade", "/trade/batch", "/run/stop", "/config"])
@pytest.mark.parametrize("name", sorted(BARE))
async def test_a_success_without_the_answer(path: str, name: str) -> None:
    async with both() as (center, found):
        center.script(path, name)
        assert await CALLS[path](found) == Ok((None, None) if path == "/trade/batch" else None)


@pytest.mark.parametrize("path", CALLS)
async def test_nobody_is_there(path: str) -> None:
    async with both() as (center, found):
        await center.stop()
        assert await CALLS[path](found) == Unavailable("Connection refused")
        await center.start()
        center.reset_connections = True
        reply = await CALLS[path](found)
        assert isinstance(reply, Uncertain if path in POSTS else Unavailable)
        assert not center.calls


async def test_time_is_bounded_from_the_first_to_the_last_byte() -> None:
    async with both(timeout_s=0.6) as (center, found):
        center.habits["*"] = "hang"
        began = time.monotonic()
        assert await CALLS["/trade"](found) == Uncertain("no answer within 0.6 s")
        assert await found.config() == Unavailable("no answer within 0.6 s")
        assert 1.15 < time.monotonic() - began < 5
        assert len(center.trades) == 2, "it was taken, and nobody said so"


async def test_a_call_that_is_cancelled_ends_at_once() -> None:
    async with both() as (center, found):
        center.habits["*"] = "hang"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await CALLS["/run/stop"](found)
        center.habits.clear()
        assert await CALLS["/status"](found) == Ok(None)


@pytest.mark.parametrize(
    ("told", "after_s"),
    [
        ("0", 1.0),
        ("7", 7.0),
        ("86400", LONGEST_PAUSE_S),
        ("9" * 400, LONGEST_PAUSE_S),
        ("-5", PAUSE_S),
        ("soon", PAUSE_S),
        ("", PAUSE_S),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE_S),
        ("Mon, 99 Foo 2026 00:00:00 GMT", PAUSE_S),
    ],
)
async def test_when_to_come_back(told: str, after_s: float) -> None:
    async with both() as (center, found):
        center.habits["*"] = Habit(429, b"", headers=(("Retry-After", told),), takes=False)
        assert await CALLS["/trade"](found) == Throttled(after_s)
        center.habits["*"] = Habit(503, b"", headers=(("Retry-After", told),), takes=False)
        wanted = None if after_s == PAUSE_S else after_s
        assert await CALLS["/trade"](found) == Unavailable("HTTP 503", 503, wanted)


async def test_a_date_is_read_by_the_clock_of_who_wrote_it() -> None:
    hour_ahead = time.time() + 3600
    headers = (("Date", formatdate(hour_ahead, usegmt=True)), ("Retry-After", formatdate(hour_ahead + 20, usegmt=True)))
    async with both() as (center, found):
        center.habits["*"] = Habit(429, b"", headers=headers, takes=False)
        assert await CALLS["/trade"](found) == Throttled(20.0)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b'{"error": "no\\r\\nsuch\\u001b[31m run"}', "application/json", "HTTP 400: no such?[31m run"),
        (b'{"message": "run is closed"}', "application/json", "HTTP 400: run is closed"),
        (b'{"detail": [1], "error": 5}', "application/json", "HTTP 400"),
        (b"x" * 5000, "text/plain", "HTTP 400: " + "x" * 160),
        (b"\xff\xfe", "text/plain", "HTTP 400: \ufffd\ufffd"),
        (b"<html>no</html>", "text/html", "HTTP 400"),
        (f'{{"error": "bad key {KEY}"}}'.encode(), "application/json", "HTTP 400: bad key ***"),
    ],
)
async def test_its_own_words_are_short_and_safe(body: bytes, kind: str, reason: str) -> None:
    async with both() as (center, found):
        center.habits["*"] = Habit(400, body, kind, takes=False)
        assert await CALLS["/trade"](found) == Rejected(reason, 400)


@pytest.mark.parametrize("told", [b"7.5", b'"x"', b"0", b"-3", b"true", b"null", b"[7]", b"9007199254740993", b"NaN"])
async def test_a_run_id_that_is_none(told: bytes) -> None:
    async with both() as (center, found):
        center.habits["*"] = Habit(200, b'{"runId": ' + told + b"}")
        assert isinstance(await CALLS["/run/start"](found), Rejected)
        center.habits["*"] = Habit(200, b'{"tradeId": ' + told + b', "tradeIds": [5, ' + told + b"]}")
        assert await CALLS["/trade"](found) == Ok(None)
        assert await CALLS["/trade/batch"](found) == Ok((5, None))


async def test_odd_answers_do_no_harm() -> None:
    async with both() as (center, found):
        center.script("/run/start", Habit(200, b'{"runId": "7"}'), Habit(200, b'{"run": 7}'), Habit(200, b"[]"))
        assert await CALLS["/run/start"](found) == Ok(7)
        for _ in range(2):
            assert isinstance(await CALLS["/run/start"](found), Rejected)
        for score in (b"NaN", b"1e99999999999", b'"x"', b"[1]", b"true"):
            center.script("/run/stop", Habit(200, b'{"analysis": {"overallScore": ' + score + b"}}"))
            assert await CALLS["/run/stop"](found) == Ok(None)
        center.script("/trade/batch", Habit(200, b'{"tradeIds": [1]}'))
        assert await CALLS["/trade/batch"](found) == Ok((None, None))
