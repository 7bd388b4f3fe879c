"""The outbox: in order, once, late but not lost, whatever the peer and the process do."""

import asyncio
from pathlib import Path

import pytest

from daemon.dispatch import outbox as module
from daemon.ports import Again, Ended, Outcome, Result, State
from tests.dispatch.boxes import DONE, Peer, post, running
from tests.dispatch.support import turns, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.02)


async def test_in_order_and_on_record_before(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        for mark in "abc":
            box.put(post(mark))
        await until(lambda: box.depth == 0)
        assert peer.sent == ["a", "b", "c"]
        found = box.find("b")
        assert found is not None
        assert (found.state, found.answer) == (State.ENDED, {"ok": True})
        assert [p.mark for p in box.posts("run")] == ["a", "b", "c"]


async def test_the_same_mark_is_the_same_post(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        box.put(post("a"))
        await until(lambda: box.depth == 0)
        box.put(post("a"))
        await turns()
        assert peer.sent == ["a"]
    async with running(tmp_path, peer) as box:
        assert box.known("a")
        assert not box.known("b")


async def test_while_the_peer_is_silent_there_are_probes_only(tmp_path: Path) -> None:
    peer = Peer()
    peer.answer = lambda _: Again("Connection refused")
    peer.probes = ["Connection refused"] * 3
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        box.put(post("b"))
        await until(lambda: peer.probed == 3)
        assert peer.sent == ["a"]
        assert (box.up, box.why, box.depth) == (False, "Connection refused", 2)
        peer.answer = lambda _: DONE
        await until(lambda: box.depth == 0)
        assert peer.sent == ["a", "a", "b"]
        assert box.up is True


async def test_a_pause_that_the_peer_asks_for_is_kept_and_can_be_cut_short(tmp_path: Path) -> None:
    peer = Peer()
    peer.answer = lambda _: Again("slow down", 60.0)
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        await until(lambda: box.up is False)
        assert peer.probed == 0
        peer.answer = lambda _: DONE
        box.nudge()
        await until(lambda: box.depth == 0)


async def test_what_may_have_arrived_is_not_sent_again(tmp_path: Path) -> None:
    peer = Peer()
    peer.answer = lambda _: Ended(Outcome(Result.UNCERTAIN, "no answer"))
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        await until(lambda: box.depth == 0)
        found = box.find("a")
        assert found is not None
        assert found.outcome == Outcome(Result.UNCERTAIN, "no answer")
        await until(lambda: peer.probed == 1)
        peer.answer = lambda _: DONE
        box.put(post("b"))
        await until(lambda: box.depth == 0)
        assert peer.sent == ["a", "b"]


async def test_several_together_each_with_its_own_end(tmp_path: Path) -> None:
    peer = Peer()
    peer.batch = 3
    peer.answer = lambda p: Ended(Outcome(Result.FAILED, "no")) if p.mark == "b" else DONE
    async with running(tmp_path, peer) as box:
        for mark in "abcd":
            box.put(post(mark))
        await until(lambda: box.depth == 0)
        assert peer.calls == [["a", "b", "c"], ["d"]]
        results = [p.outcome.result for p in box.posts("run") if p.outcome]
        assert results == [Result.DONE, Result.FAILED, Result.DONE, Result.DONE]


@pytest.mark.parametrize("crash", [True, False])
async def test_under_way_when_the_process_ends(tmp_path: Path, *, crash: bool) -> None:
    peer = Peer()
    peer.gate = asyncio.Event()
    for name in ("trade", "stop"):
        async with running(tmp_path, peer, crash=crash) as box:
            box.put(post(name, name))
            await until(lambda name=name: name in peer.sent)  # type: ignore[misc]
    after = Peer()
    async with running(tmp_path, after) as box:
        await until(lambda: box.depth == 0)
        found = box.find("trade")
        assert found is not None
        assert found.outcome is not None
        assert found.outcome.result is Result.UNCERTAIN
        assert after.sent == ["stop"], "only what does no harm goes out again"


async def test_what_waits_is_taken_up_in_order(tmp_path: Path) -> None:
    peer = Peer()
    peer.answer = lambda _: Again("away", 60.0)
    async with running(tmp_path, peer, crash=True) as box:
        for mark in "abc":
            box.put(post(mark))
        await until(lambda: box.up is False)
    after = Peer()
    async with running(tmp_path, after) as box:
        box.put(post("d"))
        await until(lambda: box.depth == 0)
        assert after.sent == ["a", "b", "c", "d"]


async def test_posts_for_another_place_wait(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box.put(post("old", place="there"))
        box.put(post("new"))
        await until(lambda: peer.sent == ["new"])
        assert box.depth == 1
        assert await box.empty(5)
    there = Peer()
    there.place = "there"
    async with running(tmp_path, there) as box:
        await until(lambda: there.sent == ["old"])


async def test_nothing_goes_out_that_is_not_on_record(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        journal = box._journal
        journal._release(wait_s=0)
        box.put(post("a"))
        await turns(200)
        assert peer.sent == []
        journal.open()
        await until(lambda: peer.sent == ["a"])


async def test_too_many_are_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_LIMIT", 2)
    peer = Peer()
    peer.place = "nowhere"
    async with running(tmp_path, peer) as box:
        for mark in "abc":
            box.put(post(mark))
        found = box.find("c")
        assert found is not None
        assert found.outcome == Outcome(Result.REFUSED, "2 posts wait already")
        assert box.depth == 2
        box.put(post("end", group=""))
        assert box.depth == 3, "what ends a run always finds room"
        box._journal._release(wait_s=0)
        for number in range(10):
            box.put(post(f"more{number}"))
        assert len(box._journal._posts) == 4, "nothing piles up for a journal that cannot be written"
        box._journal.open()


async def test_a_doubt_of_somebody_else_stops_the_sending(tmp_path: Path) -> None:
    peer = Peer()
    peer.probes = ["away", "away"]
    async with running(tmp_path, peer) as box:
        await turns()
        box.doubt(Again("no answer to the metrics"))
        box.put(post("a"))
        await until(lambda: peer.probed >= 2)
        assert peer.sent == []
        await until(lambda: peer.sent == ["a"])


async def test_the_end_waits_for_a_peer_that_answers_and_not_for_one_that_does_not(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box.put(post("a"))
        assert await box.empty(5)
        peer.answer = lambda _: Again("away", 60.0)
        peer.probes = ["away"] * 9
        box.put(post("b"))
        assert not await box.empty(5)
        assert peer.probed < 9


async def test_what_the_peer_has_forgotten_goes_before_all_that_waits(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer, crash=True) as box:
        box.put(post("start", "stop"))
        await until(lambda: box.depth == 0)
        peer.answer = lambda _: Again("slow down", 60.0)
        box.put(post("a", "stop"))
        await until(lambda: box.up is False)
        start = box.find("start")
        assert start is not None
        box.send_again(start)
        box._journal.commit()
    peer.answer = lambda _: DONE
    async with running(tmp_path, peer) as box:
        await until(lambda: box.depth == 0)
        assert peer.sent == ["start", "a", "start", "a"]
        assert [found.sent for found in box.posts("run")] == [False, False], "an answer is in its place"


async def test_a_peer_that_is_asked_before_anything_is_sent(tmp_path: Path) -> None:
    peer = Peer()
    async with running(tmp_path, peer) as box:
        box.ask()
        await until(lambda: box.up)
        assert (peer.probed, peer.sent) == (1, [])
