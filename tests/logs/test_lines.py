"""Logs in child processes, where stderr can be anything: a pipe, journald's socket, a full disk, nothing."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.logs.support import CANARY, lines, run


def test_a_line_for_people() -> None:
    first, second = lines(
        "setup()\nlogger.debug('no')\nlogger.info('[Hotkey] Sent: {}', 'buy_ask')\nlogger.warning('x')"
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO     \[Hotkey\] Sent: buy_ask", first)
    assert second.endswith(" WARNING  x")


def test_fields_follow_the_text_but_for_those_it_names_anyway() -> None:
    call = "logger.bind(n='A\\nB').info('{} text', 'e1', event_id='e1', trade_id='t', symbol='S', handler='h')"
    assert lines(f"setup()\n{call}")[0].endswith("INFO     e1 text n=A\\nB")
    found = json.loads(lines(f"setup(fmt='json')\n{call}")[0])
    assert found | {"event_id": "e1", "trade_id": "t", "symbol": "S", "handler": "h", "n": "A\nB"} == found


def test_json_lines_are_one_object_each() -> None:
    first, second = lines(
        "setup(fmt='json')\nlogger.bind(n=1).info('a\\n\\x1b[31mb')\n"
        "try: 1/0\nexcept ZeroDivisionError: logger.exception('x')"
    )
    assert json.loads(first) | {"time": 0} == {"time": 0, "level": "INFO", "message": "a\n\x1b[31mb", "n": 1}
    assert "\x1b" not in first
    assert json.loads(second)["exception"].endswith("ZeroDivisionError: division by zero")


def test_nobody_outside_can_forge_a_line() -> None:
    text = "a\nb\r\x1b[2Jc\x85d\u2028e\u202ef\x00g\x7fh\ud800i"
    (line,) = lines(f"setup()\nlogger.info('{{}}', {text!r})")
    assert line.endswith(r"a\nb\r\x1b[2Jc\x85d\u2028e\u202ef\x00g\x7fh\ud800i")


def test_a_forged_line_in_an_exception_stays_in_its_place() -> None:
    code = (
        "setup()\n"
        "try: raise ValueError('x\\n2026-11-20 10:00:00.000 INFO     forged')\n"
        "except ValueError: logger.exception('real')"
    )
    found = lines(code)
    assert found[0].endswith("ERROR    real")
    assert all(line.startswith("    ") for line in found[1:])


@pytest.mark.parametrize("fmt", ["human", "json"])
def test_a_secret_is_hidden_wherever_it_stands(fmt: str) -> None:
    result = run(
        f"setup(fmt={fmt!r})\n"
        "logger.info('a {} b', CANARY)\n"
        "logger.bind(field=CANARY).info('x')\n"
        "logger.info(repr(CANARY))\n"
        "logging.getLogger('uvicorn.error').warning('u %s', CANARY)\n"
        "warnings.warn(CANARY)\n"
        "try: raise ValueError(CANARY)\n"
        "except ValueError: logger.exception('x')\n"
        "logs.hide('later-secret')\n"
        "logger.info('later-secret and short')\n"
        "t = threading.Thread(target=lambda: int(CANARY)); t.start(); t.join()\n"
        "raise RuntimeError(CANARY)"
    )
    assert result.returncode == 1
    for part in (CANARY, repr(CANARY)[1:-1], json.dumps(CANARY)[1:-1], "5f1e", "later-secret"):
        assert part not in result.stderr
    assert result.stderr.count("[hidden]") >= 8
    assert "short" in result.stderr  # too short to hide: it would tear other words apart


def test_json_stays_json_whatever_is_hidden() -> None:
    call = "logger.bind(number=12345678, flag=True, **{CANARY: 1}).info('a {} b', CANARY)"
    (line,) = lines(f"setup(fmt='json')\nlogs.hide('12345678')\n{call}")
    told = json.loads(line)
    assert told | {"message": "a [hidden] b", "number": "[hidden]", "flag": True, "[hidden]": 1} == told


def test_at_trace_libraries_are_heard_too_even_those_that_were_silenced() -> None:
    code = """
