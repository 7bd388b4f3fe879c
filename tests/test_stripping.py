"""An event that carries a secret acts, and no record of it holds the secret."""

import asyncio
import base64
import json
import sqlite3
from pathlib import Path

import pytest

from daemon import events
from daemon.errors import EventError
from daemon.events import TradeEvent
from daemon.redaction import HIDDEN, redact
from daemon.stripping import may_hold_secret, raw_of, stripped
from tests.acceptance.desk import Desk, KeyServer

KEY = "q7RzT5xK3d9wVb1pAA"
OTHER = "Zz9y8x7w6v5u4t3s2r1q"


@pytest.fixture(autouse=True)
def known() -> None:
    redact.add([KEY])
    redact.add(["BTC-USDT", "paper-account-1", OTHER], own=False)


def event(**fields: object) -> TradeEvent:
    return events.validate(events.decode(json.dumps({"type": "entry", "symbol": "AAPL", "id": "e-1", **fields})))


@pytest.mark.parametrize("name", ["trade_id", "account", "strategy", "source"])
@pytest.mark.parametrize("secret", [KEY, OTHER, base64.b64encode(KEY.encode()).decode(), KEY.encode().hex(), KEY[:9]])
def test_a_field_that_takes_text(name: str, secret: str) -> None:
    said = event(**{name: f"a {secret} b"[:64]})
    assert may_hold_secret(said)
    found, fields = stripped(said)
    assert fields == [name]
    assert getattr(found, name) == f"a {HIDDEN} b"
    assert found.model_copy(update={name: getattr(said, name)}) == said, "nothing else has changed"
    assert events.validate(events.decode(raw_of(found))).body() == found.body(), "it can be read back"


def test_meta_names_and_values() -> None:
    found, fields = stripped(event(meta={KEY: 1, "b": f"{OTHER}!", "n": 1.5, "c": "fine"}))
    assert fields == ["meta"]
    assert found.meta == {HIDDEN: 1, "b": f"{HIDDEN}!", "n": 1.5, "c": "fine"}


def test_a_meta_that_would_grow_too_large_is_dropped_whole() -> None:
    said = event(meta={"a": f"{KEY[:6]} " * 560})
    found, _ = stripped(said)
    assert found.meta == {HIDDEN: HIDDEN}
    assert events.validate(events.decode(raw_of(found))).meta == found.meta


def test_an_id_becomes_another_and_always_the_same() -> None:
    ids = [stripped(event(id=text))[0].id for text in (KEY, KEY, f"{KEY}2", f"x-{KEY}")]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(each.startswith(f"{HIDDEN}-") for each in ids)


def test_what_is_no_key_but_stands_in_somebodys_env_stays() -> None:
    said = event(symbol="BTC-USDT", account="paper-account-1", strategy="BTC-USDT")
    assert stripped(said) == (said, [])


@pytest.mark.parametrize("type_", ["entry", "tp1", "tp2"])
def test_a_symbol_that_is_a_secret_is_refused(type_: str) -> None:
    with pytest.raises(EventError, match="symbol: is a secret") as caught:
        stripped(event(type=type_, symbol=KEY))
    assert KEY.upper() not in str(caught.value)


@pytest.mark.parametrize("type_", ["sl", "close"])
def test_but_no_exit_is_lost_to_it(type_: str) -> None:
    found, fields = stripped(event(type=type_, symbol=KEY))
    assert (found.symbol, fields) == ("HIDDEN", ["symbol"])


def test_an_ordinary_event_is_not_looked_at_twice() -> None:
    assert not may_hold_secret(event(account="a", meta={"n": "ordinary"}))


async def test_it_acts_and_goes_where_it_was_meant_to(tmp_path: Path) -> None:
    keys, other = KeyServer(tmp_path).start(), KeyServer(tmp_path, "other").start()
    routes = [{"when": {"strategy": KEY}, "do": [{"hotkeys": "other"}]}]
    env = tmp_path / ".env"
    env.write_text(f"POLYMAKER_API_KEY={KEY}\nPK={OTHER}\n")
    env.chmod(0o600)
    desk = Desk(tmp_path, {"main": keys, "other": other}, routes=routes)
    try:
        desk.spawn(options=["--env-file", str(env)])
        await asyncio.to_thread(_ready, desk)
        first = desk.make("entry", strategy=KEY, account=OTHER, meta={"note": KEY}, id=f"id {KEY}")
        code, answer = desk.request("POST", "/events?wait=10", first)
        assert (code, [d["result"] for d in answer["deliveries"]]) == (202, ["done"])
        assert (keys.frames, other.frames) == ([], ["buy_ask"]), "the route is the one for what was said"
        code, again = desk.request("POST", "/events", first)
        assert (code, again["status"], again["id"]) == (200, "duplicate", answer["id"])
        desk.kill()  # the record is read back from what a crash leaves
        desk.spawn(options=["--env-file", str(env)])
        await asyncio.to_thread(_ready, desk)
        shown = desk.event(answer["id"].replace("[", "%5B").replace("]", "%5D"))
        assert shown["event"]["strategy"] == shown["event"]["account"] == HIDDEN
        assert desk.request("POST", "/events", first)[1]["status"] == "duplicate"
        assert desk.log().count("held a secret in account, id, meta, strategy") == 3
        code, refused = desk.request("POST", "/events", desk.make("entry", symbol=KEY.upper()))
        assert (code, refused["field"]) == (422, "symbol")
        assert refused["reason"] == "is a secret that this daemon knows, and no symbol"
    finally:
        desk.__exit__(None, None, None)
        keys.kill()
        other.kill()
    rows = sqlite3.connect(desk.state / "journal.db").execute("select * from events").fetchall()
    for secret in (KEY, OTHER):
        assert secret not in str(rows)
        assert secret not in desk.log()
        assert secret.encode() not in (desk.state / "inbox").read_bytes()


def _ready(desk: Desk) -> None:
    from tests.acceptance.desk import until

    until(desk.is_ready)
