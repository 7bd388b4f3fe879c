"""What nobody caught goes the same way as every line: told, in one piece, and without a secret."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.logs.support import CANARY, HEAD, ROOT, run

RAISE = """
def fail():
    try:
        try: int(CANARY)
        except ValueError as error: raise KeyError(CANARY) from error
    except KeyError: raise RuntimeError('at the end ' + CANARY)
"""
TASK = """
import asyncio, gc, uvloop
async def fails(): fail()
async def main():
    asyncio.create_task(fails(), name='lost')
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
asyncio.Runner(loop_factory={loop}).run(main())
"""


def told(stderr: str) -> None:
    """The whole chain, every line ours, and nothing of the canary."""
    assert stderr.count("[hidden]") >= 3
    for part in ("ValueError", "KeyError", "RuntimeError: at the end", "During handling", "direct cause"):
        assert part in stderr
    assert "5f1e" not in stderr
    assert all(line.startswith(("20", "    ")) for line in stderr.splitlines()), stderr


def test_a_crash() -> None:
    result = run(f"setup()\n{RAISE}\nfail()")
    assert result.returncode == 1
    told(result.stderr)
    assert " CRITICAL " in result.stderr


def test_a_thread() -> None:
    result = run(f"setup()\n{RAISE}\nt = threading.Thread(target=fail); t.start(); t.join()")
    assert result.returncode == 0
    told(result.stderr)


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
def test_a_task_whose_error_nobody_asked_for(loop: str) -> None:
    result = run(f"setup()\n{RAISE}\n{TASK.format(loop=loop)}")
    assert result.returncode == 0
    told(result.stderr)
    assert " ERROR    asyncio: Task exception was never retrieved" in result.stderr


def test_an_error_where_nobody_can_catch_it() -> None:
    result = run(f"setup()\n{RAISE}\nclass Odd:\n    def __del__(self): fail()\nOdd()")
    assert result.returncode == 0
    told(result.stderr)


def test_groups_notes_and_causes() -> None:
    code = """
def fail():
    secret = CANARY
    try:
        try: int(secret)
        except ValueError as error: raise ExceptionGroup('one ' + secret, [error, KeyError({secret: secret})]) from None
    except ExceptionGroup as group:
        group.add_note('note ' + secret)
        raise ExceptionGroup('two ' + secret, [group, OSError(5, secret, secret)]) from group
setup()
fail()
"""
    result = run(code)
    assert result.returncode == 1
    groups = ("ExceptionGroup: two [hidden]", "ExceptionGroup: one [hidden]")
    for part in (*groups, "note [hidden]", "KeyError", "OSError"):
        assert part in result.stderr
    assert "5f1e" not in result.stderr
    assert all(line.startswith(("20", "    ")) for line in result.stderr.splitlines()), result.stderr


def test_no_variable_is_shown() -> None:
    code = "def fail(password): number = 0; return password / number\nsetup()\nfail(4711_4711)"
    result = run(code)
    assert "ZeroDivisionError" in result.stderr
    assert "47114711" not in result.stderr


def test_an_error_that_cannot_be_shown_raises_nothing() -> None:
    code = """
class Odd(Exception):
    def __str__(self): raise RuntimeError(CANARY)
    __repr__ = __str__
def odd():
    error = Odd()
    error.__cause__ = error
    raise error
setup()
try: odd()
except Odd: logger.exception('x')
logger.bind(a=Odd()).info('y')
logger.info('z')
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert "5f1e" not in result.stderr
    assert result.stderr.endswith(" INFO     z\n")
    assert "1 log lines were lost here: nobody took them\n" in result.stderr


def test_a_line_from_within_a_line_is_counted() -> None:
    code = """
class Odd:
    def __str__(self):
        logging.getLogger('gc').error(CANARY)
        return 'odd'
setup()
logger.bind(a=Odd()).info('x')
logger.info('y')
"""
    found = run(code)
    assert [line[24:] for line in found.stderr.splitlines() if line.startswith("20")] == [
        "INFO     x a=odd",
        "INFO     y",
    ]
    assert "1 log lines were lost here" in found.stderr
    assert "5f1e" not in found.stderr
    assert "Loguru" not in found.stderr


def on_a_terminal(code: str, **env: str) -> str:
    """What a terminal would show."""
    ours, theirs = pty.openpty()
    shown = b""
    try:
        try:
            subprocess.run(
                [sys.executable, "-c", HEAD + code],
                cwd=ROOT, stderr=theirs, timeout=30, check=True, stdin=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
            )  # fmt: skip
        finally:
            os.close(theirs)
        with suppress(OSError):  # how Linux tells the end of a terminal; the kernel hands over line by line
            while more := os.read(ours, 65536):
                shown += more
        return shown.decode()
    finally:
        os.close(ours)


def test_the_level_is_coloured_on_a_terminal_alone() -> None:
    code = f"setup()\nlogger.info('i'); logger.warning('w'); logger.error({CANARY!r})"
    info, warning, error = on_a_terminal(code).splitlines()
    assert info.endswith(" INFO     i")
    assert warning.endswith(" \x1b[33mWARNING  \x1b[0mw")
    assert error.endswith(" \x1b[31mERROR    \x1b[0m[hidden]")
    assert "\x1b" not in on_a_terminal(code, NO_COLOR="1")
    assert "\x1b" not in run(code).stderr
