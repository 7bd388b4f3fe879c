"""The support file: everything a helper asks for first, and nothing about the trader."""

import re
from pathlib import Path
from typing import Any

import pytest

from daemon.doctor import Check
from daemon.settings import load
from daemon.support import Masks, Seen, bundle
from tests.acceptance.desk import Desk, KeyServer
from tests.cli.conftest import Run

PRIVATE = ("alice", "7.192.168", "192.168.7.9", "fe80::7:9", "broker.fund.example", "10.1.2.3", "ACMECORP", "ZETA")
CONFIG = """
state_dir: {folder}/state
hotkeys: {{targets: {{main: practice, alice-das: "ws://192.168.7.9:8765/x"}}, frame: "{{action}} alice"}}
mqtt: {{host: broker.fund.example, username: alice77, topic: alice/events, client_id: alice-1}}
routes:
- {{when: {{symbol: [ACMECORP, ZETA], account: alice-paper, strategy: alice-scalp, type: [sl]}}, do: [{{hotkeys: alice-das, keys: [k1]}}]}}
polymaker: {{url: "http://10.1.2.3:5000/alice"}}
"""  # noqa: E501  # a rule in one line
CALL = (
    '{"account": "alice-main", "amount": "31337", "bot": "grid_alice", "connector": "binance", "do": "place_order",'
    ' "pair": "ZETA-USDT", "price": "0.75", "side": "long"}'
)
EVENT: dict[str, Any] = {
    "seq": 1, "id": "alice-e1", "type": "entry", "symbol": "ACMECORP", "trade": "alice-paper:ACMECORP", "ts": 90.0,
    "received": 90.25, "origin": "mqtt", "status": "refused", "reason": "ZETA is still open",
    "event": {
        "type": "entry", "symbol": "ACMECORP", "account": "alice-paper", "strategy": "alice-scalp", "price": "4711.25",
        "quantity": "31337", "meta": {"note": "grandplan"}, "source": "alice-tv",
    },
    "deliveries": [{
        "handler": "hotkeys", "target": "alice-das", "steps": ["buy_ask"], "mode": "live", "begun": 1, "confirmed": 0,
        "result": "failed", "reason": "192.168.7.9:8765: Connection refused", "latency_ms": 1.5,
    }],
}  # fmt: skip
STATUS: dict[str, Any] = {
    "version": "0.1.0", "mode": "live", "uptime_s": 12.0, "mqtt": "down: broker.fund.example: timed out",
    "halt": {"level": "entries", "reason": "alice is out", "since": 40.0},
    "lanes": [{"name": "hotkeys:alice-das", "waiting": 2, "running": "alice-e1"}],
    "peers": [{"name": "hotkeys:alice-das", "up": False, "reason": "fe80::7:9 refused at 10:00:00", "down_s": 3.0}],
    "journal": {"ok": True, "reason": "", "set_aside": 0}, "counts": {"accepted": 3},
    "last_event": {"id": "alice-e1", "type": "sl", "symbol": "ZETA", "received": 98.0},
    "reload": {"at": 50.0, "status": "refused", "problems": ["/home/alice/deskhand.yaml:3: mode: needs a restart"]},
    "something_new": {"account": "alice"},
}  # fmt: skip


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    file = tmp_path / "deskhand.yaml"
    file.write_text(CONFIG.format(folder=tmp_path))
    env = tmp_path / ".env"
    env.write_text("POLYMAKER_API_KEY=q7RzT5xK3d9wVb1p\nPK=Zz9y8x7w6v5u4t3s2r1q\n")
    env.chmod(0o600)
    checks = [
        Check(
            "mqtt", "fail", "broker.fund.example:1883 refused the login of alice77", "getent hosts broker.fund.example"
        ),
        Check("config file", "ok", "/home/alice/desk/deskhand.yaml, safe from others; mail alice@fund.example"),
        Check("x", "ok", "key q7RzT5xK3d9wVb1p, 0x" + "ab" * 20),
    ]
    events = [EVENT, EVENT | {"seq": 2, "id": "alice-e2", "symbol": "ZETA", "received": 95.0}]
    return Seen(
        100.0, load(file, env, [], {}), status=STATUS, events=events, checks=checks, private=["alice", "alicebox"]
    )


