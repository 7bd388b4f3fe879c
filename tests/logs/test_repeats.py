"""Lines that repeat are counted, and nothing that is an outcome is ever among them."""

import json
import math
import re
from types import SimpleNamespace
from typing import Any

from daemon.logs.repeats import BURST, FLOOD_S, SITES, WINDOW_S, Repeats
from tests.logs.support import lines

MOVING = """
class Moving:
    at = 0.0
    def boot(self): return self.at
    def now(self): return 1.0e9 + self.at
clock = Moving()
def warn(text='w', **fields): logger.warning('{}', text, **fields)
"""


def record(line: int = 1, path: str = "a.py", level: int = 30, **extra: object) -> Any:
    file = SimpleNamespace(name=path, path=path)
    return {"level": SimpleNamespace(no=level), "file": file, "line": line, "message": "m", "extra": extra}


def test_a_burst_passes_and_the_rest_is_told_with_the_next_line_of_any_kind() -> None:
    found = lines(
        MOVING + "setup(level='DEBUG', clock=clock)\n"
        "for n in range(100): warn(f'w{n}')\n"
        "logger.info('within')\n"
        "clock.at = 9.9; logger.info('still within')\n"
        "clock.at = 10; logger.debug('over')\n"
        "logger.info('quiet')"
    )
    texts = [line[24:] for line in found]
    assert texts[:BURST] == [f"WARNING  w{n}" for n in range(BURST)]
    assert texts[BURST:] == [
        "INFO     within",
        "INFO     still within",
        "WARNING  80 more like this in 10 s, the last: w99",
        "DEBUG    over",
        "INFO     quiet",
    ]


def test_what_was_held_back_is_told_at_the_end() -> None:
    found = lines(MOVING + "setup(clock=clock)\nfor n in range(50): warn()")
    assert len(found) == BURST + 1
    assert found[-1].endswith(f"WARNING  {50 - BURST} more like this in 0 s, the last: w")


def test_setting_up_again_tells_too_and_starts_afresh() -> None:
    found = lines(MOVING + "setup(clock=clock)\nfor n in range(21): warn()\nsetup(clock=clock)\nwarn('again')")
    assert [line[33:] for line in found[BURST:]] == ["1 more like this in 0 s, the last: w", "again"]


def test_a_flood_that_goes_on_is_two_lines_a_minute() -> None:
    code = "setup(clock=clock)\nfor n in range(3600 * 10): clock.at += 0.1; warn()"
    found = lines(MOVING + code)
    told = [int(n) for line in found for n in re.findall(r"(\d+) more like this", line)]
    assert sum(told) + len(found) - len(told) == 36_000, "each is written or counted"
    assert len(found) <= BURST + 2 * 61


def test_after_a_quiet_minute_a_burst_passes_again() -> None:
    repeats = Repeats(str)
    assert sum(repeats.passes(record(), 0.0) for _ in range(100)) == BURST
    assert repeats.due == WINDOW_S
    assert [r["message"] for r in repeats.told(WINDOW_S)] == [f"{100 - BURST} more like this in 10 s, the last: m"]
    assert repeats.due == math.inf
    later = WINDOW_S + FLOOD_S
    assert sum(repeats.passes(record(), later - 0.1) for _ in range(2)) == 1
    assert len(repeats.told(later)) == 1
    assert repeats.told(later + FLOOD_S) == []
    assert sum(repeats.passes(record(), later + FLOOD_S) for _ in range(100)) == BURST


def test_outcomes_crashes_and_what_is_no_warning_are_never_held_back() -> None:
    code = (
        "for n in range(100):\n"
        "    logger.error('o{}', n, event_id='e', handler='h'); logger.critical('c'); logger.info('i')"
    )
    assert len(lines(MOVING + f"setup(clock=clock)\n{code}")) == 300


def test_a_refusal_at_the_door_is_held_back_though_it_names_its_event() -> None:
    found = lines(MOVING + "setup(clock=clock)\nfor n in range(100): warn(event_id=f'e{n}')")
    assert len(found) == BURST + 1


def test_places_do_not_share_a_burst_but_for_libraries_lines_go_by_the_library() -> None:
    code = """
a, b = logging.getLogger('a'), logging.getLogger('b')
for n in range(100):
    a.warning('x')
    b.error('y')
"""
    found = lines(MOVING + f"setup(clock=clock)\n{code}\nwarn('other')")
    assert sum(line.endswith("a: x") for line in found[: 2 * BURST]) == BURST
    assert found[2 * BURST].endswith("other")
    assert {line[24:] for line in found[2 * BURST + 1 :]} == {
        "WARNING  80 more like this in 0 s, the last: a: x",
        "ERROR    80 more like this in 0 s, the last: b: y",
    }


def test_the_count_is_redacted_and_json_where_lines_are() -> None:
    code = "for n in range(21): warn('x' * 495 + CANARY + 'y' * 1000)"
    (*_, last) = lines(MOVING + f"setup(fmt='json', clock=clock)\n{code}")
    found = json.loads(last)
    assert found["level"] == "WARNING"
    assert found["message"] == f"1 more like this in 0 s, the last: {'x' * 495}[hidd", "cut after it was redacted"


def test_memory_is_bounded_whatever_the_places() -> None:
    repeats = Repeats(str)
    for number in range(10 * SITES):
        assert repeats.passes(record(number), 1.0) == (number < SITES + BURST)
    assert len(repeats._sites) == SITES + 1
    assert len(repeats.told(20.0)) == 1
    for number in range(SITES):
        assert repeats.passes(record(-number), 100.0), "what is over makes room"
    assert len(repeats._sites) <= SITES + 1


def test_no_frame_is_kept_alive() -> None:
    repeats = Repeats(str)
    for _ in range(BURST + 1):
        repeats.passes(record(1, big="x") | {"exception": ValueError("x")}, 0.0)
    (kept,) = repeats.told(100.0)
    assert (kept["exception"], kept["extra"]) == (None, {})
