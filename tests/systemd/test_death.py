"""The daemon is killed, frozen, told to stop in the middle of something, or started with nonsense; systemd looks on."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.desk import Json, until
from tests.systemd.service import PYTHON, UNIT, Center, Keys, Posts, Service, accounts

FREEZE = signal.SIGRTMIN + 9
FREEZER = f"""\
import signal, time
def the_loop_hangs_here(number, frame):
    while True:
        time.sleep(1)
signal.signal({FREEZE}, the_loop_hangs_here)
"""
"""Imported by the environment's Python itself at its start, before the daemon and without its help."""


def test_kill_9_under_load(service: Service, keys: Keys, live: Json) -> None:
    service.configure(**live | {"hotkeys": live["hotkeys"] | {"gap_ms": 10}})  # three quarters of the time a key waits
    service.restart()
    chance = random.Random(3)
    kills, before = 6, len(keys.presses)
    away = []
    with Posts(service, rate=50) as stream:
        for _ in range(kills):
            time.sleep(chance.uniform(0.2, 0.8))  # not waiting for anything: the kill comes at any moment
            at = time.monotonic()
            service.kill_9()
            away.append(time.monotonic() - at)
    ends = accounts(service, keys, stream, before)
    print(f"{kills} kills, away {min(away):.2f}-{max(away):.2f} s, {len(stream.again)} sent again, {dict(ends)}")
    assert service.restarts == kills
    assert set(stream.answers) == set(stream.sent)
    assert ends["uncertain"] <= 2 * kills  # one lane: what was under way, and what was just recorded as begun
    assert ends["done"] + ends["uncertain"] == len(stream.sent)
    assert max(away) < 9


def test_a_frozen_loop_is_shot_and_its_stack_is_in_the_journal(service: Service, keys: Keys) -> None:
    machine = service.machine
    packages = machine.run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").out.strip()
    machine.put(f"{packages}/freezer.py", FREEZER)
    machine.put(f"{packages}/freezer.pth", "import freezer\n")
    drop_in = f"/etc/systemd/system/{UNIT}.d/watchdog.conf"
    machine.put(drop_in, "[Service]\nWatchdogSec=4\n")
    machine.run("systemctl", "daemon-reload")
    try:
        service.restart()
        pid, mark = service.pid, service.cursor()
        time.sleep(5)  # longer than the limit: a loop that turns is left alone
        assert service.pid == pid
        service.kill(FREEZE)
        frozen = time.monotonic()
        until(lambda: service.restarts == 1 and service.is_ready(), what="the frozen daemon was not restarted")
        assert time.monotonic() - frozen > 1
        told = service.journal(mark)
        assert "Watchdog timeout" in told
        assert "the_loop_hangs_here" in told, told
        assert "uvloop" in told or "asyncio" in told, told
        service.done("entry", trade_id="thawed")
        assert keys.frames[-1].startswith("buy_ask ")
    finally:
        machine.run("rm", drop_in, f"{packages}/freezer.py", f"{packages}/freezer.pth")
        machine.run("systemctl", "daemon-reload")