quiet = logging.getLogger('quiet')
quiet.setLevel(logging.CRITICAL + 1)
def say(what):
    quiet.debug('%s %s', what, CANARY)
    logging.getLogger('x').log(5, '%s deep', what)
    logger.trace('{} ours', what)
setup(level='TRACE'); say('heard')
setup(); say('unheard')
setup(level='TRACE'); say('again')
"""
    assert [line[24:] for line in lines(code)] == [
        f"{level:<9}{name}{what} {text}"
        for what in ("heard", "again")
        for level, name, text in (("DEBUG", "quiet: ", "[hidden]"), ("Level 5", "x: ", "deep"), ("TRACE", "", "ours"))
    ]


def test_libraries_are_heard_from_warning_up() -> None:
    found = lines(
        "setup()\nlogging.getLogger('x').info('no')\nlogging.getLogger('asyncio').error('e %d', 1)\n"
        "logging.getLogger('x').warning('%d {}', 'not a number')\nlogging.getLogger('x').warning('{} {a}')\n"
        "logging.getLogger('x').log(35, 'odd level')"
    )
    assert [line[24:] for line in found] == [
        "ERROR    asyncio: e 1",
        "WARNING  x: a log line that could not be put together",
        "WARNING  x: {} {a}",
        "Level 35 x: odd level",
    ]


def test_journald_gets_priorities_and_no_second_time_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    code = (
        "setup()\nlogger.info('i')\nlogger.error('e')\n"
        "try: 1/0\nexcept ZeroDivisionError: logger.critical('c'); logger.exception('x')"
    )
    with path.open("wb") as file:
        about = os.fstat(file.fileno())
        assert run(code, stderr=file.fileno(), env={"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}).returncode == 0
    found = path.read_text().splitlines()
    assert found[:4] == ["<6>i", "<3>e", "<2>c", "<3>x"]
    assert all(line.startswith("<3>    ") for line in found[4:])


def test_without_journald_there_are_no_priorities() -> None:
    (line,) = lines("setup()\nlogger.info('i')", env={"JOURNAL_STREAM": "1:1"})
    assert not line.startswith("<")


@pytest.mark.parametrize(
    "how",
    [
        "os.close(2)",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
        "r, w = os.pipe(); os.dup2(w, 2); os.close(w); os.close(r)",
    ],
)
def test_a_stderr_that_fails_raises_nothing(how: str) -> None:
    result = run(
        f"setup()\n{how}\nfor _ in range(3): logger.info('x'); logging.getLogger('y').error('z')\nprint('alive')"
    )
    assert (result.returncode, result.stdout) == (0, "alive\n")


def test_a_stderr_that_is_never_read_holds_nobody_up_and_the_gap_is_told() -> None:
    code = """
import fcntl
r, w = os.pipe()
os.dup2(w, 2)
setup()
for number in range(3000): logger.info('{}', 'x' * 90)
fcntl.fcntl(r, fcntl.F_SETFL, os.O_NONBLOCK)
while True:
    try: os.read(r, 65536)
    except BlockingIOError: break
logger.info('after')
print(os.read(r, 65536).decode())
"""
    started = time.monotonic()
    result = run(code)
    assert time.monotonic() - started < 20
    gap, after = result.stdout.splitlines()[:2]
    assert re.fullmatch(r"\d{4} log lines were lost here: nobody took them", gap)
    assert after.endswith("INFO     after")


def test_a_line_is_cheap() -> None:
    code = """
import time
setup()
def cost(call):
    best = 1.0
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(1000): call()
        best = min(best, time.perf_counter() - started)
    return best * 1000
print(cost(lambda: logger.info('[Hotkey] Sent: {}', 'buy_ask')), cost(lambda: logger.debug('no')))
"""
    written, suppressed = map(float, run(code, stderr=subprocess.DEVNULL).stdout.split())
    assert written < 100, f"{written} us a line; about 10 on an idle machine"
    assert suppressed < 10
