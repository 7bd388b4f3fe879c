"""What the README says for root, on a machine of its own: a clone, as a reader has it, and the commands one by one."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.desk import until
from tests.systemd.machine import Machine
from tests.systemd.service import UNIT, clone
from tests.test_readme import FOR_ROOT

# Root needs no sudo, and the machine may not have it; the packages come from where the machine has them.
PRELUDE = 'set -euo pipefail; sudo() { "$@"; }; export USER=reader;'
DESK = "https://192.168.1.10:8790"
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
    http = "http: {host: 0.0.0.0, tls_cert: /etc/deskhand/desk.pem, tls_key: /etc/deskhand/desk.key}"
    machine.run("bash", "-c", f"echo '{http}' >> /etc/deskhand/deskhand.yaml")
    token = re.search(r"^dh_\S{43}$", types(one("token add")), re.MULTILINE)
    assert token is not None
    asked = (
        "curl",
        "--silent",
        "--fail",
        "--cacert",
        "/etc/deskhand/desk.pem",
        "--connect-to",
        "192.168.1.10::127.0.0.1:",
    )
    until(lambda: not machine.run(*asked, f"{DESK}/health/live", check=False).code, what="the daemon over TLS")
    head = ("-H", f"Authorization: Bearer {token[0]}", "-H", "Host: localhost")
    assert "accepted" in machine.run(*asked, *head, "-d", '{"type": "sl", "symbol": "AAPL"}', f"{DESK}/events").out
    types(one("service uninstall"))
    assert machine.run("systemctl", "is-active", UNIT, check=False).out != "active\n"
    assert len(FOR_ROOT) == 6, "every block for root was run"
