"""The way to peers over HTTP: one host, no detours, bounded in time and size, and told apart by whether it was sent."""

import asyncio
import gzip
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from daemon.egress import Answer, Body, Credential, Query
from daemon.egress import client as module
from daemon.egress.address import addresses, private
from daemon.egress.client import MOST_BYTES, Egress
from daemon.errors import EgressError, UnreachableError
from tests.egress.peer import Blocked, guard, peer, said
from tests.fakes.certificates import self_signed


class Order(Body):
    amount: int = 1


class Keys(Body):
    key: Credential


class Page(Query):
    limit: int = 5


@asynccontextmanager
async def client(base: str, limit_s: float = 10.0, **more: Any) -> AsyncIterator[Egress]:
    async with Egress("hummingbot", base, guard(), limit_s, **more) as egress:
        yield egress


async def test_what_goes_out_and_what_comes_back() -> None:
    async with peer(said(b'{"a": 1.10}', 201, "Date: then")) as found:
        headers = {"X-Bot": "desk"}
        key, login = {"X-Api-Key": "k"}, ("desk", "secret")
        async with client(f"{found.base}/base/", headers=headers, credentials=key, login=login) as egress:
            answer = await egress.request("POST", "/x/{a}", values={"a": "b c:d"}, query=Page(), body=Order())
        assert (answer.status, answer.body, answer.headers["date"]) == (201, b'{"a": 1.10}', "then")
        assert answer.json() == {"a": Decimal("1.10")}
        assert "1.10" not in repr(answer)
        head, _, body = found.requests[0].partition(b"\r\n\r\n")
        line, *rest = head.decode().split("\r\n")
        assert line == "POST /base/x/b%20c%3Ad?limit=5 HTTP/1.1"
        assert sorted(rest) == [
            "Accept-Encoding: identity",
            "Accept: application/json",
            "Authorization: Basic ZGVzazpzZWNyZXQ=",
            "Content-Length: 12",
            "Content-Type: application/json",
            f"Host: 127.0.0.1:{found.port}",
            "User-Agent: deskhand",
            "X-Api-Key: k",
            "X-Bot: desk",
        ]
        assert body == b'{"amount":1}'


@pytest.mark.parametrize(
    "path", ["x", "", "//elsewhere.example/x", "@elsewhere.example/", ".elsewhere.example/", ":1/x"]
)
@pytest.mark.parametrize("more", ["", "?a=b", "#f", "/../x", "/./", "/%2e%2e/", "/a b", "/{name}", "/{", "/\n"])
async def test_no_path_leads_elsewhere(path: str, more: str) -> None:
    async with peer() as found, client(found.base) as egress:
        with pytest.raises(ValueError, match="a path"):
            await egress.get(path + more)
        assert found.connections == 0


