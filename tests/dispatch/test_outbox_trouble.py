"""The outbox when the peer will not, the journal cannot, or another configuration takes over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daemon.dispatch import outbox as module
from daemon.dispatch.outbox import Outbox
from daemon.errors import JournalError
from daemon.ports import Again, Held, Outcome, Post, Result, Verdict
from tests.dispatch.boxes import DONE, Peer, post, running
from tests.dispatch.support import NOW, SetClock, turns, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.02)


async def test_broken_off_is_uncertain_and_not_sent_by_the_next_one(tmp_path: Path) -> None:
    peer, after = Peer(), Peer()
    peer.gate = asyncio.Event()
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        box.put(post("b"))
        await until(lambda: peer.sent == ["a"])
        async with another_task(box, after):
            await until(lambda: box.depth == 0)
            assert after.sent == ["b"]
            found = box.find("a")
            assert found is not None
            assert found.outcome == Outcome(Result.UNCERTAIN, "under way when it was broken off")


@asynccontextmanager
async def another_task(box: Outbox, peer: Peer) -> AsyncIterator[None]:
    """As a reload does it."""
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "outbox")
    task.cancel()
    await asyncio.wait([task])
    box.adopt(peer)  # type: ignore[arg-type]
    task = asyncio.create_task(box.run(), name="outbox again")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_held_waits_and_the_peer_is_well(tmp_path: Path) -> None:
    peer = Peer()
    peer.answer = lambda _: Held("there is no run", 60.0)
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        box.put(post("b"))
        await until(lambda: box.held)
        assert (box.up, box.held, box.depth) == (True, "there is no run", 2)
        assert await box.empty(5) is False, "it asks once more, and takes no for an answer"
        assert peer.sent == ["a", "a"]
        assert peer.probed == 0
        peer.answer = lambda _: DONE
        box.nudge()
        await until(lambda: box.depth == 0)
        assert box.held == ""


async def test_held_for_no_time_goes_out_at_once(tmp_path: Path) -> None:
    peer = Peer()
    peer.batch = 2
    answers: list[Verdict] = [Held("one by one", 0.0)] * 2
    peer.answer = lambda _: answers.pop() if answers else DONE
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        box.put(post("b"))
        await until(lambda: box.depth == 0)
        assert peer.calls == [["a", "b"], ["a", "b"]]


async def test_one_that_answers_probes_alone_is_asked_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "delays", lambda *_: iter([0.0, 0.0, 0.0, 60.0]))
    peer = Peer()
    peer.answer = lambda _: Again("HTTP 503")
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        await until(lambda: len(peer.calls) == 4 and peer.probed == 3)
        await turns(50)
        assert len(peer.calls) == 4, "the fourth pause is a long one"


async def test_the_journal_is_no_peer(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box._journal._release(wait_s=0)
        box.put(post("a"))
        await turns(200)
        assert (peer.sent, peer.probed, box.up) == ([], 0, None)
        box._journal.open()
        await until(lambda: peer.sent == ["a"])


async def test_a_journal_that_breaks_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_JOURNAL_S", 0.01)
    peer = Peer()
    answers: list[Exception] = [JournalError("disk full")]

    def answer(_: Post) -> Verdict:
        if answers:
            raise answers.pop()
        return DONE

    peer.answer = answer
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        await until(lambda: box.depth == 0)
        assert peer.sent == ["a", "a"]
        assert peer.probed == 0


async def test_while_the_disk_takes_its_time_nothing_is_sent_and_nothing_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, after = Peer(), Peer()
    async with running(tmp_path, peer) as box:
        asked: list[object] = []
        monkeypatch.setattr(box._journal, "after_sync", asked.append)
        box.put(post("stop", "stop"))
        await until(lambda: peer.sent == ["stop"])
        assert not asked, "what may be sent twice waits for no disk"
        box.put(post("a"))
        await until(lambda: len(asked) == 1)
        assert peer.sent == ["stop"]
        monkeypatch.undo()
        async with another_task(box, after):
            await until(lambda: after.sent == ["a"])
            assert box.find("a").outcome.result is Result.DONE  # type: ignore[union-attr]


async def test_a_disk_that_fails_lets_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_JOURNAL_S", 0.01)
    peer = Peer()
    async with running(tmp_path, peer) as box:
        errors = [JournalError("I/O error"), JournalError("I/O error")]
        monkeypatch.setattr(box._journal, "after_sync", lambda done: done(errors.pop() if errors else None))
        box.put(post("a"))
        await until(lambda: box.depth == 0)
        assert (peer.sent, peer.probed, errors) == (["a"], 0, [])


async def test_a_place_that_is_gone_is_waited_for_a_week(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box.put(post("old", place="there"))
        box.put(post("young", place="there", made=NOW + 6 * 86_400))
        box.put(post("a"))
        await until(lambda: peer.sent == ["a"])
        assert box.depth == 2
        clock = box._clock
        assert isinstance(clock, SetClock)
        clock.advance(module.KEEP_S + 1)
        box.put(post("b", made=clock.now()))
        assert box.depth == 2
        found = box.find("old")
        assert found is not None
        assert found.outcome is not None
        assert found.outcome.result is Result.EXPIRED


async def test_what_was_said_is_on_record_before_more_is_said(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        await until(lambda: peer.told == ["a"])
        peer.answer = lambda _: Again("away", 60.0)
        box.put(post("b"))
        await until(lambda: box.up is False)
        assert peer.told == ["a"]


async def test_a_mark_is_known_while_the_journal_is_gone(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        await until(lambda: box.depth == 0)
        box._journal._release(wait_s=0)
        assert box.known("a")
        assert not box.known("b")
        box._journal.open()


async def test_looking_for_a_mark_writes_nothing(tmp_path: Path) -> None:
    peer = Peer()
    peer.place = "elsewhere"
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        assert not box.known("b")
        assert box.find("a") is not None
        assert box._journal.pending, "a trade and the end of its delivery go into one transaction"


async def test_a_peer_that_asked_for_quiet(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        await turns()
        box.doubt(Again("asked too often", 60.0))
        await until(lambda: box.quiet)
        box.nudge()
        await until(lambda: box.up is True)
        assert not box.quiet
