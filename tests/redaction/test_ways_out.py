"""Each way out has its one place that hides secrets; here each is asked with a secret in everything."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.cli import terminal
from daemon.clock import Clock
from daemon.events import TradeEvent, decode, validate
from daemon.exposition import render
from daemon.http.replies import dump, problem
from daemon.journal import Journal, rows
from daemon.lifecycle import Supervisor
from daemon.metrics import Metrics
from daemon.ports import Outcome, Result
from daemon.redaction import HIDDEN, redact
from daemon.settings import MqttSettings
from daemon.sources.mqtt import MqttSource
from tests.acceptance.desk import ROOT
from tests.http.stub import delivery_of

KEY = 'q7Rz"5xK3\\9wVb1pAA'


@pytest.fixture(autouse=True)
def known() -> None:
    redact.add([KEY, "practice", "READY=1!", "deskhand"])


def event() -> TradeEvent:
    return validate(decode('{"type":"sl","symbol":"AAPL","id":"e-1"}'))


def test_answers_of_the_local_api_stay_json_and_keep_their_words() -> None:
    told = json.loads(dump({"mode": "practice", "reason": f"said {KEY}", KEY: [{"deep": (KEY, 1.5, None)}]}))
    assert told == {"mode": "practice", "reason": f"said {HIDDEN}", HIDDEN: [{"deep": [HIDDEN, 1.5, None]}]}
    refused = problem(422, "invalid", f"no {KEY}", field=KEY)
    assert json.loads(bytes(refused.body)) == {"status": "invalid", "field": HIDDEN, "reason": f"no {HIDDEN}"}


def test_labels_of_metrics_and_nothing_else_of_them() -> None:
    metrics = Metrics()
    metrics.queue_depth(f"hotkeys:{KEY}", 2)
    metrics.peer_up("practice", True)
    text = render(metrics).decode()
    assert f'deskhand_queue_depth{{lane="hotkeys:{HIDDEN}"}} 2.0' in text
    assert 'deskhand_peer_up{peer="practice"} 1.0' in text, "a name that programs go by, whatever a password is"
    assert KEY[:6] not in text


def test_the_status_line_and_not_the_protocol(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify")}).tell("READY=1", f"STATUS=no {KEY}\nhere")
        assert manager.recv(1000).decode() == f"READY=1\nSTATUS=no {HIDDEN} here"


def test_reasons_in_the_journal() -> None:
    delivery = delivery_of(event(), Outcome(Result.FAILED, f"the peer said {KEY}"))
    row = rows.delivery_row(delivery)
    assert f"the peer said {HIDDEN}" in row
    assert row[-1] == rows.checksum(*row[:-1]), "the checksum is that of what is written"


async def test_a_halts_reason_in_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Clock())
    journal.open()
    journal.put_fact("halt", json.dumps({"level": "all", "reason": f"because {KEY}"}))
    journal.commit()
    assert json.loads(journal.fact("halt") or "")["reason"] == f"because {HIDDEN}"
    journal.close()


async def test_outcomes_over_mqtt() -> None:
    intake: Any = SimpleNamespace(offer=None, flush=None)
    source = MqttSource(MqttSettings(host="127.0.0.1"), intake, Clock())
    delivery = delivery_of(event(), Outcome(Result.FAILED, f"the peer said {KEY}"))
    delivery.action = delivery.action._replace(target=KEY)
    source.publish_outcome(delivery)
    (message,) = source.left_over(MqttSettings(host="127.0.0.1"))
    told = json.loads(message.payload)
    assert (told["reason"], told["target"], told["mode"]) == (f"the peer said {HIDDEN}", HIDDEN, "practice")


def test_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(f"a {KEY} b")
    terminal.show_json({"a": KEY})
    assert capsys.readouterr().out == f'a {HIDDEN} b\n{{"a": "{HIDDEN}"}}\n'


CRASH = f"""
import sys
from daemon import cli
from daemon.cli import check
def broken(_):
    from daemon.redaction import redact
    redact.add([{KEY!r}])
    try:
        raise KeyError({KEY!r})
    except KeyError as error:
        raise ExceptionGroup("all of " + {KEY!r}, [error, ValueError({KEY!r})]) from error
check.run = broken
sys.exit(cli.main(["check"]))
"""


def test_a_mistake_in_a_verb() -> None:
    done = subprocess.run([sys.executable, "-c", CRASH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ExceptionGroup: all of [hidden]" in done.stderr
    assert "| KeyError: '[hidden]'" in done.stderr
    # What is left is the source of this test.
    assert KEY[:6] not in "\n".join(line for line in done.stderr.splitlines() if "raise" not in line)


LIBRARY = f"""
import logging, os, sys
from loguru import logger
from daemon.cli.options import settings
from argparse import Namespace
os.environ["POLYMAKER_API_KEY"] = {KEY!r}
settings(Namespace(config=None, env_file=None, overrides=[], passphrase_stdin=False))
logging.getLogger("websockets").warning("sent %s", {KEY!r})
secret = {KEY!r}
try:
    int(secret)
except ValueError:
    logger.exception("could not")
"""


def test_what_libraries_say_during_a_verb(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert "websockets: sent [hidden]\ncould not\n" in done.stderr
    assert "invalid literal for int() with base 10: '[hidden]'" in done.stderr
    assert KEY[:6] not in done.stderr
