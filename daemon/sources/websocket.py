"""Events over a WebSocket: `/ws`, one event per text frame, one JSON reply per frame, in order."""

import asyncio
from collections import deque
from functools import partial
from typing import Any

from starlette.routing import BaseRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from daemon.http.app import caller
from daemon.http.replies import dump
from daemon.http.roles import RoleSocket
from daemon.ports import Receipt, Status
from daemon.sources.door import Door, describe

IN_FLIGHT = 64
"""How many events of one connection may wait for their reply; then its frames are left in the socket."""
POLICY = 1008
"""The close code for a token that was removed or has expired since."""
_BINARY = Receipt(Status.INVALID, field="body", reason="send text frames; binary ones are not read")


def routes(intake: Door) -> list[BaseRoute]:
    """The routes of this source."""

    async def serve(socket: WebSocket) -> None:
        await socket.accept()
        await _Conversation(socket, intake).run()

    return [RoleSocket("ingest", "/ws", serve)]


class _Conversation:
    """One connection: a reader that offers each frame at once, and a writer that replies when each is safe."""

    def __init__(self, socket: WebSocket, intake: Door) -> None:
        self._socket = socket
        self._intake = intake
        self._caller = caller(socket)
        self._replies: deque[asyncio.Future[Receipt] | dict[str, Any]] = deque()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until either side ends it."""
        tasks = [
            asyncio.create_task(self._read(), name="websocket-read"),
            asyncio.create_task(self._write(), name="websocket-write"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                raise end

    async def _read(self) -> None:
        while True:
            await self._room.acquire()
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            if not self._caller.allowed():
                await self._socket.close(POLICY, "this token is not known any more")
                return
            text = message.get("text")
            wait_s = self._caller.must_wait(text or "")
            self._news.set()
            if wait_s:
                reason = self._caller.limit()
                self._replies.append({"status": "limited", "reason": reason, "retry_after": round(wait_s, 3)})
                continue
            answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            self._replies.append(answer)
            if text is None:
                answer.set_result(_BINARY)
            else:
                self._intake.offer(text, "websocket", partial(_settle, answer))
                self._intake.flush()

    async def _write(self) -> None:
        while self._socket.application_state is WebSocketState.CONNECTED:
            while not self._replies:
                self._news.clear()
                await self._news.wait()
            reply = self._replies.popleft()
            body = reply if isinstance(reply, dict) else describe(await reply)[1]
            await self._socket.send_text(dump(body).decode())
            self._room.release()


def _settle(answer: asyncio.Future[Receipt], receipt: Receipt) -> None:
    if not answer.done():  # cancelled with its connection
        answer.set_result(receipt)
