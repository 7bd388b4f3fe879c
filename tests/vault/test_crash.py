"""kill -9 at every step and at random, two writers at once, readers during a rotation: old or new, never neither."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import VaultError
from daemon.vault import new_key
from daemon.vault.disk import only_writer
from tests.house.code import ROOT
from tests.vault.support import NOW, Box

DIE = [sys.executable, "-m", "tests.vault.die"]


def die(box: Box, verb: str, what: str) -> list[str]:
    return [*DIE, str(box.state), str(box.config), verb, what]


def spawn(box: Box, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        die(box, "loop", name), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    """Ended with the test, whatever happens."""
    found: list[subprocess.Popen[str]] = []
    yield found
    for child in found:
        child.kill()
        child.wait(10)
        assert child.stdout
        child.stdout.close()


def forked(box: Box, verb: str, at: int) -> int:
    """The same as `die` in a fork, which is far quicker to start; its wait status."""
    child = os.fork()
    if child == 0:
        from tests.vault import die as module

        try:
            module.main(box.state, box.config, verb, str(at))
        except BaseException:  # a fork must never run on into pytest
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("verb", ["set", "rotate", "rekey"])
def test_killed_at_every_step(tmp_path: Path, verb: str) -> None:
    deaths, seen = 0, set()
    for at in range(1, 300):
        box = Box(tmp_path / str(at))
        box.open().set("a", "old", NOW)
        box.open().set("b", "kept", NOW)
        status = forked(box, verb, at)
        held = box.holds()
        seen.add(held["a"])
        assert held in ({"a": "old", "b": "kept"}, {"a": "new", "b": "kept"})
        assert box.open().verify().backup == "good" or verb == "rekey", (
            "a backup under the key before is all that may be"
        )
        # What the dead one left is in nobody's way.
        box.open().rekey(new_key(box.key_file), NOW)
        box.open().set("c", "more", NOW)
        assert box.holds() == held | {"c": "more"}
        assert box.open().verify().backup == "good"
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        deaths += 1
    else:
        pytest.fail("it never came to its end")
    assert deaths > 15
    assert seen == ({"old", "new"} if verb == "set" else {"old"})


def test_killed_at_random(box: Box, children: list[subprocess.Popen[str]]) -> None:
    dice = random.Random(4)
    known = 0
    for _ in range(int(os.environ.get("VAULT_KILLS", "12"))):
        child = spawn(box, "a")
        children.append(child)
        assert child.stdout
        said = [child.stdout.readline() for _ in range(dice.randint(1, 3))]  # it writes from here on
        threading.Timer(dice.uniform(0.0, 0.05), child.kill).start()
        said += child.stdout.readlines()
        assert child.wait(10) == -signal.SIGKILL
        numbers = [int(line) for line in said if line.endswith("\n")]
        held = int(box.holds()["a"])
        assert numbers[-1] <= held <= numbers[-1] + 1, "what was said to be set is set"
        known += len(numbers)
    assert known > 12
    assert box.open().verify().backup == "good"


def test_two_writers_at_once_lose_nothing(box: Box, children: list[subprocess.Popen[str]]) -> None:
    names = ["a", "b", "c"]
    children += [spawn(box, name) for name in names]
    for _ in range(25):
        for child in children:
            assert child.stdout
            assert child.stdout.readline()
    held = box.holds()
    assert sorted(held) == names
    assert all(int(value) >= 25 for value in held.values())


def test_a_thousand_reads_while_it_is_rotated_and_rekeyed(box: Box) -> None:
    """Readers take no lock, so that a stop that needs its peer's key never waits for somebody at a prompt."""
    vault = box.open()
    vault.set("a", "value", NOW)
    over, problems, reads = threading.Event(), [], [0]

    def read() -> None:
        try:
            while not over.is_set() or reads[0] < 1000:
                assert box.open().get("a") == "value"
                reads[0] += 1
        except (VaultError, AssertionError) as error:
            problems.append(str(error))

    readers = [threading.Thread(target=read, name=f"reader {number}") for number in range(3)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(60):
            box.open().rotate(NOW)
            if turn % 3 == 0:
                box.open().rekey(new_key(box.key_file), NOW)
    finally:
        over.set()
        for reader in readers:
            reader.join(50)
    assert problems == []
    assert reads[0] >= 1000


def test_a_writer_that_hangs_holds_nobody_up_for_ever(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from daemon.vault import disk

    monkeypatch.setattr(disk, "_TRIES", 3)
    with only_writer(box.state):
        started = time.monotonic()
        with pytest.raises(VaultError, match="another deskhand has been changing the vault"):
            box.open().set("a", "b", NOW)
        assert time.monotonic() - started < 5
        assert box.holds() == {}, "readers do not care"
    box.open().set("a", "b", NOW)