def test_nothing_private_is_in_it(seen: Seen) -> None:
    text = bundle(seen)
    for word in (*PRIVATE, "4711", "31337", "q7RzT5", "Zz9y8x", "alice-paper", "is out", "grandplan", "abab"):
        assert word not in text, word


@pytest.mark.parametrize(
    ("result", "reason", "shown"),
    [
        ("done", "", "done"),
        ("simulated", f"practice mode: {CALL}", "simulated: practice mode: place_order"),
        (
            "failed",
            "refused: HTTP 400: ZETA-USDT: alice-main has 98765.43 USDT, 31337 more needed; see grid_alice",
            "failed: refused: HTTP 400: pair-1: account-1 has (number) USDT, (number) more needed; see bot-1",
        ),
    ],
)
def test_what_hummingbot_is_asked_stays_private(seen: Seen, result: str, reason: str, shown: str) -> None:
    call = {
        "handler": "hummingbot", "target": "api", "steps": [CALL], "mode": "live", "begun": 1, "confirmed": 1,
        "result": result, "reason": reason,
    }  # fmt: skip
    event = {"type": "entry", "symbol": "GAMMA"}
    seen.events = [EVENT | {"symbol": "GAMMA", "event": event, "deliveries": [call]}]
    seen.status = STATUS | {"peers": [{"name": "hummingbot", "up": False, "reason": "no grid_alice", "down_s": 1.0}]}
    text = bundle(seen)
    assert f"    hummingbot:api live: place_order [1 begun, 1 confirmed] {shown}" in text
    assert "peer hummingbot: down 1.0 s: no bot-1\n" in text
    for word in ("31337", "98765", "alice", "ZETA-USDT", "0.75"):
        assert word not in text.partition("## State")[2], word


def test_targets_stay_private_when_the_configuration_is_what_is_broken(seen: Seen) -> None:
    seen.settings, seen.problems, seen.private = None, ["deskhand.yaml:3: is not valid YAML"], []
    text = bundle(seen).partition("## State")[2].partition("## Doctor")[0]
    assert "alice-das" not in text
    assert "lane hotkeys:target-1: 2 waiting, running" in text
    assert "    hotkeys:target-1 live: buy_ask" in text
    seen.status = None
    assert "    hotkeys:target-1 live: buy_ask" in bundle(seen)


def test_what_a_helper_needs_is_in_it(seen: Seen) -> None:
    text = bundle(seen)
    for line in (
        "polymaker.api_key: set",
        "mqtt.password: not set",
        'hotkeys.targets: {"main": "practice", "target-1": "ws://host-2:8765/..."}',
        'mqtt.host: "host-1"',
        "secrets: no vault, 1 of others in .env",
        "version: 0.1.0, mode: live, up 12 s",
        "halt: entries, with a reason, 60 s ago",
        "lane hotkeys:target-1: 2 waiting, running",
        "mqtt: down: host-1: timed out",
        "journal: ok, 0 set aside",
        "reload: refused, 50 s ago: ~/deskhand.yaml:3: mode: needs a restart",
        "9.8 s ago: event-1 entry symbol-1 trade-1 over mqtt, 0.250 s old, refused: symbol-2 is still open",
        "    hotkeys:target-1 live: buy_ask [1 begun, 0 confirmed] failed: host-2:8765: Connection refused, first byte",
        "fail  mqtt: host-1:1883 refused the login of (user) -> getent hosts host-1",
        "pydantic ",
    ):
        assert f"\n{line}" in text, line
    (route,) = re.findall("^routes: (.*)$", text, re.MULTILINE)
    assert '"symbol": ["symbol-1", "symbol-2"]' in route
    assert '"type": ["sl"]' in route
    assert '"keys": ["k1"]' in route
    assert "at 10:00:00" in text, "a time of day is no address"


