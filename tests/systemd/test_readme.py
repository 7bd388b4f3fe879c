"""What the README says for root, on a machine of its own: a clone, as a reader has it, and the commands one by one."""

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.desk import until
from tests.systemd.machine import Machine
from tests.systemd.service import UNIT, clone
from tests.test_readme import FOR_ROOT

# Root needs no sudo, and the machine may not have it; the packages come from where the machine has them.
PRELUDE = 'set -euo pipefail; sudo() { "$@"; }; export USER=reader;'
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheelhouse"}


@pytest.fixture
def machine(boot: Callable[[], Machine]) -> Iterator[Machine]:
    with boot() as booted:
        booted.run("useradd", "--create-home", "reader")
        clone(booted, "/root")
        yield booted


def test_every_command_for_root(machine: Machine) -> None:
    def types(text: str, stdin: str = "") -> str:
        command = ("bash", "-c", PRELUDE + text)
        return machine.run(*command, cwd="/root/deskhand", stdin=stdin, environ=OFFLINE, limit_s=100).out

    def one(word: str) -> str:
        (text,) = [text for text in FOR_ROOT if word in text]
        return text

    said = types(one("service install"))
    assert f"would       write /etc/systemd/system/{UNIT}" in said
    assert f"done        start {UNIT}" in said
    assert "practice" in types(one("usermod"))
    assert "deskhand" in machine.run("id", "-nG", "reader").out
    machine.run("deskhand", "emit", "entry", "AAPL", "--trade-id", "m-1", "--wait")
    assert "AAPL" in types(one("systemctl reload"))
    types(one("mosquitto_passwd"), stdin="right-word\nright-word\n")
    until(lambda: machine.run("systemctl", "is-active", "mosquitto", check=False).out == "active\n", what="the broker")
    refused = machine.run("mosquitto_pub", "-t", "x", "-m", "x", check=False)
    assert refused.code != 0
    account = ("-u", "deskhand", "-P", "right-word")
    machine.run("mosquitto_pub", *account, "-q", "1", "-t", "x", "-m", "x")
    types(one("service uninstall"))
    assert machine.run("systemctl", "is-active", UNIT, check=False).out != "active\n"
    assert len(FOR_ROOT) == 5, "every block for root was run"
