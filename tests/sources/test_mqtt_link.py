"""The MQTT connection fed with bytes that no honest broker sends, and with honest ones cut anywhere."""

import asyncio
from typing import Any

import pytest

from daemon.events import BODY_LIMIT
from daemon.sources.mqtt_ear import Ear
from daemon.sources.mqtt_link import Link
from tests.sources.door import Door


class Transport(asyncio.Transport):
    """A transport into nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.aborted = False
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: Any) -> None:
        self.out += data

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True


def link(door: Door, *, v5: bool = True) -> tuple[Link, Transport]:
    found = Link(
        client_id="t",
        v5=v5,
        offer=lambda raw, done: door.offer(raw, "mqtt", done, ts_required=True),
        flush=door.flush,
        refused=lambda _: None,
        retained=lambda: None,
        room=lambda: None,
        denied=lambda *_: None,
    )
    transport = Transport()
    found.connection_made(transport)
    return found, transport


def packet(payload: bytes, *, mid: int = 7, topic: bytes = b"t", properties: bytes = b"\0", head: int = 0x32) -> bytes:
    body = len(topic).to_bytes(2) + topic + (mid.to_bytes(2) if head & 6 else b"") + properties + payload
    size, out = len(body), bytearray([head])
    while True:
        out.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
        if not size:
            return bytes(out) + body


async def turn() -> None:
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)


@pytest.mark.parametrize("size", [1, 2, 3, 50, 10_000])
async def test_packets_cut_anywhere_are_put_together(size: int) -> None:
    door = Door()
    found, transport = link(door)
    long_properties = bytes((0x80 | 0x20, 1)) + bytes((0x26,)) + b"\0\2ab" + b"\0\x99" + b"c" * 153
    stream = (
        packet(b"one", mid=1)
        + packet(b"two" * 100, mid=2, topic=b"\xff\xfe\x80")
        + packet(b"three", mid=3, properties=long_properties)
        + packet(b"", mid=4)
        + packet(b"zero", head=0x30)
    )
    for at in range(0, len(stream), size):
        found.data_received(stream[at : at + size])
    await turn()
    assert door.raw == [b"one", b"two" * 100, b"three", b"zero"], "an empty message is no event, and is acknowledged"
    assert bytes(transport.out) == b"\x40\2\0\1\x40\2\0\2\x40\2\0\3\x40\2\0\4"
    assert not transport.aborted


async def test_acknowledgements_leave_in_the_order_of_the_events() -> None:
    door = Door()
    door.hold = True
    found, transport = link(door)
    found.data_received(b"".join(packet(b"x", mid=mid) for mid in (1, 2, 3)))
    waiting = door.waiting
    waiting[2](door.answer)
    waiting[1](door.answer)
    await turn()
    assert not transport.out
    waiting[0](door.answer)
    await turn()
    assert bytes(transport.out) == b"\x40\2\0\1\x40\2\0\2\x40\2\0\3"
    found.abort()


async def test_what_a_broker_sends_again_on_the_same_connection_is_acknowledged_once() -> None:
    """With a disk that hangs: EMQX 4 and VerneMQ do so after 20 to 30 s. A second answer that never went out kept all
    those behind it, and a broker sends no more than so many unacknowledged."""
    door = Door()
    door.hold = True
    found, transport = link(door)
    found.data_received(packet(b"a", mid=1) + packet(b"b", mid=2))
    for _ in range(2):
        found.data_received(packet(b"a", mid=1, head=0x3A) + packet(b"b", mid=2, head=0x3A))
    found.data_received(packet(b"c", mid=3, head=0x3A))
    door.release()
    await turn()
    assert bytes(transport.out) == b"\x40\2\0\1\x40\2\0\2\x40\2\0\3"
    assert door.raw == [b"a", b"b", b"c"]
    found.data_received(packet(b"d", mid=1, head=0x3A))
    assert door.raw[-1] == b"d", "an id that is free again"
    found.abort()


async def test_a_burst_is_taken_64_events_in_a_turn() -> None:
    door = Door()
    found, transport = link(door)
    found.data_received(b"".join(packet(b"x", mid=mid) for mid in range(1, 200)))
    assert (len(door.raw), door.flushes, transport.reading) == (64, 1, False)
    found.data_received(packet(b"x", mid=200))  # what the kernel had already handed over
    assert len(door.raw) == 64
    for _ in range(4):
        await turn()
    assert (len(door.raw), door.flushes, transport.reading) == (200, 4, True)
    found.abort()


async def test_a_giant_is_refused_without_being_held_in_memory() -> None:
    door = Door()
    found, transport = link(door)
    giant = packet(bytes(3_000_000), mid=9)
    for at in range(0, len(giant), 65_536):
        found.data_received(giant[at : at + 65_536])
    found.data_received(packet(b"next", mid=10))
    await turn()
    assert [len(raw) for raw in door.raw] == [BODY_LIMIT + 1, 4]
    assert bytes(transport.out) == b"\x40\2\0\x09\x40\2\0\x0a"


@pytest.mark.parametrize(
    "data",
    [
        b"\x32\xff\xff\xff\xff\xff",
        b"\x32\x03\xff\xff\0",
        b"\x32\x00",
        packet(b"", properties=b"\xff\xff\xff\xff\xff"),
        b"\x20\xff\xff\xff\x7f",
        b"\xf0\x05hello",
        b"\x90\x00",
        b"\x20\x01\x00",
    ],
)
async def test_malformed_packets_end_the_connection_and_nothing_else(data: bytes) -> None:
    door = Door()
    found, transport = link(door)
    found.data_received(packet(b"good", mid=1) + data)
    assert door.raw == [b"good"]
    assert transport.aborted or not found.is_up
    found.abort()


async def test_a_goodbye_that_was_given_up_may_still_come_to_its_end() -> None:
    found, _ = link(Door())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await found.close()  # a frozen broker answers no TLS goodbye
    found.connection_lost(None)


class Cut(Transport):
    """What uvloop leaves of a TLS connection that was given up while it came about: whoever writes is told off."""

    def close(self) -> None:
        raise RuntimeError("the handler is closed")


async def test_an_ear_given_up_amid_the_handshake_writes_no_goodbye() -> None:
    ear, transport = Ear(lambda *_: None, lambda: None), Cut()
    ear.connection_made(transport)
    ear.close()
    assert transport.aborted
