"""Socket activation: systemd holds the doors, so that whoever knocks during a restart waits and is never refused."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.acceptance.desk import ROOT, Json, all_ended, until
from tests.acceptance.stream import by_id
from tests.systemd.service import UNIT, Keys, Service

SOCKET = "deskhand.socket"


@pytest.fixture
def activated(service: Service) -> Iterator[Service]:
    """The service behind its socket unit."""
    service.systemctl("stop")
    service.machine.run("systemctl", "enable", "--now", SOCKET)
    service.start()
    yield service
    service.systemctl("stop")
    service.machine.run("systemctl", "disable", "--now", SOCKET)
    service.start()


def test_no_post_is_refused_while_the_service_restarts(activated: Service, keys: Keys) -> None:
    machine, before = activated.machine, len(keys.presses)
    poster = subprocess.Popen(
        machine.inside(sys.executable, f"{ROOT}/tests/systemd/poster.py", "8790", "/var/lib/deskhand/http-token", "40"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for number in range(5):
        enough = len(activated.events()) + 10
        until(lambda enough=enough: len(activated.events()) >= enough, what="no traffic")  # type: ignore[misc]
        if number % 2:
            activated.kill_9()
        else:
            activated.restart()
    out, _ = poster.communicate()
    attempts: list[Json] = [json.loads(line) for line in out.splitlines()]
    said = Counter(attempt["said"] for attempt in attempts)
    print(dict(said))
    assert "ConnectionRefusedError" not in said
    assert said["202"] == len({attempt["id"] for attempt in attempts}) - said["200"] > 20
    # Only a kill can break a connection off: one for each, as this source has one open at a time.
    assert said.total() - said["202"] - said["200"] <= 2, said
    until(lambda: all(map(all_ended, activated.events())), what="some events never ended")
    pressed = by_id(keys.presses[before:])
    ends = {event["id"]: event["deliveries"][0]["result"] for event in activated.events() if event["id"] in pressed}
    for id_ in {attempt["id"] for attempt in attempts}:
        result = activated.event(id_)["deliveries"][0]["result"]
        assert [press.frame for press in pressed.get(id_, [])] == ["buy_ask"] or result == "uncertain", (id_, result)
    assert Counter(ends.values())["uncertain"] <= 2


def test_a_stopped_service_is_started_by_whoever_knocks(activated: Service) -> None:
    activated.systemctl("stop")
    assert activated.state("ActiveState")["ActiveState"] == "inactive"
    about = activated.machine.run("stat", "--format=%a %G", "/run/deskhand/deskhand.sock").out
    assert about == "660 deskhand\n"
    done = activated.deskhand("emit", "entry", "AAPL", "--trade-id", "knock", "--wait")
    assert "done" in done.out
    assert activated.state("ActiveState")["ActiveState"] == "active"


def test_the_socket_file_outlives_the_service(activated: Service) -> None:
    number = activated.machine.run("stat", "--format=%i", "/run/deskhand/deskhand.sock").out
    activated.restart()
    activated.kill_9()
    assert activated.machine.run("stat", "--format=%i", "/run/deskhand/deskhand.sock").out == number
    assert UNIT in activated.machine.run("systemctl", "list-sockets", "--no-pager", "--full").out
