"""The canary campaign: a value of its own in every secret, every peer failing in every way, and nothing gets out."""

import base64
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.acceptance.desk import KeyServer, until
from tests.canary.peers import ForeignHost, Peer
from tests.canary.search import hits
from tests.canary.stage import Stage
from tests.fakes.certificates import self_signed
from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.mqtt_peer import MqttPeer

HOWS = ("401", "500", "302", "tls", "garbage", "echo", "hang", "close", "reset")
PLACES = {
    "mqtt.password": ("peer mqtt/",),
    "hummingbot.password": ("peer hummingbot/",),
    "hummingbot.api_key": ("peer hummingbot/",),
    "polymaker.api_key": ("peer polymaker/",),
    "http-token": ("state/http-token",),
    "token": ("token add",),
}
"""The one place each is for: its own peer, the file it is kept in, the one time it is shown."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    keys = KeyServer(tmp_path).start()
    found = Stage(tmp_path, keys)
    try:
        yield found
    finally:
        found.close()
        keys.kill()


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[dict[str, Peer]]:
    """One for each peer and way of failing: `mqtt/echo`, `polymaker/401`, ...; and the foreign host."""
    tls = self_signed(tmp_path)
    with contextlib.ExitStack() as stack:
        foreign = stack.enter_context(ForeignHost())
        found: dict[str, Peer] = {"foreign": foreign}
        for name in ("hotkeys", "mqtt", "hummingbot", "polymaker"):
            for how in HOWS:
                peer = Peer(how, tls=tls if how == "tls" else None, elsewhere=foreign.url)
                found[f"{name}/{how}"] = stack.enter_context(peer)
        yield found


def config_of(peers: dict[str, Peer], how: str, keys: str | None = None) -> dict[str, Any]:
    """Every peer fails in this way; `refused` is a port that nobody listens on."""

    def port(name: str) -> int:
        return free_port() if how == "refused" else peers[f"{name}/{how}"].port

    s = "s" if how == "tls" else ""
    return {
        "hotkeys": {"targets": {"main": keys or f"ws{s}://127.0.0.1:{port('hotkeys')}/"}},
        "mqtt": {"host": "127.0.0.1", "port": port("mqtt"), "username": "desk", "tls": how == "tls"},
        "hummingbot": {"url": f"http{s}://127.0.0.1:{port('hummingbot')}", "username": "desk"},
        "polymaker": {"url": f"http{s}://127.0.0.1:{port('polymaker')}"},
    }


def forms(value: str) -> list[str]:
    """As a sender may quote it."""
    raw = value.encode()
    return [
        value, value[:10], raw.hex(), quote(value, safe=""), f"key={value}&x=1",
        base64.b64encode(b"u:" + raw).decode(), base64.b64encode(raw).decode().rstrip("="),
    ]  # fmt: skip


def quoting(value: str) -> Iterator[dict[str, Any]]:
    """Events that carry a secret, in every field that takes text."""
    for number, form in enumerate(form for form in forms(value) if form.isprintable()):
        field = ("strategy", "source", "account", "trade_id")[number % 4]
        yield {"type": "sl", "symbol": "AAPL", "id": f"q{number}-{time.time_ns()}", field: form[:60]}
        yield {
            "type": "close",
            "symbol": "AAPL",
            "id": f"m{number}-{time.time_ns()}",
            "meta": {form[:60]: 1, "note": form},
        }
    yield {"type": "sl", "symbol": "AAPL", "id": value}
    yield {"type": "entry", "symbol": "".join(c for c in value if c.isalnum()), "id": f"s-{time.time_ns()}"}
    yield {"type": "entry", "symbol": "AAPL", value: "x"}
    yield {"type": value, "symbol": value, "ts": value, "price": value, "side": value, "targets": {value: 1}}


def known(stage: Stage) -> list[tuple[str, str]]:
    """Name and value of what a daemon that runs can know: of a token it keeps the hash, of the vault no key."""
    return [(canary.name, canary.value) for canary in stage.now.values() if canary.name not in ("vault.key", "token")]


def quote_back(stage: Stage) -> None:
    """Say every secret to the daemon, wherever it listens."""
    desk = stage.desk
    token = stage.now["http.token"].value
    for name, value in known(stage):
        for event in quoting(value):
            code, answer = desk.request("POST", "/events", event)
            assert code in (200, 202, 409, 422), answer
            stage.said[f"answer {len(stage.said)}: quoting {name}"] = json.dumps(answer).encode()
        safe = quote(value, safe="")
        assert stage.ask("POST", "/events", b'{"type": "sl" ' + value.encode(), token=token) == 422
        assert stage.ask("GET", f"/events/{safe}", token=token) in (404, 405)
        assert stage.ask("GET", f"/events?since={safe}", token=token) == 422
        assert stage.ask("GET", f"/{safe}", token=token) == 404
        if value.isascii() and " " not in value and value != token:
            assert stage.ask("GET", "/status", token=value) == 401
        desk.request("POST", "/halt", {"reason": f"because {value}"})
        desk.request("POST", "/resume")
    with connect(
        f"ws://{desk.status()['http']}/ws", additional_headers={"Authorization": f"Bearer {token}"}, proxy=None
    ) as ws:
        for _, value in known(stage):
            ws.send(json.dumps({"type": "sl", "symbol": "AAPL", "meta": {"note": value}}))
            stage.said[f"answer {len(stage.said)}: ws"] = str(ws.recv(10)).encode()
    with (
        contextlib.suppress(WebSocketException),
        connect(
            f"ws://{desk.status()['http']}/ws",
            additional_headers={"Authorization": f"Bearer {stage.now['token'].value}"},
            proxy=None,
        ),
    ):
        pass


def bad_configurations(stage: Stage) -> None:
    """Mistakes right beside secrets, and with them: told, and no value echoed."""
    secret = {name: canary.value for name, canary in stage.now.items()}
    trees: list[dict[str, Any]] = [
        {"mqtt": {"password": secret["mqtt.password"], "host": [secret["hummingbot.password"]], "port": "x"}},
        {"polymaker": secret["polymaker.api_key"], secret["foreign.PK"]: 1},
        {"mqtt": {"username": [1], "passwrod": secret["mqtt.password"]}, "mode": secret["foreign.API_SECRET"]},
        {"hotkeys": {"targets": {"main": f"ws://desk:{secret['hummingbot.password']}@h:1/?k={secret['foreign.PK']}"}}},
        {"polymaker": {"api_key": f"vault:{secret['vault.unused']}", "url": f"http://h/?{secret['http.token']}"}},
        {"http": {"token": "vault:nothing", "port": secret["http.token"]}},
    ]
    for number, tree in enumerate(trees):
        file = stage.folder / f"bad-{number}.yaml"
        file.write_text(json.dumps(stage.desk.config | tree, ensure_ascii=False))
        stage.verb("check", config=file)
        stage.verb("check", "--json", config=file)
    stage.verb("check", "--set", f"mqtt.password={secret['mqtt.password']}")
    stage.verb("support", "--to", "support-bad.md", config=stage.folder / "bad-1.yaml")
    raw = stage.folder / "broken.yaml"
    raw.write_text(f"mqtt: {{password: {secret['foreign.PK']}\n  host: ]")
    stage.verb("check", config=raw)


def bad_reloads(stage: Stage) -> None:
    """A reload refused beside secrets; then one that takes new secrets in."""
    desk, secret = stage.desk, {name: canary.value for name, canary in stage.now.items()}
    good = dict(desk.config)
    for tree in (
        {"mqtt": {"password": secret["mqtt.password"]}},
        {"mode": secret["http.token"]},
        {secret["foreign.PK"]: 1},
    ):
        desk.config = good | tree
        desk.write()
        code, answer = desk.request("POST", "/reload")
        assert code == 422, answer
        stage.said[f"answer {len(stage.said)}: reload"] = json.dumps(answer).encode()
        stage.verb("reload")
    until(lambda: b"STATUS=live" in stage.notified() and b"[hidden]: is not a known key" in stage.notified())
    desk.config = good
    desk.write()


def fail_everywhere(stage: Stage, peers: dict[str, Peer]) -> None:
    """The daemon under TRACE while its peers fail, one way after the other."""
    for how in ("refused", *HOWS):
        answer = stage.desk.reload(**config_of(peers, how))
        assert answer["status"] == "reloaded", answer
        stage.said[f"reload to {how}"] = json.dumps(answer).encode()
        stage.desk.post("entry", strategy=stage.now["hummingbot.password"].value)
        if how not in ("refused", "tls"):
            came = (peers[f"mqtt/{how}"].received, peers[f"hotkeys/{how}"].received)
            until(lambda came=came: all(came), what=how)  # type: ignore[misc]  # bound now


def test_no_canary_leaves_its_place(stage: Stage, peers: dict[str, Peer]) -> None:
    desk = stage.desk
    real_keys = desk.config["hotkeys"]["targets"]["main"]
    stage.make_vault()
    bad_configurations(stage)
    stage.doctors([config_of(peers, how) for how in ("refused", *HOWS)])
    stage.start()
    fail_everywhere(stage, peers)
    quote_back(stage)
    bad_reloads(stage)
    assert desk.process is not None
    desk.process.send_signal(signal.SIGUSR1)
    until(lambda: "state: task journal-keeper" in desk.log())

    # Other secrets while it runs; the old ones are none the less secret.
    stage.plant_all()
    stage.verb("vault", "set", "center", stdin=stage.now["polymaker.api_key"].value + "\n")
    stage.verb("reload")
    quote_back(stage)
    stage.look()
    stage.verb("support", "--to", "support-live.md")

    # Killed in the middle of an event, and up again, with a broker and a server that are well.
    desk.post("sl", strategy=stage.now["foreign.PK"].value)
    desk.kill()
    stage.keep("killed")
    with broker_of(stage) as broker:
        desk.write(mqtt={"port": broker.port, "tls": False}, hotkeys={"targets": {"main": real_keys}})
        stage.start()
        until(lambda: desk.status()["mqtt"] == "connected")
        with MqttPeer(broker.port, listen="#", credentials=("desk", stage.now["mqtt.password"].value)) as peer:
            for _, value in known(stage):
                event = {"type": "sl", "symbol": "AAPL", "ts": time.time(), "meta": {"note": value}}
                peer.publish_all([json.dumps(event | {"id": f"over-mqtt {value}"})])
            wanted = len(known(stage))
            peer.wait(lambda heard: sum("outcomes/" in topic for topic in heard) >= wanted, 20)
            heard = b"\n".join(
                topic.encode() + b" " + payload
                for topic, payloads in peer.heard.items()
                if topic != "deskhand/events"
                for payload in payloads
            )
        stage.said["topics"] = heard
        stage.look()
        keys = (stage.folder / "keys-main.jsonl").read_bytes()
        assert b"sell_all_bid" in keys
        stage.said["keys"] = keys

        # It dies of a mistake that tells secrets, in every way a process can die.
        desk.stop()
        stage.spawn(("-m", "tests.canary.breaking"))
        assert desk.process is not None
        assert desk.process.wait(20) == 1
        assert "nobody caught" in desk.log()
        stage.start()
        desk.process.send_signal(signal.SIGABRT)
        desk.process.wait(10)
        desk.process = None
        assert "Current thread" in desk.log(), "faulthandler shows frames"

    stage.verb("support", "--to", "support-dead.md")
    found = stage.haystacks() | {f"peer {name}": bytes(peer.received) for name, peer in peers.items()}
    check_that_it_was_a_campaign(stage, found)
    out = hits(found, stage.canaries, PLACES)
    assert not out, "\n".join(out)
    assert peers["foreign"].received == b"", "nobody follows a redirect to another host"
    for name in ("log", "state/journal.db", "support-live.md", "topics", "keys"):
        for canary in stage.canaries:
            planted = found[name] + b" " + canary.value.encode() + b" "
            assert hits({name: planted}, [canary], PLACES), "a hit that is planted is found"


@contextlib.contextmanager
def broker_of(stage: Stage) -> Iterator[Mosquitto]:
    """A broker that wants the desk's password."""
    broker = Mosquitto(stage.folder / "broker", password=stage.now["mqtt.password"].value).start()
    try:
        yield broker
    finally:
        broker.stop()