def test_a_new_setting_that_is_text_is_not_shown(seen: Seen) -> None:
    assert seen.settings is not None
    text = bundle(seen)
    shown = dict(
        line.split(": ", 1)
        for line in text.partition("## Configuration")[2].partition("## State")[0].splitlines()[2:-2]
    )
    for name, value in shown.items():
        if name in (
            "hotkeys.repeatable",
            "hotkeys.keep_when_superseded",
            "hotkeys.overtake",
            "routes",
            "file",
            "secrets",
        ):
            continue
        section: Any = seen.settings
        default: object = None
        for word in name.split("."):
            default = type(section).model_fields[word].get_default(call_default_factory=True)
            section = getattr(section, word)
        words = set(re.findall(r'"([^"]+)"', value))
        plain = {"practice", "main", "(your own)", "default"}
        known = {w for w in words if w in plain or "host-" in w or "target-" in w or w in str(default)}
        assert words == known, name


def test_masks_are_the_same_throughout_and_know_whole_words_only() -> None:
    masks = Masks()
    assert masks.name("symbol", "AMD") == masks.name("symbol", "AMD") == "symbol-1"
    assert masks.text("AMD, but not AMDX or aAMD; AMD.") == "symbol-1, but not AMDX or aAMD; symbol-1."
    assert masks.text("ws://[::1]:8765 ws://127.0.0.1:1/ ws://me:pw@desk.lan:9/p?q=1.") == (
        "ws://[::1]:8765 ws://127.0.0.1:1 ws://host-1:9/...."
    )
    assert masks.text("to desk.lan at 10.0.0.7:99 and 10.0.0.7, ::1, 127.0.0.1, 0.0.0.0, version 1.2.3") == (
        "to host-1 at host-2:99 and host-2, ::1, 127.0.0.1, 0.0.0.0, version 1.2.3"
    )
    assert masks.text("/root/x /rooter /Users/bob/y") == "~/x /rooter ~/y"
    assert masks.text("http://[bad") == "(address)"


async def test_without_a_daemon_and_without_a_good_configuration(alone: Path, verb: Run) -> None:
    done = await verb("support", "--to", "out.md")
    assert (done.code, done.err) == (0, "")
    assert "in it: versions, configuration, state" in done.out
    text = (alone / "out.md").read_text()
    assert (alone / "out.md").stat().st_mode & 0o777 == 0o600
    assert "no daemon answers: deskhand is not running" in text
    assert "no journal" in text
    (alone / "deskhand.yaml").write_text("hotkeys: {gap_ms: x}\n")
    done = await verb("support", "--to", "bad.md")
    assert done.code == 0
    assert "problem: deskhand.yaml:1: hotkeys.gap_ms: must be" in (alone / "bad.md").read_text()


async def test_nothing_is_overwritten(alone: Path, verb: Run) -> None:
    kept, link = alone / "kept.md", alone / "link.md"
    kept.write_text("mine")
    link.symlink_to(alone / "elsewhere")
    for path in (kept, link):
        done = await verb("support", "--to", str(path))
        assert (done.code, done.out) == (1, "")
        assert "is there already; nothing is overwritten" in done.err
    assert kept.read_text() == "mine"
    assert not (alone / "elsewhere").exists()
    done = await verb("support", "--to", str(alone / "no" / "x.md"))
    assert done.code == 1
    assert "cannot be written: No such file or directory" in done.err


async def test_with_a_daemon(tmp_path: Path, alone: Path, verb: Run) -> None:
    keys = KeyServer(tmp_path).start()
    try:
        (tmp_path / "desk").mkdir()
        with Desk(tmp_path / "desk", {"main": keys}) as desk:
            desk.done("entry", account="alice-paper", quantity="31337")
            code = (
                await verb("support", "--config", str(desk.file), "--socket", str(desk.socket_path), "--to", "a.md")
            ).code
            assert code == 0
    finally:
        keys.kill()
    text = (alone / "a.md").read_text()
    assert "mode: live" in text
    assert re.search(
        r"event-1 entry symbol-1 trade-1 over unix, 0\.\d+ s old, accepted\n +hotkeys:main live: buy_ask", text
    )
    assert "31337" not in text
    assert "alice" not in text
