"""Whatever a broker sends: topics, payloads and packets bent on the wire, cut anywhere."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import pytest

from daemon import events
from daemon.errors import EventError
from daemon.ports import Receipt, Status
from daemon.sources.mqtt_link import Link
from tests.fuzz.memory import COUNT, SEED, steady
from tests.fuzz.mutate import Mutator
from tests.fuzz.rules import broken

_TOPICS = (
    b"deskhand/events",
    b"deskhand/events/a/b",
    b"",
    b"/",
    b"\x00",
    b"\xff\xfe",
    b"#",
    "ｄ".encode(),
    b"x" * 65535,
)
_OTHER_PACKETS = (
    b"\x20\x03\x00\x00\x00",
    b"\x40\x02\x00\x01",
    b"\x90\x03\x00\x01\x01",
    b"\xd0\x00",
    b"\xe0\x00",
    b"\x62\x02\x00\x01",
)


_PER_LINK = 20


class _Transport:
    """Takes bytes and closes; what it took is counted, not kept."""

    def __init__(self) -> None:
        self.written = 0
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def _packet(mutator: Mutator, *, v5: bool) -> bytes:
    r = mutator.random
    if r.random() < 0.1:
        return r.choice(_OTHER_PACKETS)
    topic = r.choice(_TOPICS) if r.random() < 0.1 else b"deskhand/events"
    properties = r.choice(
        (b"\x00", b"\x00", b"\x00", b"\x02\x01\x01", b"\x05\x02\x00\x00\x00\x05", b"\xff", b"\x80\x80\x80\x80\x01")
    )
    body = (
        len(topic).to_bytes(2) + topic + r.randrange(65536).to_bytes(2) + (properties if v5 else b"") + mutator.event()
    )
    head = bytes((0x30 | r.choice((2, 2, 2, 10, 3, 0, 4, 6)),))
    length, size = bytearray(), len(body) + r.choice((0, 0, 0, 0, 0, 0, 0, 0, 1, -1))
    while True:
        size, digit = divmod(max(size, 0), 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return head + bytes(length) + body


class _Door:
    """An intake that judges and answers at once."""

    def __init__(self) -> None:
        self.offered: list[tuple[bytes, Callable[[Receipt], None]]] = []
        self.taken = self.refused = 0

    def offer(self, raw: bytes, done: Callable[[Receipt], None]) -> None:
        self.offered.append((raw, done))

    def flush(self) -> None:
        offered, self.offered = self.offered, []
        for raw, done in offered:
            try:
                events.settle_time(events.validate(events.decode(raw)), time.time(), required=True)
            except EventError as error:
                self.refused += 1
                done(Receipt(Status.INVALID, field=error.field, reason=error.problem))
            else:
                self.taken += 1
                assert broken(raw, ts_required=True) is None
                done(Receipt(Status.ACCEPTED, id="x"))


def _link(door: _Door, *, v5: bool) -> tuple[Link, _Transport]:
    link = Link(
        client_id="fuzz",
        v5=v5,
        offer=door.offer,
        flush=door.flush,
        refused=lambda _: None,
        retained=lambda: None,
        room=lambda: None,
        denied=lambda *_: None,
    )
    transport = _Transport()
    link.connection_made(cast(asyncio.BaseTransport, transport))
    return link, transport


@pytest.mark.timeout(600)
@pytest.mark.parametrize("v5", [True, False], ids=["v5", "v3.1.1"])
async def test_any_bytes_end_a_connection_at_most(v5: bool) -> None:
    mutator = Mutator(SEED + 1)
    door = _Door()
    link, _ = _link(door, v5=v5)
    connections = 1
    with steady(mebibytes=24) as settle:
        for number in range(COUNT // 2):
            if link.lost.done() or number % _PER_LINK == 0:  # a wrong length may make a link wait for megabytes
                link, _ = _link(door, v5=v5)
                connections += 1
            data = _packet(mutator, v5=v5)
            if mutator.random.random() < 0.1:
                data = mutator.damage(data, 1)
            cut = mutator.random.randrange(len(data) + 1) if mutator.random.random() < 0.2 else 0
            for part in (data[:cut], data[cut:]):
                if part and not link.lost.done():
                    link.data_received(part)
            if number % 100 == 0:
                await asyncio.sleep(0)  # acknowledgements go out, as they do between reads
            if number == COUNT // 20:
                settle()
    assert connections > 10
    assert door.taken > COUNT // 100
    assert door.refused > COUNT // 10