@pytest.mark.parametrize("path", ["http://elsewhere.example/", "https://127.0.0.1/", "/x\\@elsewhere.example"])
async def test_an_address_of_its_own_is_refused_before_a_name_is_looked_up(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    async with client("http://peer.invalid") as egress:
        with pytest.raises(ValueError, match="a path"):
            await egress.get(path)


@pytest.mark.parametrize("value", ["..", ".", "", "a/b", "a\\b", "a\nb", "\ud800", "x" * 300])
async def test_no_value_leads_to_another_path(value: str) -> None:
    async with peer() as found, client(found.base) as egress:
        with pytest.raises(EgressError, match="its bot cannot stand in an address") as told:
            await egress.get("/bots/{bot}/status", values={"bot": value})
        assert not value or value not in str(told.value)
        assert found.connections == 0
        for good in ("..a", "@elsewhere.example", "a?b#c", "%2e%2e", "10.5", 7):
            await egress.get("/bots/{bot}/status", values={"bot": good})
        asked = [raw.split()[1] for raw in found.requests]
        assert asked[1:4] == [
            b"/bots/%40elsewhere.example/status",
            b"/bots/a%3Fb%23c/status",
            b"/bots/%252e%252e/status",
        ]


@pytest.mark.parametrize(
    "base", ["ftp://host", "host:80", "http://", "http://u:p@host", "http://host/?a=b", "http://host/#f", "http://[::1"]
)
def test_a_base_is_an_address_and_nothing_else(base: str) -> None:
    with pytest.raises(ValueError, match="a base is"):
        Egress("p", base, guard(), 1.0)


@pytest.mark.parametrize(("name", "value"), [("X-A", "a\r\nX-B: b"), ("X A", "a"), ("X-A:", "a"), ("X-A", "a\x00")])
def test_headers_hold_no_other_header(name: str, value: str) -> None:
    for kind in ("headers", "credentials"):
        with pytest.raises(ValueError, match="a header is a name and printable text"):
            Egress("p", "http://host", guard(), 1.0, **{kind: {name: value}})  # type: ignore[arg-type]  # one of two


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_told_and_not_followed(status: int) -> None:
    async with (
        peer() as other,
        peer(said(b"", status, f"Location: http://u:p@127.0.0.1:{other.port}/k?token=x")) as found,
    ):
        async with client(found.base) as egress:
            answer = await egress.request("POST", "/", body=Order())
        assert answer.status == status
        assert answer.redirect == f"it sends us to http://127.0.0.1:{other.port}, which is not followed"
        assert (other.connections, found.connections) == (0, 1)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/other", "it sends us to another path of its own, which is not followed"),
        ("", "it sends us to another path of its own, which is not followed"),
        ("https://evil.example/x", "it sends us to https://evil.example, which is not followed"),
        ("//evil.example", "it sends us to evil.example, which is not followed"),
        ("http://[::1]:8/", "it sends us to http://[::1]:8, which is not followed"),
        ("http://a b<script>/", "it sends us to an address that makes no sense, which is not followed"),
        ("http://[", "it sends us to an address that makes no sense, which is not followed"),
        ("file://etc/passwd", "it sends us to an address that makes no sense, which is not followed"),
    ],
)
def test_where_a_redirect_leads_in_words(location: str, told: str) -> None:
    assert Answer(302, {"location": location}, b"").redirect == told
    assert Answer(200, {"location": location}, b"").redirect == ""


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither proxies nor a login nor a trust of its own nor a file of TLS keys."""
    netrc, keys = tmp_path / "netrc", tmp_path / "keys"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    tls = self_signed(tmp_path)
    async with peer() as proxy, peer() as found, peer(tls=tls) as safe:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base)
            monkeypatch.setenv(name.lower(), proxy.base)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
        module._trust.cache_clear()
        async with client(found.base) as egress:
            assert (await egress.get("/")).status == 200
        async with client(f"https://127.0.0.1:{safe.port}") as egress:
            with pytest.raises(UnreachableError, match="certificate refused"):
                await egress.get("/")
        assert proxy.connections == 0
        assert b"authorization" not in bytes(found.received).lower()
        assert not keys.exists()


async def test_cookies_are_not_kept() -> None:
    async with peer(said(b"{}", 200, "Set-Cookie: a=b")) as found, client(found.base) as egress:
        await egress.get("/")
        await egress.get("/")
        assert b"ookie" not in found.received


async def test_connections_are_kept_and_fresh_ones_are_not() -> None:
    async with peer() as found, client(found.base) as egress:
        for _ in range(3):
            await egress.get("/")
        assert found.connections == 1
        for expected in (2, 3):
            await egress.request("POST", "/", body=Order(), fresh=True)
            assert found.connections == expected
        await egress.get("/")
        assert found.connections == 3


async def test_an_idle_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    async with peer() as found, client(found.base) as egress:
        await egress.get("/")
        await egress.get("/")
        assert found.connections == 2


async def test_a_closed_client_asks_nobody() -> None:
    async with peer() as found:
        async with client(found.base) as egress:
            await egress.get("/")
        with pytest.raises(UnreachableError, match="closed") as told:
            await egress.get("/")
        assert told.value.sent is False
        assert found.connections == 1


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "server.pem")


async def test_tls_checks_the_name_though_the_address_is_connected_to(tmp_path: Path) -> None:
    for host in ("localhost", "other.example"):
        async with (
            peer(tls=self_signed(tmp_path, host=host)) as found,
            client(f"https://localhost:{found.port}", tls=trusting(tmp_path)) as egress,
        ):
            if host == "localhost":
                assert (await egress.request("GET", "/", private_only=True)).status == 200
                assert f"Host: localhost:{found.port}\r\n".encode() in found.received
            else:
                with pytest.raises(UnreachableError, match="certificate refused: Hostname mismatch") as told:
                    await egress.get("/")
                assert told.value.sent is False
                assert found.requests == []


async def test_tls_is_always_checked(tmp_path: Path) -> None:
    for unchecked in ("name", "all"):
        context = ssl.create_default_context()
        context.check_hostname = False
        if unchecked == "all":
            context.verify_mode = ssl.CERT_NONE
        with pytest.raises(ValueError, match="always checked"):
            Egress("p", "https://host", guard(), 1.0, tls=context)
    async with peer(tls=self_signed(tmp_path)) as found, client(f"https://127.0.0.1:{found.port}") as egress:
        with pytest.raises(UnreachableError, match="certificate refused") as told:
            await egress.get("/")
        assert told.value.sent is False
        assert found.requests == []


NAMES: dict[str, list[str]] = {
    "private.test": ["127.0.0.1"],
    "public.test": ["93.184.216.34"],
    "mixed.test": ["127.0.0.1", "93.184.216.34"],
    "first.test": ["::1", "127.0.0.1"],
}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A resolver that knows NAMES; what it was asked."""
    asked: list[str] = []

    def look(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in NAMES[host]]

    real: Callable[..., Any] = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, *a, **k: look(host, port) if host in NAMES else real(host, port, *a, **k),
    )
    return asked


