"""Under journald: what its native socket gets, read by a socket of the same kind, and what is left for stderr."""

import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.logs.out import Journal
from tests.logs.support import CANARY, run


class Receiver:
    """journald's end of the socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(str(self.path))

    def entries(self) -> list[dict[str, str]]:
        """Everything that has arrived, as fields."""
        found = []
        while True:
            try:
                found.append(fields(self.socket.recv(1 << 20)))
            except BlockingIOError:
                return found


def fields(entry: bytes) -> dict[str, str]:
    """As systemd.io/JOURNAL_NATIVE_PROTOCOL reads it."""
    found = {}
    while entry:
        head, _, rest = entry.partition(b"\n")
        name, given, value = head.partition(b"=")
        if given:
            entry = rest
        else:
            (length,) = struct.unpack("<Q", rest[:8])
            value, entry = rest[8 : 8 + length], rest[8 + length :]
            assert entry[:1] == b"\n", "the length is wrong"
            entry = entry[1:]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journald() -> Iterator[Receiver]:
    with tempfile.TemporaryDirectory(prefix="desk-") as folder:
        receiver = Receiver(Path(folder))
        yield receiver
        receiver.socket.close()


def under(tmp_path: Path, code: str, journal: Path, setup: str = "") -> list[str]:
    """Run it with a stderr that is journald's; the lines that came there."""
    path = tmp_path / "stderr"
    with path.open("wb") as file:
        about = os.fstat(file.fileno())
        env = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
        code = f"setup(journal={str(journal)!r}{setup})\n{code}"
        result = run(code, stderr=file.fileno(), env=env)
    assert result.returncode == 0, path.read_text()
    return path.read_text().splitlines()


def test_an_entry_carries_its_trade(tmp_path: Path, journald: Receiver) -> None:
    code = (
        "logger.info('[Hotkey] Sent: {}', 'buy_ask', event_id='e1', trade_id='m-1', symbol='AAPL', handler='hotkeys')\n"
        "logger.error('x', other=5, symbol='A\\nTRADE_ID=forged')\nlogger.debug('no')"
    )
    assert under(tmp_path, code, journald.path) == []
    first, second = journald.entries()
    assert (first.pop("CODE_LINE").isdecimal(), first.pop("CODE_FILE")) == (True, "<string>")
    assert first == {
        "MESSAGE": "[Hotkey] Sent: buy_ask",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "deskhand",
        "LOGGER": "__main__",
        "CODE_FUNC": "<module>",
        "EVENT_ID": "e1",
        "TRADE_ID": "m-1",
        "SYMBOL": "AAPL",
        "HANDLER": "hotkeys",
    }
    assert (second["MESSAGE"], second["PRIORITY"]) == ("x other=5", "3")
    assert second["SYMBOL"] == "A\\nTRADE_ID=forged"
    assert "TRADE_ID" not in second


def test_a_traceback_is_one_entry(tmp_path: Path, journald: Receiver) -> None:
    under(
        tmp_path, "try: 1/0\nexcept ZeroDivisionError: logger.critical('c'); logger.exception('b{}', 1)", journald.path
    )
    first, second = journald.entries()
    assert (first["MESSAGE"], first["PRIORITY"]) == ("c", "2")
    lines = second["MESSAGE"].splitlines()
    assert (lines[0], lines[-1]) == ("b1", "    ZeroDivisionError: division by zero")
    assert (second["PRIORITY"], second["CODE_FUNC"]) == ("3", "<module>")


def test_what_a_library_logs_names_the_place_in_the_library(tmp_path: Path, journald: Receiver) -> None:
    under(tmp_path, "def cry(): logging.getLogger('uvicorn.error').warning('w %d', 1)\ncry()", journald.path)
    (entry,) = journald.entries()
    assert (entry["MESSAGE"], entry["LOGGER"], entry["CODE_FUNC"]) == ("uvicorn.error: w 1", "uvicorn.error", "cry")