def check_that_it_was_a_campaign(stage: Stage, found: dict[str, bytes]) -> None:
    """Secrets were used where they belong, libraries were heard, and what was searched is not empty."""
    log = found["log"].decode()
    for word in (
        "paho: ",
        "deskhand.hotkeys.wire: ",
        "apscheduler.scheduler: ",
        "uvicorn.error: ",
        "[hidden]",
        "held a secret in",
    ):
        assert word in log, word
    assert log.count("[hidden]") > 100
    assert len(stage.canaries) > 2 * len(stage.paths) + len(stage.now) // 2
    for name in ("state/journal.db", "support-live.md", "support-dead.md", "support-bad.md", "topics", "notify"):
        assert len(found[name]) > 200, name
    first = {canary.name: canary.value for canary in reversed(stage.canaries)}
    login = base64.b64encode(f"desk:{first['hummingbot.password']}".encode())
    for how in ("echo", "hang", "garbage"):
        assert first["mqtt.password"].encode() in found[f"peer mqtt/{how}"]
        assert first["polymaker.api_key"].encode() in found[f"peer polymaker/{how}"]
        assert login in found[f"peer hummingbot/{how}"]
    for what in ("killed: state/journal.db-wal", "killed: state/inbox", "state/vault", "state/tokens.json"):
        assert found[what], what
