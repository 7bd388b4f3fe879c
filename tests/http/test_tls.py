"""TLS on the local server: who gets in, who is cut off, and another certificate without dropping anybody."""

import asyncio
import contextlib
import http.client
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_der_x509_certificate
from websockets.asyncio.client import connect

from daemon.control.routes import routes as control_routes
from daemon.errors import ConfigError
from daemon.http import protocol
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from daemon.sources import webhook, websocket
from tests.dispatch.support import until
from tests.fakes.certificates import self_signed
from tests.http.stub import AUTH, ENTRY, TOKEN, Reply, StubDesk

LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])


def certificate(folder: Path, passphrase: bytes = b"") -> tuple[Path, Path]:
    """A certificate and its key, as files; made anew each time."""
    folder.mkdir(exist_ok=True)
    self_signed(folder)
    cert, key = folder / "server.pem", folder / "server.key"
    if passphrase:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        locked = serialization.BestAvailableEncryption(passphrase)
        pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        key.write_bytes(pem)
    key.chmod(0o600)
    return cert, key


def settings(cert: Path, key: Path, **more: Any) -> HttpSettings:
    return HttpSettings(port=0, tls_cert=cert, tls_key=key, **more)


def trusting(cert: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(cert))
    context.set_alpn_protocols(["http/1.1"])
    return context


def fetch(port: int, context: ssl.SSLContext, method: str = "GET", path: str = "/status", body: Any = None) -> Reply:
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=15, context=context)
    with contextlib.closing(client):
        client.request(method, path, body, AUTH)
        return Reply(client.getresponse())


def fetch_status(port: int, cert: Path, token: str) -> int:
    """What a sender who trusts that certificate is answered to `GET /status`."""
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=15, context=trusting(cert))
    with contextlib.closing(client):
        client.request("GET", "/status", headers={"Authorization": f"Bearer {token}"})
        return client.getresponse().status


