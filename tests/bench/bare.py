"""What Deskhand is measured against: the shortest honest forwarder, without journal, age limit, dedupe or guard.

`python -m tests.bench.bare BROKER_PORT TOPIC WS_URL`: aiomqtt's iterator, one websockets connection, uvloop.
"""

import asyncio
import json
import sys

import aiomqtt
import uvloop
from websockets.asyncio.client import connect


async def _forward(port: int, topic: str, url: str) -> None:
    async with (
        connect(url, compression=None, proxy=None) as keys,
        aiomqtt.Client("127.0.0.1", port, identifier=f"bare-{port}") as client,
    ):
        await client.subscribe(topic, qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            await keys.send(json.loads(message.payload)["id"])


if __name__ == "__main__":
    try:
        uvloop.run(_forward(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)
