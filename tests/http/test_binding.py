"""When others on the network may reach the local server."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from pydantic import SecretStr

from daemon.errors import ConfigError
from daemon.http import binding, tokens
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings, load
from tests.http.stub import TOKEN, ask, exchange
from tests.http.test_tls import certificate

NOW = 1_800_000_000.0
LAN = "others on the network could reach it"
NEED = "others on the network need a token: run `deskhand token add NAME --role ingest`"
Rule = Callable[[Path, HttpSettings], None]


def add(folder: Path, expires: float | None = None) -> str:
    return tokens.add(folder, "a", "ingest", 1.0, expires=expires, rate=None)


@pytest.mark.parametrize(
    ("given", "made", "words"),
    [
        ({}, None, LAN),
        ({}, "for ever", LAN),
        ({"token": SecretStr("x" * 16)}, "for ever", LAN),
        ({"allow_plaintext_lan": True}, None, NEED),
        ({"allow_plaintext_lan": True}, "expired", ""),
        ({"allow_plaintext_lan": True}, "until tomorrow", ""),
        ({"allow_plaintext_lan": True}, "for ever", ""),
        ({"allow_plaintext_lan": True, "token": SecretStr("x" * 15)}, None, NEED),
        ({"allow_plaintext_lan": True, "token": SecretStr("x" * 16)}, None, ""),
        ({"tls": True}, None, NEED),
        ({"tls": True}, "for ever", ""),
        ({"tls": True, "token": SecretStr("x" * 16)}, None, ""),
    ],
)
def test_the_rule(tmp_path: Path, given: dict[str, Any], made: str | None, words: str) -> None:
    if given.pop("tls", False):
        cert, key = certificate(tmp_path / "tls")
        given |= {"tls_cert": cert, "tls_key": key}
    (tmp_path / "http-token").write_text("the-one-of-the-first-start-does-not-count")
    if made:
        add(tmp_path, {"expired": NOW, "until tomorrow": NOW + 86400}.get(made))
    assert binding.refusal(HttpSettings(host="0.0.0.0", **given), tmp_path).startswith(words)
    assert bool(binding.refusal(HttpSettings(host="0.0.0.0", **given), tmp_path)) is bool(words)


def configured(folder: Path, http: str, **more: str) -> None:
    """What `check` and `run` ask of a configuration. Raises ConfigError."""
    file = folder / "deskhand.yaml"
    file.write_text(f"mode: practice\nhttp: {http}\n")
    environ = {"HOME": str(folder), "DESKHAND_STATE_DIR": str(folder / "state")} | more
    binding.check(load(file, None, (), environ))


def test_a_problem_names_its_line(tmp_path: Path) -> None:
    place = r"deskhand\.yaml:2: http\."
    with pytest.raises(ConfigError, match=f"{place}host: {LAN}"):
        configured(tmp_path, "{host: 192.168.1.9}")
    with pytest.raises(ConfigError, match=f"{place}host: others on the network need a token"):
        configured(tmp_path, "{host: 192.168.1.9, allow_plaintext_lan: true}")
    with pytest.raises(ConfigError, match=f"{place}tls_key: .*gone.key cannot be read: No such file"):
        configured(tmp_path, "{tls_cert: /gone.pem, tls_key: /gone.key}")
    with pytest.raises(ConfigError, match="DESKHAND_HTTP_TOKEN: must have 16 characters or more"):
        configured(tmp_path, "{host: '::', allow_plaintext_lan: true}", DESKHAND_HTTP_TOKEN="x" * 15)
    configured(tmp_path, "{host: '::', allow_plaintext_lan: true}", DESKHAND_HTTP_TOKEN="x" * 16)
    add(tmp_path / "state")
    configured(tmp_path, "{host: 192.168.1.9, allow_plaintext_lan: true}")
    for host in ("127.0.0.1", "localhost", "'::1'", "127.9.9.9"):
        configured(tmp_path, f"{{host: {host}}}", DESKHAND_HTTP_TOKEN="x" * 8)


def address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has loopback alone")
        return str(sock.getsockname()[0])


async def test_on_the_network(tmp_path: Path) -> None:
    here = address()
    made = add(tmp_path / "state")
    http = HttpSettings(host="0.0.0.0", port=0, allow_plaintext_lan=True)
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    server = LocalServer(http, tmp_path / "s", TOKEN, [], state=tmp_path / "state")
    await server.start()
    logger.remove(sink)
    assert "open to the network without TLS" in "".join(lines)
    try:
        for host, code in (
            (here, 404), (f"{here}:{server.bound_port}", 404), ("192.0.2.7", 403), ("desk.lan", 403),
            (socket.gethostname(), 403),
        ):  # fmt: skip
            answer = await asyncio.to_thread(_get, here, server.bound_port, host, made)
            assert answer.startswith(f"HTTP/1.1 {code} ".encode()), host
        # Over loopback the other address is not the connection's own.
        raw = f"GET /x HTTP/1.1\r\nHost: {here}\r\nAuthorization: Bearer {made}\r\nConnection: close\r\n\r\n"
        assert (await exchange(server.bound_port, raw.encode())).startswith(b"HTTP/1.1 403 ")
        assert (await ask(server.bound_port, "GET", "/x", None, {"Authorization": f"Bearer {made}"})).code == 404
    finally:
        await server.stop()


def _get(to: str, port: int, host: str, token: str) -> bytes:
    with socket.create_connection((to, port), 10) as sock:
        head = f"GET /x HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        return sock.recv(4096)


async def test_nothing_listens_when_the_rule_is_broken(tmp_path: Path) -> None:
    http = HttpSettings(host="0.0.0.0", port=0, allow_plaintext_lan=True)
    server = LocalServer(http, tmp_path / "s", TOKEN, [], state=tmp_path / "state")
    with pytest.raises(ConfigError, match=r"http\.host: others on the network need a token"):
        server.bind()
    assert not (tmp_path / "s").exists()
    add(tmp_path / "state")
    server.bind()
    await server.stop()


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_socket_of_the_unit_follows_the_same_rule(tmp_path: Path, allowed: bool) -> None:
    add(tmp_path / "state")
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        sock.listen()
        http = HttpSettings(port=0, allow_plaintext_lan=allowed)
        server = LocalServer(
            http,
            tmp_path / "s",
            TOKEN,
            [],
            state=tmp_path / "state",
            given=[sock.fileno() if not allowed else sock.dup().detach()],
        )
        if not allowed:
            with pytest.raises(ConfigError, match=rf"listens on 0\.0\.0\.0: .* because {LAN}"):
                server.bind()
            return
        await server.start()
        assert (await ask(server.bound_port, "GET", "/x")).code == 404
        await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root asks for somebody else")
def test_root_asks_for_the_service(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 4321, 4321)
    with pytest.raises(ConfigError, match=rf"http\.tls_key: .*{key.name} belongs to another user; run: chown 4321 "):
        configured(tmp_path, f"{{tls_cert: {cert}, tls_key: {key}}}")
    os.chown(key, 4321, -1)
    configured(tmp_path, f"{{tls_cert: {cert}, tls_key: {key}}}")
