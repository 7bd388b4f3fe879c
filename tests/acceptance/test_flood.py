"""A sender that is broken for hours: what it says is refused and counted, and the log stays short."""

import json
import re
import socket
import time
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path

from tests.acceptance.desk import Desk, KeyServer
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer

EACH = 5000
AT_ONCE = 100
HEAD = b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def post(desk: Desk, bodies: list[bytes]) -> int:
    """All of them to the unix socket, over several connections at a time; how many were answered 422."""
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(AT_ONCE)]
        for connection in connections:
            connection.settimeout(30)
            connection.connect(str(desk.socket_path))
        readers = [stack.enter_context(connection.makefile("rb")) for connection in connections]
        refused = 0
        for start in range(0, len(bodies), AT_ONCE):
            part = bodies[start : start + AT_ONCE]
            for body, connection in zip(part, connections, strict=False):
                connection.sendall(HEAD % len(body) + body)
            refused += sum(answer(reader) == b"422" for _, reader in zip(part, readers, strict=False))
        return refused


def answer(reader: BufferedReader) -> bytes:
    """Read one answer to its end; its status."""
    status = reader.readline().split()[1]
    length = 0
    while line := reader.readline().strip().lower():
        name, _, value = line.partition(b":")
        length = int(value) if name == b"content-length" else length
    reader.read(length)
    return status


def test_10000_refused_events_are_a_few_lines_and_their_number(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto
) -> None:
    with Desk(tmp_path, {"main": keys}, broker=broker) as desk:
        before = len(desk.log().splitlines())
        ahead = {"type": "entry", "symbol": "AAPL", "ts": time.time() + 86_400}
        over_http = [json.dumps(ahead | {"id": f"a{n}"}).encode() for n in range(EACH)]
        last = desk.make("sl", trade_id="last")
        with MqttPeer(broker.port, listen=None) as peer:
            peer.publish_all(['{"type": "entry"}'] * EACH)
            peer.publish_all([json.dumps(last)])
        assert post(desk, over_http) == EACH
        for number in range(30):  # outcomes are written, however much else is held back
            code, _ = desk.post("entry", wait=10, side="short", trade_id=f"m-{number}")
            assert code == 409
        assert desk.ended(last["id"])["deliveries"][0]["result"] == "done"
        assert desk.stop() == 0
        log = desk.log().splitlines()[before:]
    lines = [line for line in log if " was refused: " in line]
    told = [int(n) for line in lines for n in re.findall(r"(\d+) more like this", line)]
    assert sum(told) + len(lines) - len(told) == 2 * EACH, "each was written or counted"
    assert len(lines) < 50, log[:60]
    assert sum(" WARNING " in line and ": refused, " in line for line in log) == 30
