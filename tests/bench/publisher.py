"""Publishes trade events over MQTT QoS 1 at a given pace, with packets made by hand so that it costs next to nothing.

A process of its own, steered by lines on stdin: `RATE COUNT TOPIC TAG` publishes COUNT events with the ids `TAG-0`,
`TAG-1`, ... at RATE per second (0: as fast as the broker takes them) and answers with one JSON line: the send times in
CLOCK_MONOTONIC nanoseconds, in order, once the broker has acknowledged every one.
"""

import contextlib
import json
import select
import socket
import sys
import time

# MQTT 3.1.1, clean session, no keep-alive, client id "pub".
_CONNECT = bytes.fromhex("10 0f 0004 4d515454 04 02 0000 0003 707562")
_QOS1 = 0x32
_PUBACK_SIZE = 4


def connect(port: int) -> socket.socket:
    """A connection to the broker on this port, CONNACK read."""
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(_CONNECT)
    answer = line.recv(4)
    if answer[:1] != b"\x20" or answer[3] != 0:
        raise ConnectionError("the broker refused the publisher")
    line.setblocking(False)
    return line


def event(tag: str, number: int, now: float) -> bytes:
    """A valid event of the contract; `now` is its time in seconds since the epoch.

    A tag that ends in `@FIRST` makes trades for a Command Center: in and out in turn, with cycles from FIRST on.
    """
    _, trades, first = tag.rpartition("@")
    if trades:
        kind, trade = ("close", number - 1) if number % 2 else ("entry", number)
        return (
            f'{{"type":"{kind}","symbol":"BTC-15M","id":"{tag}-{number}","ts":{now:.3f},"trade_id":"{tag}-{trade}",'
            f'"price":"0.42","quantity":"25","strategy":"bench",'
            f'"meta":{{"asset":"BTC","window":"15m","token_id":"7132","cycle":{int(first) + number}}}}}'
        ).encode()
    return (
        f'{{"type":"entry","symbol":"AAPL","id":"{tag}-{number}","ts":{now:.3f},"side":"long","price":"189.20",'
        f'"quantity":100,"strategy":"bench"}}'
    ).encode()


def packet(topic: str, number: int, payload: bytes) -> bytes:
    """One PUBLISH of quality of service 1."""
    name = topic.encode()
    body = len(name).to_bytes(2) + name + (number % 65535 + 1).to_bytes(2) + payload
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return bytes((_QOS1,)) + length + body


class Publisher:
    """Sends packets and counts the broker's acknowledgements without ever standing still for one."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._acknowledged = 0

    def _drain(self, wait: float) -> None:
        if not select.select([self._line], [], [], wait)[0]:
            return
        data = self._line.recv(65536)
        if not data:
            raise ConnectionError("the broker closed the publisher's connection")
        self._acknowledged += len(data)

    def _finish(self, count: int) -> None:
        while self._acknowledged < count * _PUBACK_SIZE:
            self._drain(5.0)
        self._acknowledged = 0

    def paced(self, rate: float, count: int, topic: str, tag: str) -> list[int]:
        """One event every 1/rate seconds on a fixed timetable."""
        sent = []
        start = time.monotonic()
        for number in range(count):
            due = start + number / rate
            while (left := due - time.monotonic()) > 0:
                if left > 0.002:
                    self._drain(left - 0.001)  # the acknowledgements are read while there is nothing to send
                else:
                    time.sleep(left)
            data = packet(topic, number, event(tag, number, time.time()))
            sent.append(time.monotonic_ns())
            self._line.send(data)
        self._finish(count)
        return sent

    def burst(self, count: int, topic: str, tag: str) -> list[int]:
        """Everything at once; only the first send time means anything, so it stands for all."""
        now = time.time()
        data = memoryview(b"".join(packet(topic, n, event(tag, n, now)) for n in range(count)))
        start = time.monotonic_ns()
        while data:
            select.select([self._line], [self._line], [])
            with contextlib.suppress(BlockingIOError):
                data = data[self._line.send(data[:65536]) :]
            self._drain(0)
        self._finish(count)
        return [start] * count


def main(port: int) -> None:
    """Do what stdin asks until it ends."""
    publisher = Publisher(connect(port))
    print("ready", flush=True)
    for line in sys.stdin:
        rate, count, topic, tag = line.split()
        if float(rate):
            sent = publisher.paced(float(rate), int(count), topic, tag)
        else:
            sent = publisher.burst(int(count), topic, tag)
        print(json.dumps(sent), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