STOPPED = {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1"}


def test_stop_is_bounded_while_the_center_hangs_and_the_next_start_tells_it(service: Service, live: Json) -> None:
    center, secrets = Center(service.machine), "/etc/deskhand/.env"
    service.machine.put(
        secrets, f"POLYMAKER_API_KEY={center.environ['POLYMAKER_API_KEY']}\n", 0o600, "deskhand:deskhand"
    )
    try:
        center.start()
        service.configure(**live | {"polymaker": center.config | {"bankroll": 500}})
        service.restart()
        until(lambda: service.status()["polymaker"]["run"], what="no run was opened")
        center.steer("habits", **{"*": "away:60"})  # a call is read, hangs, and never takes effect
        start = time.monotonic()
        service.systemctl("stop")
        assert time.monotonic() - start < 15
        assert service.state(*STOPPED) == STOPPED
        books = center.books
        assert [run["status"] for run in books["runs"]] == ["open"]
        assert "/run/stop" in {path for _, _, path, _ in books["calls"]}, "it was not even tried"
        center.steer("habits")
        service.start()
        until(lambda: len(center.books["runs"]) > 1, what="no second run was opened")
        assert [run["status"] for run in center.books["runs"]] == ["completed", "open"]
    finally:
        service.systemctl("stop", check=False)
        center.kill()
        service.machine.run("rm", secrets)


def test_systemd_gives_a_stop_the_time_that_the_configuration_gives_it(
    service: Service, keys: Keys, live: Json
) -> None:
    drop_in = f"/etc/systemd/system/{UNIT}.d/hasty.conf"
    service.machine.put(drop_in, "[Service]\nTimeoutStopSec=2\n")
    service.machine.run("systemctl", "daemon-reload")
    try:
        slow = live["hotkeys"] | {"gap_ms": 1500, "sequences": {"entry": ["a", "b", "c"]}, "frame": "{action}"}
        service.configure(**live | {"hotkeys": slow})
        service.restart()
        before = len(keys.frames)
        service.post("entry", trade_id="long")
        until(lambda: len(keys.frames) > before, what="no key was pressed")
        service.systemctl("stop")
        assert service.state(*STOPPED) == STOPPED
        assert keys.frames[before:] == ["a", "b", "c"]
    finally:
        service.machine.run("rm", drop_in)
        service.machine.run("systemctl", "daemon-reload")


@pytest.mark.parametrize("peer", ["frozen", "mute"])
def test_stop_is_bounded_while_a_peer_hangs(service: Service, live: Json, peer: str) -> None:
    hanging = Keys(service.machine, peer, 8770)
    hanging.start(*(["--slow-handshake=-1"] if peer == "mute" else []))
    try:
        if peer == "frozen":
            hanging.signal(signal.SIGSTOP)
        targets = live["hotkeys"]["targets"] | {"hanging": hanging.url}
        route = {"when": {"symbol": "HANG"}, "do": [{"hotkeys": "hanging"}]}
        service.configure(**live | {"hotkeys": live["hotkeys"] | {"targets": targets}, "routes": [route]})
        service.restart()
        for number in range(20):
            code, answer = service.post(("entry", "sl")[number % 2], symbol="HANG", trade_id=f"hang-{number}")
            assert code == 202, answer
        start = time.monotonic()
        service.systemctl("stop")
        assert time.monotonic() - start < 15
        assert service.state(*STOPPED) == STOPPED
    finally:
        hanging.signal(signal.SIGCONT)
        hanging.kill()


def test_sighup_before_it_is_ready_is_held_and_kills_nothing(service: Service) -> None:
    def holding() -> list[int]:
        """The daemon's process, once it is Python and holds the signal back (bit 0 of the mask)."""
        found = []
        for process in service.machine.processes(UNIT):
            with contextlib.suppress(OSError):
                about = Path(f"/proc/{process}/status").read_text()
                blocked = int(about.partition("SigBlk:\t")[2].split()[0], 16)
                if b"daemon" in Path(f"/proc/{process}/cmdline").read_bytes() and blocked & 1:
                    found.append(process)
        return found

    def stopped_there() -> int:
        """Start it, and stop it where it holds the signal back; 0 if nobody looked at that moment."""
        service.systemctl("stop")
        service.systemctl("start", "--no-block")
        until(lambda: holding() or service.is_ready(), what="the daemon never held SIGHUP back, and is not ready")
        for process in holding():
            os.kill(process, signal.SIGSTOP)
            if holding() == [process]:
                return process
            os.kill(process, signal.SIGCONT)
        return 0

    process = next(filter(None, (stopped_there() for _ in range(20))), 0)
    assert process, "the daemon never held SIGHUP back"
    os.kill(process, signal.SIGHUP)
    os.kill(process, signal.SIGCONT)
    while not service.is_ready():
        os.kill(process, signal.SIGHUP)
    assert service.machine.processes(UNIT) == [process]
    assert service.restarts == 0


def test_sighup_while_the_interpreter_starts_costs_a_restart_at_most(service: Service) -> None:
    chance = random.Random(5)
    for _ in range(8):
        service.systemctl("stop")
        service.systemctl("start", "--no-block")
        until(lambda: service.machine.processes(UNIT), what="not started")
        time.sleep(chance.uniform(0, 0.1))  # the moment is the point
        for process in service.machine.processes(UNIT):
            with contextlib.suppress(ProcessLookupError):  # one of systemd's own, before the daemon's
                os.kill(process, signal.SIGHUP)
        until(service.is_ready, what="a SIGHUP at its start ended the daemon")
        assert service.restarts <= 1


def test_a_wrong_configuration_at_the_start_is_told_and_not_tried_again(service: Service, live: Json) -> None:
    service.systemctl("stop")
    service.configure(**live | {"hotkeys": live["hotkeys"] | {"gap_ms": "fast"}})
    mark = service.cursor()
    assert service.systemctl("start", check=False).code != 0
    state = service.state("ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert state == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}
    time.sleep(1.5)  # three times RestartSec, and then some
    assert service.state("ActiveState", "NRestarts") == {"ActiveState": "failed", "NRestarts": "0"}
    # Of the whole machine: a busy journal may read it when its process is gone, and not know the unit any more.
    told = service.machine.journal("", f"--after-cursor={mark}")
    assert told.count("deskhand.yaml:6: hotkeys.gap_ms: ") == told.count("hotkeys.gap_ms") == 1, told
    service.configure(**live)
    service.start()
    service.done("entry", trade_id="mended")


def test_sigusr1_tells_the_state_and_nothing_else_happens(service: Service) -> None:
    pid, mark = service.pid, service.cursor()
    service.kill(signal.SIGUSR1)
    until(lambda: "state: task " in service.journal(mark), what="nothing was told")  # what it ends with
    told = service.journal(mark)
    assert "main" in told, told  # the lane of the hotkey target
    assert service.pid == pid
    service.done("entry", trade_id="usr1")
