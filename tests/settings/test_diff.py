"""The difference between two configurations, as it is logged and shown."""

import pytest

from daemon.settings import load
from daemon.settings.diff import NEEDS_RESTART, changes
from daemon.settings.layers import locate

HOME = {"HOME": "/nowhere"}
SECRET = "canary-7c1d-canary"


def words(*overrides: str, **environ: str) -> list[str]:
    """What changes from the defaults to these."""
    return [change.words for change in changes(load(None, None, (), HOME), load(None, None, overrides, HOME | environ))]


def test_nothing_differs_from_itself() -> None:
    assert words() == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("hotkeys.gap_ms=7", "hotkeys.gap_ms: 100 -> 7"),
        ("mqtt.host=broker", 'mqtt.host: (none) -> "broker"'),
        ("hotkeys.sequences.sl=[a, b]", 'hotkeys.sequences.sl: (none) -> ["a", "b"]'),
        ("events.max_age_s.sl=60", "events.max_age_s.sl: 300.0 -> 60.0"),
        ("schedules.clock=null", "schedules.clock: 60.0 -> (none)"),
        ("routes=[{when: {symbol: A}, do: []}]", 'routes: [] -> [{"when": {"symbol": ["A"]}, "do": []}]'),
    ],
)
def test_each_key_with_both_values(override: str, expected: str) -> None:
    assert words(override) == [expected]


def test_a_route_that_changed_is_named_by_its_number() -> None:
    route = "{when: {symbol: A}, do: []}"
    before = load(None, None, [f"routes=[{route}, {route}]"], HOME)
    after = load(None, None, [f"routes=[{route}, {{when: {{symbol: B}}, do: []}}]"], HOME)
    assert [change.words for change in changes(before, after)] == ['routes.1.when.symbol: ["A"] -> ["B"]']


def test_a_secret_is_never_shown() -> None:
    assert words(DESKHAND_HTTP_TOKEN=SECRET + SECRET) == ["http.token: set"]
    both = [load(None, None, (), HOME | {"DESKHAND_HTTP_TOKEN": SECRET + end}) for end in ("one", "two")]
    (change,) = changes(*both)
    assert change.words == "http.token: changed"
    assert SECRET not in repr(change)
    assert [c.words for c in changes(both[0], load(None, None, (), HOME))] == ["http.token: removed"]


def test_a_long_value_is_cut() -> None:
    many = ", ".join(f"key{number}" for number in range(30))
    (line,) = words(f"hotkeys.repeatable=[{many}]")
    assert line.endswith("...")
    assert len(line) < 250


@pytest.mark.parametrize("path", NEEDS_RESTART)
def test_what_needs_a_restart_exists(path: tuple[str, ...]) -> None:
    assert locate(path) is not None
