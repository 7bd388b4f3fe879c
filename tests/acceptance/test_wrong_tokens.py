"""10,000 wrong tokens against a daemon that runs: none gets in, they are slowed down, and nobody else notices."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.http.auth import HELD
from daemon.http.rates import LONGEST_S
from tests.acceptance.desk import ROOT, Desk

GUESSES = 10_000
CONNECTIONS = HELD + 8
"""More than are held back at a time, or all of them together would take minutes."""
QUIET = 200


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path, {}, mode="practice", hotkeys={"targets": {"main": "practice"}, "gap_ms": 0}) as desk:
        yield desk


class Trader:
    """Somebody with a right token, on one connection; every sl must press its key."""

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._client = http.client.HTTPConnection(
            "127.0.0.1", int(desk.status()["http"].rpartition(":")[2]), timeout=15
        )
        self._name = name
        self._count = 0

    def stop_out(self) -> tuple[float, float]:
        """One sl over HTTP; seconds from sending it to its key, and to the answer that it is safe on disk."""
        self._count += 1
        event = self._desk.make("sl", id=f"{self._name}-{self._count}")
        began = time.time()
        self._client.request(
            "POST", "/events?wait=5", json.dumps(event), {"Authorization": f"Bearer {self._desk.token}"}
        )
        answer = self._client.getresponse()
        told = json.loads(answer.read())
        took = time.time() - began
        assert answer.status == 202, told
        assert [each["result"] for each in told["deliveries"]] == ["done"], told
        return told["deliveries"][0]["first_byte"] - began, took

    def close(self) -> None:
        """Hang up."""
        self._client.close()


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def middle(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def test_ten_thousand_wrong_tokens(desk: Desk) -> None:
    assert desk.process is not None
    with closing(Trader(desk, "quiet")) as trader:
        quiet = [trader.stop_out() for _ in range(QUIET)]
    before_mb = resident_mb(desk.process.pid)
    port = desk.status()["http"].rpartition(":")[2]
    command = [sys.executable, "-m", "tests.acceptance.wrong_tokens", port, str(GUESSES), str(CONNECTIONS)]
    began = time.monotonic()
    loud, most_mb = [], before_mb
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as guesser:
        try:
            while "deskhand_auth_failures_total" not in _metrics(desk):
                assert guesser.poll() is None
            with closing(Trader(desk, "loud")) as trader:
                while guesser.poll() is None:
                    loud.append(trader.stop_out())
                    most_mb = max(most_mb, resident_mb(desk.process.pid))
            assert guesser.stdout is not None
            told = json.loads(guesser.stdout.read())
        finally:
            guesser.kill()
    took = time.monotonic() - began
    key, answer = (middle(each[n] for each in quiet) for n in (0, 1))
    loud_key, loud_answer = (middle(each[n] for each in loud) for n in (0, 1))
    figures = (
        f"{GUESSES} guesses in {took:.1f} s, {told}; {len(loud)} times sl, p50: key after {key * 1e3:.2f} ms quiet, "
        f"{loud_key * 1e3:.2f} ms under attack (worst {max(each[0] for each in loud) * 1e3:.1f} ms), answer after "
        f"{answer * 1e3:.1f} and {loud_answer * 1e3:.1f} ms; memory {before_mb:.1f} -> {most_mb:.1f} MB"
    )
    print(figures)
    codes = {int(code): count for code, count in told["codes"].items()}
    assert sum(codes.values()) == GUESSES
    assert set(codes) == {401, 429}, figures
    assert told["longest_s"] >= LONGEST_S, figures
    assert len(loud) >= 50, figures
    assert loud_key <= max(3 * key, 0.005), figures  # a busy machine schedules by the millisecond
    assert loud_answer <= 3 * answer, figures
    assert most_mb - before_mb < 12, figures
    assert f'deskhand_auth_failures_total{{reason="wrong"}} {float(GUESSES)}' in _metrics(desk)
    assert not [each for each in desk.events() if each["symbol"] == "EVIL"]
    assert desk.log().count("a wrong token was sent") < 100


def _metrics(desk: Desk) -> str:
    client = http.client.HTTPConnection("127.0.0.1", int(desk.status()["http"].rpartition(":")[2]), timeout=15)
    with closing(client):
        client.request("GET", "/metrics", headers={"Authorization": f"Bearer {desk.token}"})
        return client.getresponse().read().decode()
