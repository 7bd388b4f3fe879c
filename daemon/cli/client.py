"""The way from a verb to the running daemon: HTTP over its unix socket, with the standard library only.

Verbs import this and nothing heavy: they answer before pydantic alone would be loaded.
"""

import argparse
import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from daemon.errors import ConfigError, DeskhandError, UnreachableError

NAME = "deskhand.sock"
TIMEOUT_S = 10.0
"""How long an answer may take, in seconds, on top of what was asked to wait for."""
_SYSTEM = Path("/run/deskhand")


def add_socket(parser: argparse.ArgumentParser) -> None:
    """Declare `--socket`, read by `Client.of`."""
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the daemon's unix socket, else it is searched for")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where the socket may be, in the daemon's own order of preference, then the system service's place."""
    if environ.get("RUNTIME_DIRECTORY"):
        yield Path(environ["RUNTIME_DIRECTORY"].split(":")[0], NAME)
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"], "deskhand", NAME)
    state = environ.get("DESKHAND_STATE_DIR") or environ.get("STATE_DIRECTORY", "").split(":")[0]
    with contextlib.suppress(RuntimeError):  # no home folder
        yield Path(state or "~/.local/state/deskhand").expanduser() / NAME
    yield _SYSTEM / NAME


def _configured() -> Iterator[Path]:
    """Where a configuration file says; tried last, because reading it takes longer than all the rest."""
    from daemon.settings import load  # noqa: PLC0415  # half a second that only the lost pay

    try:
        yield load(None, None, (), os.environ).runtime_dir() / NAME
    except ConfigError:
        return


class _Connection(http.client.HTTPConnection):
    """HTTP on a socket that is connected already."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("localhost")
        self.sock = sock

    def connect(self) -> None:
        """Never again: an event must not be sent twice because a connection broke."""
        raise ConnectionError("the connection is closed")


class Client:
    """A caller of the daemon behind the socket at `path`; None looks for it."""

    def __init__(self, path: Path | None, environ: Mapping[str, str] = os.environ) -> None:
        self._path = path
        self._environ = environ

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Client":
        """For the options of `add_socket`."""
        return cls(args.socket)

    def call(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, object] | None = None,
        timeout: float = TIMEOUT_S,
    ) -> tuple[int, Any]:  # fmt: skip
        """One request; answers status and decoded JSON. `body` is bytes as they are, or becomes JSON.

        `timeout` in seconds. Raises UnreachableError when nobody answers.
        """
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        target = quote(path) + (f"?{urlencode(asked)}" if asked else "")
        connection = _Connection(self._connect(timeout))
        try:
            connection.request(method, target, raw, {"Content-Type": "application/json"} if raw is not None else {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except TimeoutError:
            raise UnreachableError(f"deskhand did not answer within {timeout:g} s") from None
        except (OSError, http.client.HTTPException):
            raise UnreachableError("deskhand closed the connection without an answer") from None
        except ValueError:
            raise UnreachableError("what answers on the socket is not deskhand") from None
        finally:
            connection.close()

    def get(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """`call`, for what has to succeed. Raises DeskhandError with the daemon's reason when it does not."""
        code, answer = self.call(method, path, body, query=query)
        if code >= 300:
            raise DeskhandError(refusal(answer))
        return answer

    def _connect(self, timeout: float) -> socket.socket:
        tried: list[Path] = []
        for path in self._places():
            if path in tried:
                continue
            tried.append(path)
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            try:
                sock.connect(os.fspath(path))
            except PermissionError:
                sock.close()
                raise UnreachableError(f"{path} is not yours to use; join the group deskhand, or use sudo") from None
            except OSError:  # not there, or left behind by a daemon that was killed, or too long a path
                sock.close()
            else:
                self._path = path
                return sock
        places = "no socket at " + ", ".join(map(str, tried))
        raise UnreachableError(f"deskhand is not running: {places}; start it with `deskhand run`")

    def _places(self) -> Iterator[Path]:
        if self._path is not None:
            yield self._path
        else:
            yield from candidates(self._environ)
            yield from _configured()


def refusal(answer: Any) -> str:
    """The daemon's reason for saying no, in one line."""
    if not isinstance(answer, dict):
        return "deskhand refused this"
    field = f"{answer['field']}: " if answer.get("field") else ""
    return f"{answer.get('status', 'refused')}: {field}{answer.get('reason') or 'no reason given'}"
