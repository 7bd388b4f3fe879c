"""What must not leave does not: no connection is opened, the alarm names where and what and never the value."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from loguru import logger

from daemon.egress import Body, Credential, Guard, Hex64, Query
from daemon.egress.client import Egress
from daemon.errors import EgressError
from daemon.http import tokens
from daemon.http.token import load_or_make_token
from daemon.ports import KnownSecret
from daemon.settings import HttpSettings
from tests.egress.peer import Blocked, guard, peer
from tests.egress.test_needles import ADDRESS, FORMS, KEY

OTHERS = KnownSecret("mqtt.password", "mq-Zx81+/kk=Lä", "mqtt")
VAULT = KnownSecret("BITMART_SECRET", "bm-71c!Qa0_vault", "vault")
OWN = KnownSecret("polymaker.api_key", "pm-key-4711-Xy", "polymaker")
FOREIGN = KnownSecret("PK", KEY, "foreign")
KNOWN = (OTHERS, VAULT, OWN, FOREIGN)


class Note(Body):
    text: str
    other: str = "x"


class Asked(Query):
    q: str


class Trade(Body):
    condition: Hex64
    market: tuple[Hex64, ...] = ()
    note: str = ""


class Keys(Body):
    bitmart_secret_key: Credential
    memo: str = ""


class Inner(Body):
    note: Note


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    handle = logger.add(lambda message: found.append(str(message)), level="TRACE", format="{level} {message}")
    yield found
    logger.remove(handle)


async def ask(place: str, text: str, watch: Guard, base: str, name: str = "polymaker") -> None:
    headers = {"X-Note": text} if place == "header X-Note" else {}
    credentials = {"X-Api-Key": text if place == "header X-Api-Key" else "a key of its own"}
    async with Egress(name, base, watch, 2.0, headers=headers, credentials=credentials) as egress:
        match place:
            case "path":
                await egress.get("/a/{name}/b", values={"name": text})
            case "query":
                await egress.get("/a", query=Asked(q=text))
            case "body":
                await egress.request("POST", "/a", body=Inner(note=Note(text=text)))
            case _:
                await egress.get("/a")


PLACES = {
    "path": "url",
    "query": "url",
    "body": "body",
    "header X-Note": "header X-Note",
    "header X-Api-Key": "header X-Api-Key",
}


@pytest.mark.parametrize("secret", [OTHERS, VAULT, FOREIGN], ids=lambda secret: secret.name)
@pytest.mark.parametrize("place", PLACES)
async def test_a_secret_of_another_is_stopped_in_every_form_and_place(
    place: str, secret: KnownSecret, lines: list[str]
) -> None:
    """The table: every form of every secret in every place; the peer sees not even a connection."""
    blocked = Blocked()
    watch = guard(*KNOWN, blocked=blocked)
    async with peer() as found:
        tried = 0
        for form in FORMS.values():
            raw = form(secret.value)
            text = raw.decode() if form is not FORMS["latin-1"] else raw.decode("latin-1")
            if place == "path" and ("/" in text or "\\" in text or len(text) > 200):
                continue  # these cannot stand there at all
            if not text.isprintable() and place != "body":
                continue
            tried += 1
            with pytest.raises(EgressError, match=secret.name) as told:
                await ask(place, f"say {text}", watch, found.base)
            assert f"its {PLACES[place]} holds" in str(told.value)
            assert told.value.sent is False
            assert secret.value not in f"{told.value!r}{watch.shown()}"
        assert tried > 5
        assert (found.connections, bytes(found.received)) == (0, b"")
    assert blocked.peers == ["polymaker"] * tried
    assert watch.shown()["blocked"] == tried
    assert watch.shown()["last"] | {"at": 0} == {
        "at": 0,
        "peer": "polymaker",
        "where": PLACES[place],
        "what": secret.name,
    }
    alarms = [line for line in lines if line.startswith("ERROR")]
    assert len(alarms) == tried
    stopped = f"its {PLACES[place]} holds {secret.name}"
    assert alarms[0] == f"ERROR [Egress] A request to polymaker was stopped before its first byte: {stopped}\n"
    assert not any(secret.value in line for line in lines)


async def test_ones_own_secret_passes_in_its_place_and_nowhere_else() -> None:
    watch = guard(*KNOWN)
    async with peer() as found:
        await ask("header X-Api-Key", OWN.value, watch, found.base)
        assert OWN.value.encode() in found.received
        assert found.connections == 1
        for place in ("path", "query", "body", "header X-Note"):
            with pytest.raises(EgressError, match=OWN.name):
                await ask(place, OWN.value, watch, found.base)
        with pytest.raises(EgressError, match=r"X-Api-Key holds polymaker\.api_key"):
            await ask("header X-Api-Key", OWN.value, watch, found.base, name="hummingbot")
        assert found.connections == 1


async def test_a_login_is_ones_own_too() -> None:
    mine = KnownSecret("hummingbot.password", "desk-password", "hummingbot")
    watch = guard(mine, OTHERS)
    async with peer() as found:
        async with Egress("hummingbot", found.base, watch, 2.0, login=("desk", mine.value)) as egress:
            assert (await egress.get("/")).status == 200
        assert base64.b64encode(b"desk:desk-password") in found.received
        async with Egress("hummingbot", found.base, watch, 2.0, login=("desk", OTHERS.value)) as egress:
            with pytest.raises(EgressError, match=r"header Authorization holds mqtt\.password"):
                await egress.get("/")
        assert found.connections == 1


async def test_a_header_is_searched_by_its_name_too_which_is_then_not_told() -> None:
    async with peer() as found:
        watch = guard(KnownSecret("http.token", "Tok-12345678", "http"))
        async with Egress("polymaker", found.base, watch, 2.0, headers={"X-Tok-12345678": "1"}) as egress:
            with pytest.raises(EgressError, match=r"name of a header holds http\.token") as told:
                await egress.get("/")
        assert "12345678" not in str(told.value)
        assert found.connections == 0


async def test_a_base_with_a_secret_in_it_is_stopped() -> None:
    async with peer() as found:
        async with Egress("polymaker", f"{found.base}/{quote(VAULT.value)}", guard(*KNOWN), 10.0) as egress:
            with pytest.raises(EgressError, match="url holds BITMART_SECRET"):
                await egress.get("/")
        assert found.connections == 0


@pytest.mark.parametrize("text", [ADDRESS, "0x" + "ab" * 32, "ab" * 32, f"to {ADDRESS}!"])
async def test_wallets_and_keys_that_nobody_knows_are_stopped(text: str) -> None:
    blocked = Blocked()
    watch = guard(blocked=blocked)
    async with peer() as found:
        for place in ("path", "query", "body", "header X-Note"):
            with pytest.raises(EgressError, match="what looks like a"):
                await ask(place, text, watch, found.base)
        await ask("header X-Api-Key", "ab" * 32, watch, found.base)
        assert found.connections == 1, "a key of its own may look like one"
    assert len(blocked.peers) == 4


async def test_tokens_of_the_local_api_go_nowhere(tmp_path: Path) -> None:
    """The one in the state folder, which no setting holds; and those of which only the hash is kept."""
    watch = guard(*KNOWN)
    own = load_or_make_token(tmp_path, HttpSettings())
    made = tokens.add(tmp_path, "scanner", "ingest", 0.0, expires=None, rate=None)
    watch.keep(own)
    watch.know(KNOWN)  # as a reload does
    async with peer() as found, Egress("polymaker", found.base, watch, 10.0) as egress:
        for text in (own, made, base64.b64encode(f"say {made}".encode()).decode()):
            for place in ("path", "query", "body", "header X-Note", "header X-Api-Key"):
                with pytest.raises(EgressError, match=r"http-token|a token of the local API"):
                    await ask(place, text, watch, found.base)
            with pytest.raises(EgressError, match=r"http-token|a token of the local API"):
                await egress.request("POST", "/t", body=Trade(condition=text))
        assert found.connections == 0
        await ask("body", f"x{made} and dh_short", watch, found.base)


async def test_declared_fields_hold_shapes_but_no_secret_of_others() -> None:
    async with peer() as found, Egress("polymaker", found.base, guard(*KNOWN), 10.0) as egress:
        condition = "0x" + "cd" * 32
        await egress.request("POST", "/t", body=Trade(condition=condition, market=(condition, "ef" * 32)))
        assert condition.encode() in found.received
        for held in ("0x" + KEY, KEY.upper(), OTHERS.value, OWN.value):
            with pytest.raises(EgressError, match="body holds"):
                await egress.request("POST", "/t", body=Trade(condition=held))
            with pytest.raises(EgressError, match="body holds"):
                await egress.request("POST", "/t", body=Trade(condition=condition, market=(condition, held)))
        with pytest.raises(EgressError, match="wallet address"):
            await egress.request("POST", "/t", body=Trade(condition=condition, note=ADDRESS))
        assert len(found.requests) == 1


async def test_exchange_credentials_pass_in_their_field_only() -> None:
    def keys(value: str, memo: str = "") -> Keys:
        return Keys.model_validate({"bitmart_secret_key": value, "memo": memo}, strict=False)

    async with peer() as found, Egress("hummingbot", found.base, guard(*KNOWN), 10.0) as egress:
        for value in (VAULT.value, "0x" + "cd" * 32, "typed in, unknown"):
            await egress.request("POST", "/c", body=keys(value), fresh=True)
        assert VAULT.value.encode() in found.received
        for other in (OTHERS, OWN, FOREIGN):
            with pytest.raises(EgressError, match=other.name):
                await egress.request("POST", "/c", body=keys(other.value))
        with pytest.raises(EgressError, match=VAULT.name):
            await egress.request("POST", "/c", body=keys("x", memo=VAULT.value))
        assert found.connections == 3


async def test_a_secret_that_only_the_whole_body_gives() -> None:
    class Two(Body):
        a: Hex64
        b: Hex64

    async with peer() as found:
        watch = guard(KnownSecret("odd", 'left","b":"right', "http"))
        async with Egress("polymaker", found.base, watch, 10.0) as egress:
            with pytest.raises(EgressError, match="odd"):
                await egress.request("POST", "/", body=Two(a="is left", b="right is"))
        assert found.connections == 0


async def test_large_bodies_are_searched_to_their_end() -> None:
    async with peer() as found, Egress("polymaker", found.base, guard(*KNOWN), 5.0) as egress:
        with pytest.raises(EgressError, match=VAULT.name):
            await egress.request("POST", "/", body=Note(text="lorem ipsum " * 80_000 + VAULT.value))
        with pytest.raises(EgressError, match="longer than 1 MiB"):
            await egress.request("POST", "/", body=Note(text="x" * 1024 * 1024))
        assert found.connections == 0
        assert (await egress.request("POST", "/", body=Note(text="lorem ipsum " * 80_000))).status == 200


async def test_what_is_no_secret_any_more_is_let_out_and_the_count_stays() -> None:
    watch = guard(*KNOWN)
    async with peer() as found:
        with pytest.raises(EgressError):
            await ask("body", VAULT.value, watch, found.base)
        watch.know([OTHERS])
        await ask("body", VAULT.value, watch, found.base)
        with pytest.raises(EgressError):
            await ask("body", OTHERS.value, watch, found.base)
        assert watch.shown()["blocked"] == 2


def test_nothing_was_stopped_yet() -> None:
    assert guard().shown() == {"blocked": 0, "last": None}


async def test_queries_declare_as_bodies_do() -> None:
    class ById(Query):
        condition: Hex64
        text: str = ""
        more: tuple[str, ...] = ()

    async with peer() as found, Egress("polymaker", found.base, guard(*KNOWN), 10.0) as egress:
        await egress.get("/m", query=ById(condition="0x" + "cd" * 32, more=("a b", "c&d")))
        assert found.requests[0].startswith(
            b"GET /m?condition=0x" + b"cd" * 32 + b"&text=&more=a%20b&more=c%26d HTTP/1.1\r\n"
        )
        bad: list[dict[str, Any]] = [{"condition": KEY}, {"condition": "", "text": ADDRESS}, {"condition": OWN.value}]
        for each in bad:
            with pytest.raises(EgressError, match="url holds"):
                await egress.get("/m", query=ById(**each))
        assert len(found.requests) == 1
