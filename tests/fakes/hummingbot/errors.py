"""How a route of the fake says no."""

from typing import Any


class RefusalError(Exception):
    """An answer other than success, as the server's HTTPException: `detail` goes out as JSON."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail


class CrashError(Exception):
    """What the server does not handle: 500 text/plain, and a dead connection. `status` and the text are what it would
    be without the trap.
    """

    def __init__(self, detail: str, status: int = 500) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
