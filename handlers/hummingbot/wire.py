"""One call, one request, one result: where every answer of the server is judged.

HTTP 200 does not mean done: the truth stands in the body (`response.success`, `success`, `status`), and an unhandled
error is text/plain. Every request takes a connection of its own, because after such an error the server drops the one
it was on without a word, and the next request on it would be lost with nobody knowing whether it was read.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from daemon.egress import Answer, Body, Query
from daemon.errors import EgressError, UnreachableError
from daemon.redaction import redact
from handlers.hummingbot.answers import Ok, Refused, Result, Unavailable, Uncertain, Why
from handlers.hummingbot.words import Clean, detail, shown

if TYPE_CHECKING:  # it brings httpx2, and others want no more of this file than NAME
    from daemon.egress.client import Egress

T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What a name may be: the server crashes over any other (a dot, a blank, `../x`)."""
_UNKNOWN = "not found"
_THEIRS = ("/scripts/", "/controllers/")
"""Answers that hold a user's own map, in which `status` and `success` mean something else."""
_SILENT = "no reason given; its MQTT broker may be away"


def unnamed(**names: str) -> Refused | None:
    """A refusal when one of these is no name."""
    for what, name in names.items():
        if not NAME.fullmatch(name):
            words = f"{what.replace('_', ' ')} must be letters, digits, _ and -, 128 at most"
            return Refused(words, Why.NOT_SENT)
    return None


def reader(kind: Any) -> Callable[[Any], Any]:
    """A function that makes `kind` of JSON-ready data. It raises ValidationError."""
    adapter: TypeAdapter[Any] | None = None

    def read(data: Any) -> Any:
        nonlocal adapter
        if adapter is None:  # a validator costs memory: only of what is called
            adapter = TypeAdapter(kind)
        return adapter.validate_python(data)

    return read


class Wire:
    """Asks and acts through one `Egress`; `names` fill the holes of a path, and are checked."""

    def __init__(self, egress: "Egress") -> None:
        self._egress = egress

    async def ask(
        self,
        path: str,
        read: Callable[[Any], T],
        *,
        names: Mapping[str, str] | None = None,
        query: Query | None = None,
        body: Body | None = None,
        limit_s: float | None = None,
    ) -> Result[T]:
        """A question: GET, or POST when it has a body. Never uncertain, for it changes nothing."""
        method = "GET" if body is None else "POST"
        return await self._call(method, path, read, names, query, body, limit_s, acts=False)

    async def act(
        self,
        path: str,
        read: Callable[[Any], T],
        *,
        names: Mapping[str, str] | None = None,
        query: Query | None = None,
        body: Body | None = None,
        limit_s: float | None = None,
        private_only: bool = False,
        delete: bool = False,
        clean: Clean = redact,
    ) -> Result[T]:
        """Something that changes the world: sent once. Uncertain when it may have been done.

        `clean` takes what is secret of it out of the server's words.
        """
        method = "DELETE" if delete else "POST"
        return await self._call(
            method, path, read, names, query, body, limit_s, acts=True, private_only=private_only, clean=clean
        )

    async def _call(
        self,
        method: Any,
        path: str,
        read: Callable[[Any], T],
        names: Mapping[str, str] | None,
        query: Query | None,
        body: Body | None,
        limit_s: float | None,
        *,
        acts: bool,
        private_only: bool = False,
        clean: Clean = redact,
    ) -> Result[T]:
        if refused := unnamed(**(names or {})):
            return refused
        try:
            answer = await self._egress.request(
                method,
                path,
                values=names,
                query=query,
                body=body,
                fresh=True,
                private_only=private_only,
                limit_s=limit_s,
            )
        except UnreachableError as error:
            return _broken(str(error), doubt=acts and error.sent)
        except (EgressError, ValueError) as error:  # ValueError: a number that JSON cannot hold
            return Refused(str(error), Why.NOT_SENT)
        if verdict := _judge(answer, clean, acts=acts):
            return verdict
        data = answer.json()
        if not path.startswith(_THEIRS) and (verdict := hollow(data, clean, acts=acts)):
            return verdict
        try:
            return Ok(read(data))
        except (ValidationError, LookupError, TypeError, AttributeError, ValueError) as error:
            return _broken(f"the answer is not understood: {_problem(error)}", doubt=acts)


def _broken(words: str, *, doubt: bool) -> Unavailable | Uncertain:
    return Uncertain(words) if doubt else Unavailable(words)


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        return shown(f"{place}: {first['msg']}")
    return "it has another form"


def _judge(answer: Answer, clean: Clean, *, acts: bool) -> Refused | Unavailable | Uncertain | None:
    """By HTTP's status alone; None for success."""
    status = answer.status
    if 200 <= status < 300:
        return None
    if status == 401:
        return Refused("user name or password refused", Why.LOGIN, status)
    said = detail(answer, clean)
    if status == 405 or (status == 404 and said == "Not Found"):
        return Refused(
            "the server does not know this call: another version, or no Hummingbot API", Why.NO_ROUTE, status
        )
    if answer.redirect:
        return Refused(answer.redirect, Why.NO_ROUTE, status)
    words = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    # 503 in JSON is the server's own (rules not loaded, gateway down); another may be a proxy's, after the fact.
    if status < 400 or status == 408 or (status >= 500 and not (status == 503 and isinstance(answer.json(), dict))):
        return _broken(words, doubt=acts)
    return Refused(words, Why.NOT_FOUND if status == 404 else Why.SAID_NO, status)


def hollow(data: Any, clean: Clean, *, acts: bool) -> Refused | Unavailable | Uncertain | None:
    """The refusal inside a 200, in all its forms; None when there is none."""
    if not isinstance(data, Mapping):
        return None
    inner = data.get("response", data)
    if not isinstance(inner, Mapping):
        return _broken("the answer does not say whether it was done", doubt=acts)
    words = inner.get("message")
    said = shown(words, clean) if isinstance(words, str) and words.strip() else _SILENT
    if inner.get("timeout") is True:
        return _broken(said, doubt=acts)
    if inner.get("success") is False or data.get("status") == "error":
        return Refused(said, Why.NOT_FOUND if _UNKNOWN in said else Why.SAID_NO, 200)
    if "response" in data and inner.get("success") is not True:
        return _broken("the answer does not say whether it was done", doubt=acts)
    found = data.get("data")
    if isinstance(found, Mapping) and found.get("status") == "not_found":
        return Refused(shown(str(found.get("error") or "not found"), clean), Why.NOT_FOUND, 200)
    return None
