"""Somebody who guesses tokens: `PORT COUNT CONNECTIONS`; prints what was answered, and the longest wait, as JSON."""

import asyncio
import json
import os
import secrets
import sys
import time
from collections import Counter


class Guesser:
    """So many guesses over so many connections, each with a token of its own."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._left = count
        self.codes: Counter[int] = Counter()
        self.longest = 0.0

    async def guess(self) -> None:
        """One connection, again and again; a new one when it was closed."""
        while self._left > 0:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                while self._left > 0:
                    self._left -= 1
                    await self._once(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                self._left += 1
            finally:
                writer.close()

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"type":"entry","symbol":"EVIL"}'
        head = (
            "POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer dh_{secrets.token_urlsafe(32)}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        began = time.monotonic()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        self.codes[int(answer.split(b" ", 2)[1])] += 1
        self.longest = max(self.longest, time.monotonic() - began)


async def main(port: int, count: int, connections: int) -> None:
    """Guess, and tell."""
    os.nice(10)  # an attacker sits elsewhere: what it costs to guess is not to be the daemon's trouble on one core
    guesser = Guesser(port, count)
    await asyncio.gather(*(guesser.guess() for _ in range(connections)))
    print(json.dumps({"codes": guesser.codes, "longest_s": guesser.longest}))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
