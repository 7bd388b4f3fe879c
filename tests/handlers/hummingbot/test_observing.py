"""From a row of Hummingbot's to a state: the word `stopped` never decides."""

import pytest

from handlers.hummingbot.models import BotStatus, ControllerReport
from handlers.hummingbot.observing import Patience, find, judge, strangers
from handlers.hummingbot.registry import Bot, BotState

NOW = 1000.0
PATIENCE = Patience()
NAME = "mm-20261120-101500"
REPORT = {"mm": ControllerReport()}


def bot(state: str = "running", *, strategy: str = "spread", wanted: bool = True, **more: object) -> Bot:
    fields = {"instance": NAME, "deployed": 100.0, "listed": True} | more
    return Bot("mm", "mm", strategy, "c", "A-B", "a", wanted=wanted, state=BotState(state), **fields)  # type: ignore[arg-type]


def row(*, active: bool = True, reports: bool = True, source: str = "docker", status: str = "stopped") -> BotStatus:
    performance = REPORT if reports else {}
    return BotStatus(status=status, recently_active=active, source=source, performance=performance)


QUIET, HEARD, SILENT, GONE = row(reports=False), row(), row(active=False), row(source="mqtt")


@pytest.mark.parametrize(
    ("found", "seen", "quiet_s", "state"),
    [
        (bot(), HEARD, 0.0, "running"),
        (bot(), row(source=""), 0.0, "running"),  # an older server does not say
        (bot(strategy="custom"), QUIET, 500.0, "running"),  # healthy, and it shows `stopped`
        (bot(), QUIET, 19.0, "running"),
        (bot(), QUIET, 20.0, "failed"),
        (bot(), SILENT, 0.0, "silent"),
        (bot(), GONE, 0.0, "failed"),
        (bot(), None, 0.0, "failed"),
        (bot("deploying", listed=False, deployed=995.0), None, 0.0, "deploying"),
        (bot("deploying", listed=False, deployed=980.0), None, 0.0, "failed"),
        (bot("deploying", deployed=995.0), None, 0.0, "failed"),  # it was there, and is gone
        (bot("deploying", deployed=995.0), SILENT, 0.0, "deploying"),
        (bot("deploying", deployed=900.0), SILENT, 0.0, "silent"),
        (bot("deploying", instance="", deployed=995.0), None, 0.0, "deploying"),
        (bot("deploying", instance="", deployed=900.0), None, 0.0, "failed"),
        (bot(wanted=False), HEARD, 0.0, "running"),  # told to stop, and reports still
        (bot(wanted=False), QUIET, 1.0, "running"),
        (bot(wanted=False), QUIET, 5.0, "stopped"),
        (bot("stopped", wanted=False), QUIET, 0.0, "stopped"),
        (bot("stopped", wanted=False), HEARD, 0.0, "running"),  # somebody started it
        (bot(wanted=False, strategy="custom"), QUIET, 500.0, "running"),  # a script never says
        (bot(wanted=False), SILENT, 0.0, "silent"),  # it may not have heard
        (bot("stopped", wanted=False), SILENT, 0.0, "stopped"),
        (bot(wanted=False), None, 0.0, "stopped"),
        (bot("failed", wanted=False, instance=""), None, 0.0, "failed"),
    ],
)
def test_each_state_by_what_is_seen(found: Bot, seen: BotStatus | None, quiet_s: float, state: str) -> None:
    assert judge(found, seen, None, quiet_s, NOW, PATIENCE)[0] == state


@pytest.mark.parametrize("word", ["running", "stopped", "idle", "error", "anything"])
def test_the_word_of_the_server_decides_nothing(word: str) -> None:
    assert judge(bot(), row(status=word), None, 0.0, NOW, PATIENCE)[0] == "running"


@pytest.mark.parametrize(("beat", "state"), [(NOW - 29, "running"), (NOW - 31, "silent")])
def test_a_heartbeat_of_its_own_counts_for_30_s(beat: float, state: str) -> None:
    assert judge(bot(), SILENT, beat, 0.0, NOW, PATIENCE)[0] == state


def test_a_deploy_is_found_by_its_name_and_never_one_that_is_known() -> None:
    rows = {f"mm-20261120-10150{n}": HEARD for n in range(3)} | {"mm-2-20261120-101509": HEARD, "mm": HEARD}
    coming = bot("deploying", instance="", past=["mm-20261120-101500"])
    assert find(coming, rows, ["mm-20261120-101502"]) == "mm-20261120-101501"
    assert find(coming, {"mm-20261120-101505": GONE}) == ""


def test_who_is_a_stranger() -> None:
    ours = bot(past=["mm-20261119-101500", "mm-20261118-101500"])
    rows = {
        NAME: HEARD,
        "mm-20261119-101500": QUIET,  # stopped, and not archived yet
        "mm-20261118-101500": HEARD,  # an earlier one that trades on
        "other-20261118-101500": QUIET,
        "ghost": GONE,
    }
    assert {each.name: str(each.state) for each in strangers([ours], rows)} == {
        "mm-20261118-101500": "orphan",
        "other-20261118-101500": "orphan",
        "ghost": "phantom",
    }
    coming = bot("deploying", instance="")
    assert strangers([coming], {NAME: HEARD}) == []
