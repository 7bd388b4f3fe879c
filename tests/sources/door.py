"""A stand-in for intake."""

from collections.abc import Callable

from daemon.ports import Receipt, Status


class Door:
    """A stand-in for intake: keeps what it is offered, answers at flush unless `hold`."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.waiting: list[Callable[[Receipt], None]] = []
        self.flushes = 0
        self.hold = False
        self.answer = Receipt(Status.ACCEPTED, "x")

    def offer(
        self, raw: bytes | str, origin: str, done: Callable[[Receipt], None], *, ts_required: bool = False
    ) -> None:
        assert (origin, ts_required) == ("mqtt", True)
        assert isinstance(raw, bytes)
        self.raw.append(raw)
        self.waiting.append(done)

    def flush(self) -> None:
        self.flushes += 1
        if not self.hold:
            self.release()

    def release(self) -> None:
        waiting, self.waiting = self.waiting, []
        for done in waiting:
            done(self.answer)