def serial(port: int, name: str | None = None) -> int:
    """The serial number of the certificate shown, with or without a name asked for."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return load_der_x509_certificate(shown).serial_number


def make(folder: Path, desk: StubDesk, http: HttpSettings) -> LocalServer:
    routes = [*webhook.routes(desk.intake), *websocket.routes(desk.intake), *control_routes(desk)]
    return LocalServer(http, folder / "s", TOKEN, routes)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return certificate(tmp_path / "one")


@pytest.fixture
async def server(tmp_path: Path, desk: StubDesk, files: tuple[Path, Path]) -> AsyncIterator[LocalServer]:
    running = make(tmp_path, desk, settings(*files))
    await running.start()
    yield running
    await running.stop()


@LOOPS
def test_all_of_it_on_both_loops(
    factory: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, files: tuple[Path, Path]
) -> None:
    async def scenario() -> None:
        desk = StubDesk()
        server = make(tmp_path, desk, settings(*files))
        await server.start()
        context = trusting(files[0])
        try:
            for number in range(3):
                body = ENTRY.replace(b"e-1", b"e-%d" % number)
                assert (await asyncio.to_thread(fetch, server.bound_port, context, "POST", "/events", body)).code == 202
            big = b'{"x":"' + b"y" * 60_000 + b'"}'  # more than one read
            assert (await asyncio.to_thread(fetch, server.bound_port, context, "POST", "/events", big)).code == 422
            url = f"wss://127.0.0.1:{server.bound_port}/ws"
            async with connect(url, additional_headers=AUTH, ssl=context, proxy=None) as ws:
                await ws.send('{"type":"sl","symbol":"AAPL"}')
                assert "accepted" in str(await ws.recv())
            reader, writer = await asyncio.open_connection("127.0.0.1", server.bound_port, ssl=context)
            head = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
            writer.write(head * 3)  # pipelined, and with the end of the handshake
            for _ in range(3):
                await asyncio.wait_for(reader.readuntil(b'"live"}'), 5)
            writer.close()
            with pytest.raises((ssl.SSLError, http.client.HTTPException, ConnectionError)):
                await asyncio.to_thread(_plain, server.bound_port)
        finally:
            await asyncio.wait_for(server.stop(), 5)
        assert len(desk.intake.seen) == 5

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


def _plain(port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(client):
        client.request("GET", "/health/live")
        client.getresponse()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_are_refused(server: LocalServer, files: tuple[Path, Path], version: ssl.TLSVersion) -> None:
    context = trusting(files[0])
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.to_thread(fetch, server.bound_port, context)
    context = trusting(files[0])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await asyncio.to_thread(fetch, server.bound_port, context)).code == 200


@LOOPS
def test_who_never_shakes_hands_is_cut_off(
    factory: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_S", 1.0)
    monkeypatch.setattr(protocol, "CONNECTIONS", 4)

    async def scenario() -> None:
        server = make(tmp_path, StubDesk(), settings(*files))
        await server.start()
        context = trusting(files[0])
        try:
            silent = [await asyncio.open_connection("127.0.0.1", server.bound_port) for _ in range(8)]
            half = await asyncio.open_connection("127.0.0.1", server.bound_port)
            half[1].write(b"\x16\x03\x01\x02\x00\x01")
            # Meanwhile they keep nobody out.
            assert (await asyncio.to_thread(fetch, server.bound_port, context)).code == 200
            for reader, writer in (*silent, half):
                with contextlib.suppress(ConnectionResetError):
                    await asyncio.wait_for(reader.read(), 5)
                writer.close()
            state = server._running[0][0].server_state
            await until(lambda: not state.connections and len(state.tasks) == 1)  # the listener
        finally:
            await server.stop()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


async def test_it_stops_in_the_middle_of_handshakes(server: LocalServer) -> None:
    pairs = [await asyncio.open_connection("127.0.0.1", server.bound_port) for _ in range(5)]
    await asyncio.wait_for(server.stop(), 5)
    for reader, writer in pairs:
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_another_certificate_drops_nobody(server: LocalServer, tmp_path: Path, files: tuple[Path, Path]) -> None:
    port = server.bound_port
    first = await asyncio.to_thread(serial, port)
    held = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(files[0]))
    certificate(tmp_path / "one")  # renewed in place
    assert await asyncio.to_thread(serial, port) == first
    server.prepare(settings(*files), TOKEN)()
    for name in (None, "localhost"):
        assert await asyncio.to_thread(serial, port, name) != first
    held[1].write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(held[0].readuntil(b'"live"}'), 5)
    held[1].close()
    assert (await asyncio.to_thread(fetch, port, trusting(files[0]))).code == 200


async def test_a_bad_certificate_changes_nothing(server: LocalServer, tmp_path: Path, files: tuple[Path, Path]) -> None:
    before = await asyncio.to_thread(serial, server.bound_port)
    _, other_key = certificate(tmp_path / "two")
    with pytest.raises(ConfigError, match=r"http\.tls_key: .* is not the key of"):
        server.prepare(settings(files[0], other_key), TOKEN)
    with pytest.raises(ConfigError, match=r"http\.tls_cert: .* needs a restart"):
        server.prepare(HttpSettings(port=0), TOKEN)
    assert await asyncio.to_thread(serial, server.bound_port) == before


def test_files_that_cannot_be_used(tmp_path: Path, desk: StubDesk, files: tuple[Path, Path]) -> None:
    cert, key = files
    nothing = tmp_path / "nothing.pem"
    for http_settings, words in (
        (settings(nothing, key), r"http\.tls_cert: .*nothing\.pem cannot be read: No such file"),
        (settings(cert, nothing), r"http\.tls_key: .*nothing\.pem cannot be read: No such file"),
        (settings(cert, tmp_path), r"http\.tls_key: .* cannot be read: Is a directory"),
        (settings(key, key), r"http\.tls_cert: .* are no certificate and key in PEM form"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(tmp_path, desk, http_settings)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"http\.tls_key: others can read .*; run: chmod 600"):
        make(tmp_path, desk, settings(cert, key))
    key.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(key, 12345, -1)
        with pytest.raises(ConfigError, match=r"http\.tls_key: .* belongs to another user"):
            make(tmp_path, desk, settings(cert, key))


def test_a_key_with_a_passphrase_is_refused_without_asking(tmp_path: Path, desk: StubDesk) -> None:
    with pytest.raises(ConfigError, match="without passphrase"):
        make(tmp_path, desk, settings(*certificate(tmp_path / "locked", passphrase=b"pass")))