@pytest.mark.parametrize("name", ["public.test", "mixed.test"])
async def test_credentials_go_to_private_addresses_only(name: str, names: list[str]) -> None:
    blocked = Blocked()
    watch = guard(blocked=blocked)
    keys = Keys.model_validate({"key": "some"}, strict=False)
    async with peer() as found:
        async with Egress("hummingbot", f"http://{name}:{found.port}", watch, 10.0) as egress:
            asks: list[dict[str, Any]] = [{"body": keys}, {"private_only": True}]
            for ask in asks:
                with pytest.raises(EgressError, match="its address is neither loopback nor private"):
                    await egress.request("POST", "/", **ask)
        async with Egress("hummingbot", f"http://private.test:{found.port}", watch, 10.0) as egress:
            await egress.request("POST", "/", body=keys)
        assert found.connections == 1
        assert f"Host: private.test:{found.port}\r\n".encode() in found.received
    assert blocked.peers == ["hummingbot"] * 2
    assert names == [name, name, "private.test"]


async def test_what_was_checked_is_what_is_connected_to(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere when it is asked again: it is asked once."""
    monkeypatch.setitem(NAMES, "private.test", ["127.0.0.1"])
    async with peer() as found, client(f"http://private.test:{found.port}") as egress:
        await egress.request("GET", "/", private_only=True, fresh=True)
        assert names == ["private.test"]
        monkeypatch.setitem(NAMES, "private.test", ["93.184.216.34"])
        with pytest.raises(EgressError, match="neither loopback nor private"):
            await egress.request("GET", "/", private_only=True)
        assert found.connections == 1


async def test_the_next_address_is_tried_when_one_does_not_listen(names: list[str]) -> None:
    async with peer() as found, client(f"http://first.test:{found.port}") as egress:
        assert (await egress.get("/")).status == 200
        assert (await egress.get("/")).status == 200
    assert names == ["first.test"] * 2
    with pytest.raises(UnreachableError, match="Connection refused") as told:
        async with client(f"http://first.test:{found.port}") as egress:
            await egress.get("/")
    assert told.value.sent is False


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *((inside, True) for inside in ("127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.0.1", "172.31.255.255")),
        *((inside, True) for inside in ("192.168.1.1", "fd00::1", "169.254.1.1", "fe80::1%eth0", "100.64.0.1")),
        *((inside, True) for inside in ("100.127.255.254", "::ffff:10.0.0.1")),
        *((out, False) for out in ("8.8.8.8", "172.32.0.1", "100.128.0.1", "0.0.0.0", "::", "2001:db8::1", "11.0.0.1")),
        *((out, False) for out in ("::ffff:8.8.8.8", "224.0.0.1", "64:ff9b::7f00:1", "localhost", "", "127.1")),
    ],
)
def test_which_addresses_are_private(address: str, expected: bool) -> None:
    assert private(address) is expected


async def test_a_name_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_: Any, **__: Any) -> None:
        asyncio.run_coroutine_threadsafe(over.wait(), loop).result(10)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"no answer from the name server within 0.2 s"):
        await addresses("slow.test", 80, 0.2)
    assert time.monotonic() - began < 2
    over.set()


async def test_an_answer_of_the_largest_size() -> None:
    async with peer(said(bytes(MOST_BYTES))) as found, client(found.base, 5.0) as egress:
        assert len((await egress.get("/")).body) == MOST_BYTES


async def test_nothing_is_decompressed() -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 9)
    assert len(bomb) < MOST_BYTES
    async with peer(said(bomb, 200, "Content-Encoding: gzip")) as found, client(found.base, 5.0) as egress:
        before = _memory()
        answer = await egress.get("/")
        assert answer.body == bomb
        assert answer.json() is None
        assert _memory() - before < 50 * 1024 * 1024


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b"", None),
        (b"Internal Server Error", None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (b"9" * 9999, None),
    ],
)
def test_bodies_that_are_no_json(body: bytes, value: object) -> None:
    answer = Answer(500, {}, body)
    assert answer.json() is value
    assert isinstance(answer.text(), str)


async def test_many_at_once(tmp_path: Path) -> None:
    async with peer(tls=self_signed(tmp_path)) as found:
        async with client(f"https://127.0.0.1:{found.port}", 10.0, tls=trusting(tmp_path)) as egress:
            answers = await asyncio.gather(*(egress.get("/{n}", values={"n": n}) for n in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len(found.requests) == 50
        assert found.connections <= 8
