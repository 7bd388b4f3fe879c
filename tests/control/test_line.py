"""The state in one line."""

from typing import Any

import pytest

from daemon.control.line import status_line

NOW = 1_800_000_000.0
CALM: dict[str, Any] = {
    "mode": "live",
    "halt": {"level": "none"},
    "peers": [{"name": "hotkeys:main", "up": True, "down_s": 0.0}],
    "journal": {"ok": True, "reason": ""},
    "reload": None,
    "last_event": None,
}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, "live · 1 peer up"),
        ({"mode": "practice", "peers": []}, "practice · 0 peers up"),
        (
            {
                "peers": [
                    *CALM["peers"],
                    {"name": "mqtt", "up": True, "down_s": 0.0},
                    {"name": "hotkeys:b", "up": False, "down_s": 12.4},
                ],
                "last_event": {"type": "sl", "symbol": "AAPL", "received": NOW - 4},
            },
            "live · 2 peers up, hotkeys:b down 12 s · last event sl AAPL 4 s ago",
        ),
        (
            {"peers": [{"name": "hotkeys:main", "up": False, "down_s": 0.0}]},
            "live · 0 peers up, hotkeys:main connecting",
        ),
        ({"halt": {"level": "entries"}}, "live · HALTED (entries) · 1 peer up"),
        (
            {"journal": {"ok": False, "reason": "disk full"}},
            "live · 1 peer up · the journal cannot be written: disk full",
        ),
        (
            {"reload": {"status": "refused", "problems": ["a.yaml:3: mode: must be practice, live", "more"]}},
            "live · 1 peer up · the last reload was refused: a.yaml:3: mode: must be practice, live",
        ),
        ({"reload": {"status": "reloaded", "problems": []}}, "live · 1 peer up"),
        (
            {"last_event": {"type": "entry", "symbol": "A", "received": NOW - 7200}},
            "live · 1 peer up · last event entry A 2 h ago",
        ),
        (
            {"last_event": {"type": "entry", "symbol": "A", "received": NOW + 1}},
            "live · 1 peer up · last event entry A 0 s ago",
        ),
    ],
)
def test_what_it_says(more: dict[str, Any], line: str) -> None:
    assert status_line(CALM | more, NOW) == line