def test_a_secret_is_hidden_in_every_field(tmp_path: Path, journald: Receiver) -> None:
    code = (
        "logs.hide('line-one-of-it\\nline-two-of-it')\n"
        "logger.info(CANARY, event_id=CANARY, trade_id=CANARY, symbol=CANARY, handler=CANARY, other=CANARY)\n"
        "try: raise ValueError(CANARY) from KeyError('line-one-of-it\\nline-two-of-it')\n"
        "except ValueError: logger.exception('x', event_id=f'a {CANARY}')\n"
        "exec(compile('def f(): logger.info(1)\\nf(); logs.hide(\"def-later\"); f()', CANARY + ' def-later', 'exec'))"
    )
    assert under(tmp_path, code, journald.path) == []
    entries = journald.entries()
    told = repr(entries)
    for part in ("5f1e", "line-one", "line-two", repr(CANARY)[1:-1]):
        assert part not in told
    assert all(entries[0][name] == "[hidden]" for name in ("EVENT_ID", "TRADE_ID", "SYMBOL", "HANDLER"))
    assert entries[0]["MESSAGE"] == "[hidden] other=[hidden]"
    assert entries[1]["EVENT_ID"] == "a [hidden]"
    assert [entry["CODE_FILE"] for entry in entries[2:]] == ["[hidden] def-later", "[hidden] [hidden]"]


def test_json_was_asked_for_by_name_and_stays_on_stderr(tmp_path: Path, journald: Receiver) -> None:
    (line,) = under(tmp_path, "logger.info('x', trade_id='m-1')", journald.path, ", fmt='json'")
    assert line.startswith('<6>{"time": ')
    assert '"trade_id": "m-1"' in line
    assert journald.entries() == []


def test_without_its_socket_lines_go_to_stderr_with_priorities(tmp_path: Path) -> None:
    code = (
        "logger.info('i', trade_id='m-1'); logger.error('e')\n"
        "try: 1/0\nexcept ZeroDivisionError: logger.critical('c'); logger.exception('x')"
    )
    found = under(tmp_path, code, tmp_path / "nowhere")
    assert found[:4] == ["<6>i", "<3>e", "<2>c", "<3>x"]
    assert len(found) > 5
    assert all(line.startswith("<3>    ") for line in found[4:])


def test_what_is_too_large_for_a_datagram_goes_to_stderr(tmp_path: Path, journald: Receiver) -> None:
    (line,) = under(tmp_path, "logger.info('x' * 1_000_000); logger.info('small')", journald.path)
    assert line == "<6>" + "x" * 1_000_000
    assert [entry["MESSAGE"] for entry in journald.entries()] == ["small"]


def test_a_journald_that_does_not_read_holds_nobody_up_and_no_line_is_lost(tmp_path: Path, journald: Receiver) -> None:
    code = (
        "import time\nstarted = time.monotonic()\nfor n in range(5000): logger.info('n{}', n)\n"
        "assert time.monotonic() - started < 10"
    )
    rest = under(tmp_path, code, journald.path)
    taken = [entry["MESSAGE"] for entry in journald.entries()]
    assert taken
    assert rest
    assert taken + [line.removeprefix("<6>") for line in rest] == [f"n{n}" for n in range(5000)]


def test_when_neither_takes_a_line_it_is_counted(tmp_path: Path) -> None:
    code = """
full = os.open('/dev/full', os.O_WRONLY)
good = os.dup(2)
os.dup2(full, 2)
for _ in range(3): logger.info('gone')
os.dup2(good, 2)
logger.info('after')
"""
    assert under(tmp_path, code, tmp_path / "nowhere") == [
        "<4>3 log lines were lost here: nobody took them",
        "<6>after",
    ]


def test_a_journald_that_comes_back_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    journal = Journal(str(path))
    try:
        assert not journal.send(b"MESSAGE=1\n")
        for _ in range(2):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
                receiver.bind(str(path))
                assert journal.send(b"MESSAGE=2\n")
                assert receiver.recv(100) == b"MESSAGE=2\n"
            path.unlink()
            assert not journal.send(b"MESSAGE=3\n")
    finally:
        journal.close()


def test_a_stream_that_is_not_ours_is_not_journald(journald: Receiver) -> None:
    result = run(f"setup(journal={str(journald.path)!r})\nlogger.info('i')", env={"JOURNAL_STREAM": "1:1"})
    assert result.stderr.endswith("INFO     i\n")
    assert journald.entries() == []


def test_an_entry_is_cheap(tmp_path: Path, journald: Receiver) -> None:
    code = """
import time
def cost():
    started = time.perf_counter()
    for _ in range(1000):
        logger.info('[Hotkey] Sent: {}', 'buy_ask', event_id='e', trade_id='t', symbol='S', handler='hotkeys')
    return (time.perf_counter() - started) * 1e3
best = min(cost() for _ in range(5))
assert best < 100, f'{best} us an entry; about 15 on an idle machine, though all but the first few go both ways'
"""
    assert under(tmp_path, code, journald.path)
