"""The spawned daemon under a rain of malformed input from every side: it lives, stays small, and presses nothing."""

import contextlib
import http.client
import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.acceptance.desk import until
from tests.bench import parts, publisher
from tests.fuzz.memory import COUNT, SEED, resident
from tests.fuzz.mutate import CANARY, Mutator
from tests.fuzz.rules import broken

_GROWTH_MIB = 40.0
_RAW = max(20, COUNT // 100)  # connections that speak nonsense below the level of messages


@dataclass(frozen=True, slots=True)
class Rain:
    """The daemon, and how to reach it."""

    subject: parts.Subject
    receiver: parts.Asked
    http_port: int
    broker_port: int
    token: str

    def good(self, name: str) -> bytes:
        """An event that must press exactly one key."""
        return publisher.event(name, 0, time.time())

    def pressed(self, count: int) -> list[str]:
        """The ids of all keys pressed so far, once there are `count` and no more come."""
        self.receiver.ask(f"wait {count} 60 60")
        return [text.split()[-1] for _, text in self.receiver.ask(f"wait {count + 1} 0.5 0.5")]

    def memory(self) -> float:
        """The daemon's resident memory, MiB; fails if it died."""
        return resident(self.subject.running.process.pid)


@pytest.fixture
def rain(tmp_path: Path) -> Iterator[Rain]:
    with contextlib.ExitStack() as stack:
        broker, broker_port = parts.broker(tmp_path)
        stack.callback(broker.stop)
        receiver = parts.Asked("receiver", tmp_path / "receiver.log")
        stack.callback(receiver.stop)
        http_port = parts.free_port()
        url = f"ws://127.0.0.1:{receiver.hello}/"
        subject = parts.deskhand(tmp_path, broker_port, url, "persistent", "deskhand", http_port=http_port)
        stack.callback(subject.stop)
        subject.start()
        parts.until_listening(http_port)
        token = (tmp_path / "deskhand/state/http-token").read_text().strip()
        until(lambda: _status(http_port, token)["mqtt"] == "connected")  # nobody keeps what comes before its session
        yield Rain(subject, receiver, http_port, broker_port, token)


def _status(port: int, token: str) -> Any:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        line.request("GET", "/status", headers={"Authorization": f"Bearer {token}"})
        return json.loads(line.getresponse().read())
    finally:
        line.close()


def _malformed(mutator: Mutator, *, ts_required: bool = False) -> bytes:
    """An input that breaks a rule of CONTRACT for certain."""
    while True:
        raw = mutator.event()
        if broken(raw, ts_required=ts_required) is not None:
            return raw


def _watched(rain: Rain, feed: Callable[[int], None]) -> None:
    """Feed a tenth, look at the memory, feed the rest, look again."""
    feed(COUNT // 10)
    before = rain.memory()
    feed(COUNT - COUNT // 10)
    grown = rain.memory() - before
    assert grown < _GROWTH_MIB, f"the daemon grew by {grown:.1f} MiB"


def _hush(answer: bytes | str, raw: bytes) -> None:
    text = answer if isinstance(answer, str) else answer.decode()
    if CANARY in text:
        assert any(CANARY in key for key in _keys(raw)), f"{text} echoes a value of {raw[:300]!r}"


def _keys(raw: bytes) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(raw, object_pairs_hook=lambda pairs: found.extend(key for key, _ in pairs))
    return found


@pytest.mark.timeout(3600)
def test_http(rain: Rain) -> None:
    mutator = Mutator(SEED + 3)
    line = http.client.HTTPConnection("127.0.0.1", rain.http_port, timeout=20)
    headers = {"Authorization": f"Bearer {rain.token}"}

    def feed(count: int) -> None:
        for _ in range(count):
            raw = _malformed(mutator)
            line.request("POST", "/events", raw, headers)
            answer = line.getresponse()
            said = answer.read()
            assert answer.status == (413 if len(raw) > 65536 else 422), (answer.status, said, raw[:300])
            _hush(said, raw)

    _watched(rain, feed)
    whole = (
        f"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {rain.token}\r\nContent-Length: 2\r\n\r\n[]"
    )
    for _ in range(_RAW):
        with socket.create_connection(("127.0.0.1", rain.http_port), 20) as raw_line, contextlib.suppress(OSError):
            raw_line.sendall(mutator.damage(whole.encode(), mutator.random.randint(1, 4)))
            select.select([raw_line], [], [], 0.02)
    line.close()
    line.request("POST", "/events", rain.good("http"), headers)
    assert line.getresponse().status == 202
    line.close()
    assert rain.pressed(1) == ["http-0"]
    rain.memory()


@pytest.mark.timeout(3600)
def test_mqtt(rain: Rain) -> None:
    mutator = Mutator(SEED + 4)
    line = publisher.connect(rain.broker_port)
    topic = rain.subject.topic
    sent = keys = 0

    def feed(count: int) -> None:
        """Malformed ones, then a good one: when its key is pressed all before it have been judged."""
        nonlocal sent, keys
        batch: list[bytes] = []
        for _ in range(count):
            under = mutator.random.choice(("", "/a", "/é/b", "/" + "x" * 200))
            batch.append(publisher.packet(topic + under, len(batch), _malformed(mutator, ts_required=True)))
        batch.append(publisher.packet(topic, len(batch), rain.good(f"mqtt{keys}")))
        data = memoryview(b"".join(batch))
        while data:
            readable, writable, _ = select.select([line], [line], [], 20)
            if readable:
                assert line.recv(65536), "the broker threw the publisher out"
            if writable:
                data = data[line.send(data[:65536]) :]
        sent += count
        keys += 1
        assert rain.pressed(keys) == [f"mqtt{number}-0" for number in range(keys)]

    _watched(rain, feed)
    line.close()


@pytest.mark.timeout(3600)
def test_websocket(rain: Rain) -> None:
    mutator = Mutator(SEED + 5)
    headers = {"Authorization": f"Bearer {rain.token}"}
    url = f"ws://127.0.0.1:{rain.http_port}/ws"

    def dial() -> ClientConnection:
        return connect(url, additional_headers=headers, compression=None, proxy=None, max_size=None, legacy=True)

    line = dial()

    def feed(count: int) -> None:
        nonlocal line
        for _ in range(count):
            text = _malformed(mutator).decode("utf-8", "replace")
            if broken(text.encode()) is None:
                continue
            try:
                line.send(text)
                answer = str(line.recv(20))
            except ConnectionClosed:
                assert len(text.encode()) > 65536, f"hung up on {text[:300]!r}"
                line = dial()
                continue
            assert json.loads(answer)["status"] == "invalid", (answer, text[:300])
            _hush(answer, text.encode())

    _watched(rain, feed)
    for _ in range(_RAW):
        _nonsense(rain, mutator)
    line.send(rain.good("ws").decode())
    assert json.loads(line.recv(20))["status"] == "accepted"
    line.close()
    assert rain.pressed(1) == ["ws-0"]
    rain.memory()


def _nonsense(rain: Rain, mutator: Mutator) -> None:
    """A proper handshake, then frames that are none."""
    r = mutator.random
    shake = (
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {rain.token}\r\n\r\n"
    )
    good = bytes((0x81, 0x82, 0, 0, 0, 0)) + b"[]"
    with socket.create_connection(("127.0.0.1", rain.http_port), 20) as line, contextlib.suppress(OSError):
        line.sendall(shake.encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 101")
        line.sendall(r.randbytes(r.randint(1, 60)) if r.random() < 0.3 else mutator.damage(good * 3, r.randint(1, 4)))
        select.select([line], [], [], 0.02)
