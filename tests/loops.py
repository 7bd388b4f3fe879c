"""The loop that async tests run on: the daemon's, which in addition closes in order."""

import asyncio
import gc
import time
import warnings

import uvloop
from uvloop.loop import UVBaseTransport  # type: ignore[attr-defined]  # it is there, and not in the stubs

CLOSED_S = 10.0
"""How long a connection may take to be closed once a test is over, in seconds."""


class Loop(uvloop.Loop):
    """uvloop's, which takes what is open when it closes for lost: a TLS goodbye on its way, a peer that just hung up.

    Here such connections have time to end. One that nobody closes is an error of the test that left it open.
    """

    def close(self) -> None:
        """Wait for the connections, then close. What is still open is warned of once all is closed: amid it, a
        warning that is an error would leave a loop that hangs.
        """
        end = time.monotonic() + CLOSED_S
        while not self.is_closed() and self._connected() and time.monotonic() < end:
            self.run_until_complete(asyncio.sleep(0.001))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            super().close()
        for each in caught:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)

    def _connected(self) -> bool:
        found = (each for each in gc.get_referrers(self) if isinstance(each, UVBaseTransport))
        return any("closed=False" in repr(each) for each in found)
