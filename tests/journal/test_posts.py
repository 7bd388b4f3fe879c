"""Posts on record: found without writing, remembered as long as they are needed, listed run by run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.journal import Journal, Records
from daemon.journal.rows import SQL
from daemon.ports import Outcome, Post, Result, State
from tests.dispatch.support import NOW, SetClock

DAY = 86_400.0


@pytest.fixture
async def journal(tmp_path: Path) -> Any:
    found = Journal(tmp_path, SetClock())
    found.open()
    yield found
    found.close()


def post(run: str, name: str, mark: str = "", *, group: str = "", ended: float = 0.0, **more: Any) -> Post:
    given: dict[str, Any] = {"body": {}, "made": NOW} | more
    made = Post("polymaker", "here", run, group, name, mark or f"{run}:{name}", **given)
    if ended:
        made.state, made.outcome, made.ended_at = State.ENDED, Outcome(Result.DONE), ended
    return made


def marks(journal: Journal) -> list[str]:
    return [row["mark"] for row in journal._query("SELECT mark FROM posts ORDER BY seq")]


def put(journal: Journal, *posts: Post) -> None:
    for each in posts:
        journal.post(each)
    journal.commit()


async def test_looking_up_finds_what_is_gathered_and_writes_nothing(journal: Journal) -> None:
    first, second = post("r", "start"), post("r", "trade", group="t")
    put(journal, first)
    journal.post(second)
    assert journal.find_post(second.mark) is second
    first.state = State.STARTED
    journal.post(first)
    assert journal.find_post(first.mark) is first
    assert journal.find_post("none") is None
    assert journal.pending
    assert marks(journal) == [first.mark]


async def test_a_mark_is_written_once(journal: Journal) -> None:
    put(journal, post("r", "start"))
    put(journal, post("r", "start", body={"another": True}))
    found = journal.find_post("r:start")
    assert found is not None
    assert found.body == {}


async def test_old_runs_are_forgotten_and_the_last_one_is_not(journal: Journal) -> None:
    for run, at in (("a", NOW), ("b", NOW + DAY), ("c", NOW + 2 * DAY)):
        put(journal, post(run, "start", ended=at), post(run, "trade", group="t", ended=at), post(run, "stop", ended=at))
    journal.trim(NOW + 10 * DAY, 1 << 40)
    assert marks(journal) == ["c:start", "c:trade", "c:stop"]


async def test_a_run_whose_posts_wait_is_remembered_as_a_whole(journal: Journal) -> None:
    put(journal, post("a", "start", ended=NOW), post("a", "trade", group="t", ended=NOW), post("a", "stop"))
    put(journal, post("b", "start", ended=NOW), post("b", "stop", ended=NOW))
    put(journal, post("c", "start", ended=NOW))
    journal.trim(NOW + 10 * DAY, 1 << 40)
    assert marks(journal) == ["a:start", "a:trade", "a:stop", "c:start"]
    assert [p.mark for p in journal.waiting_posts("polymaker")] == ["a:stop"]


async def test_a_few_at_a_time(journal: Journal) -> None:
    put(journal, *(post("a", "trade", f"{n}", group="t", ended=NOW) for n in range(50)), post("b", "start"))
    journal.trim(NOW + DAY, 1 << 40, chunk=20)
    assert len(marks(journal)) == 31


async def test_the_latest_without_a_group_have_an_index(journal: Journal) -> None:
    put(journal, *(post("r", "start", f"{n}") for n in range(5)), post("r", "start", "in a group", group="t"))
    assert [p.mark for p in journal.posts_named("polymaker", "start", 3)] == ["4", "3", "2"]
    plan = journal._query(f"EXPLAIN QUERY PLAN {SQL['posts_named']}", ("polymaker", "start", 3))
    assert "posts_of_no_group" in " ".join(row["detail"] for row in plan)


async def test_runs_are_listed_with_what_became_of_them(journal: Journal) -> None:
    def trades() -> Iterator[Post]:
        for number, result in enumerate((Result.DONE, Result.DONE, Result.UNCERTAIN)):
            made = post("a", "trade", f"t{number}", group="t", ended=NOW)
            made.outcome = Outcome(result)
            yield made
        yield post("a", "trade", "t3", group="t")

    put(journal, post("a", "start", ended=NOW, answer={"runId": 7}), *trades())
    put(journal, post("a", "stop", body={"status": "completed"}), post("b", "start"))
    second, first = Records(journal.path).runs("polymaker", "start", ":stop")
    assert (second["run"], second["state"], second["end_state"], second["counts"]) == ("b", "planned", None, {})
    assert (first["answer"], first["end_body"], first["end_state"]) == (
        '{"runId": 7}', '{"status": "completed"}', "planned",
    )  # fmt: skip
    assert first["counts"] == {"trade": {"done": 2, "uncertain": 1, "waiting": 1}}
    assert len(Records(journal.path).runs("polymaker", "start", ":stop", limit=1)) == 1
