"""The wire to the PolyMaker Command Center, without any policy: one method a call, one request a method.

The server is not public; paths, names and types are those of the bot client it serves today: JSON below `/api/bot`, the
key in `X-Api-Key`, and any 2xx a success, with JSON or without. See `replies` for what comes back.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from daemon.clock import Clock
from daemon.egress import Answer, Body, Guard
from daemon.egress.client import Egress
from daemon.errors import ConfigError, EgressError, UnreachableError
from daemon.redaction import redact
from daemon.settings import PolymakerSettings
from handlers.polymaker.config import CenterConfig, center_config, number, whole
from handlers.polymaker.models import (
    Market,
    MarketsReport,
    Metrics,
    RunStart,
    RunStatus,
    RunStop,
    RunUpdate,
    Trade,
    TradeBatch,
    TradeUpdate,
    why,
)
from handlers.polymaker.replies import KeyRefused, Ok, Rejected, Throttled, Trouble, Unavailable, Uncertain

BASE = "/api/bot"
"""Below the address."""
PAUSE_S = 30.0
"""How long a 429 holds that does not say how long, in seconds."""
CONFLICT = 409
"""What it answers to what does not fit what it has: a second open run, the end of one that has ended."""
LONGEST_PAUSE_S = 3600.0
"""The longest pause that it can ask for, in seconds."""
_RETRY = (408, 421, 425)  # 4xx that say: not processed, send it again
_SAID = 160
_RUN = re.compile(r"\brun[ #]{1,2}([0-9]{1,15})\b", re.ASCII | re.IGNORECASE)

T = TypeVar("T")


class CommandCenter:
    """One Command Center. `settings` with url and api_key. Long-lived; to be closed.

    Every method sends one request within `settings.timeout_s` and returns Ok or what came instead; a call that is
    cancelled may have been taken. Raises ConfigError for settings that lead nowhere.
    """

    def __init__(self, settings: PolymakerSettings, guard: Guard, clock: Clock) -> None:
        if settings.url is None or settings.api_key is None:
            raise ConfigError("polymaker: url and api_key are needed")
        self._key = settings.api_key.get_secret_value()
        self._clock = clock
        try:
            self._egress = Egress(
                "polymaker",
                settings.url.rstrip("/") + BASE,
                guard,
                settings.timeout_s,
                headers={"Content-Type": "application/json"},  # with every request: the known client does it
                credentials={"X-Api-Key": self._key},
            )
        except ValueError:
            raise ConfigError("polymaker: api_key and url must be printable, url like https://host") from None

    async def close(self) -> None:
        """Drop what is open."""
        await self._egress.close()

    async def status(self) -> Ok[None] | Trouble:
        """GET /status: whether it is there."""
        return await self._get("/status", _nothing)

    async def config(self) -> Ok[CenterConfig | None] | Trouble:
        """GET /config: this bot's configuration; None if it answered without one."""
        return await self._get("/config", center_config)

    async def run_start(self, start: RunStart) -> Ok[int] | Trouble:
        """POST /run/start: open a run; its id."""
        found = await self._post("/run/start", start, _run_id)
        if not isinstance(found, Ok):
            return found
        run_id, status = found.answer
        return Ok(run_id) if run_id else Rejected(f"it answered HTTP {status}, but named no run", status)

    async def run_update(self, run_id: int, metrics: Metrics) -> Ok[None] | Trouble:
        """POST /run/update: metrics of a run; those that are None are left out."""
        try:
            body = RunUpdate(run_id=run_id, **dict(metrics))
        except ValidationError as error:
            return Rejected(why(error))
        return await self._post("/run/update", body, _nothing)

    async def run_stop(
        self, run_id: int, status: RunStatus, metrics: Metrics, error_message: str = ""
    ) -> Ok[Decimal | None] | Trouble:
        """POST /run/stop: close a run with its final metrics; the analysis' overall score, if it came."""
        final = {name: value for name, value in metrics if name in RunStop.model_fields}
        try:
            body = RunStop(run_id=run_id, status=status, error_message=redact(error_message)[:500] or None, **final)
        except ValidationError as error:
            return Rejected(why(error))
        return await self._post("/run/stop", body, _score)

    async def trade(self, trade: Trade) -> Ok[int | None] | Trouble:
        """POST /trade: its id there; None if the answer had none."""
        return await self._post("/trade", trade, lambda found, _: whole(_object(found).get("tradeId")))

    async def trade_update(self, update: TradeUpdate) -> Ok[None] | Trouble:
        """POST /trade/update: what became of a trade."""
        return await self._post("/trade/update", update, _nothing)

    async def trade_batch(self, trades: Sequence[Trade]) -> Ok[tuple[int | None, ...]] | Trouble:
        """POST /trade/batch: at most `BATCH_MOST` trades; for each its id there, all None if not one for each came."""
        try:
            body = TradeBatch(trades=tuple(trades))
        except ValidationError as error:
            return Rejected(why(error))

        def ids(found: object, _: int) -> tuple[int | None, ...]:
            told = _object(found).get("tradeIds")
            if not isinstance(told, list) or len(told) != len(body.trades):
                return (None,) * len(body.trades)
            return tuple(map(whole, told))

        return await self._post("/trade/batch", body, ids)

    async def markets_report(self, markets: Sequence[Market]) -> Ok[None] | Trouble:
        """POST /markets/report: the markets that are watched."""
        return await self._post("/markets/report", MarketsReport(markets=tuple(markets)), _nothing)

    async def _get(self, path: str, read: Callable[[object], T]) -> Ok[T] | Trouble:
        try:
            answer = await self._egress.get(path, fresh=True)
        except UnreachableError as error:
            return Unavailable(str(error))  # sent or not: it would have changed nothing
        except EgressError as error:
            return Rejected(str(error))
        return self._trouble(answer) or Ok(read(answer.json()))

    async def _post(self, path: str, body: Body, read: Callable[[object, int], T]) -> Ok[T] | Trouble:
        """On a connection of its own: one that was kept may be dead, and nobody would know whether it was taken."""
        try:
            answer = await self._egress.request("POST", path, body=body, fresh=True)
        except UnreachableError as error:
            return Uncertain(str(error)) if error.sent else Unavailable(str(error))
        except EgressError as error:
            return Rejected(str(error))
        return self._trouble(answer) or Ok(read(answer.json(), answer.status))

    def _trouble(self, answer: Answer) -> Trouble | None:
        """What a whole answer says, unless it is a success."""
        status = answer.status
        if 200 <= status < 300:
            return None
        if status in (401, 403):
            return KeyRefused(status)
        if status == 429:
            return Throttled(self._pause(answer) or PAUSE_S)
        if answer.redirect:
            return Unavailable(f"HTTP {status}: {answer.redirect}", status)
        reason = f"HTTP {status}{self._said(answer)}"
        if 400 <= status < 500 and status not in _RETRY:
            return Rejected(reason, status, _open_run(answer.json(), reason) if status == CONFLICT else None)
        return Unavailable(reason, status, self._pause(answer))

    def _pause(self, answer: Answer) -> float | None:
        """Retry-After, in seconds or as a date by the server's own clock where it shows one; bounded."""
        text = answer.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            asked = float(text[:9])
        else:
            until = _date(text)
            if until is None:
                return None
            asked = until - (_date(answer.headers.get("date", "")) or self._clock.now())
        return min(max(asked, 1.0), LONGEST_PAUSE_S)

    def _said(self, answer: Answer) -> str:
        """The answer's own words, in a form that fits a log line; never our key."""
        found = _object(answer.json())
        words = next((found[name] for name in ("error", "message", "detail") if isinstance(found.get(name), str)), "")
        if not words and answer.headers.get("content-type", "").startswith("text/plain"):
            words = answer.text()
        line = " ".join(redact(words.replace(self._key, "***"))[:4096].split())
        line = "".join(c if c.isprintable() else "?" for c in line[:_SAID])
        return f": {line}" if line else ""


def _nothing(*_: object) -> None:
    return None


def _object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _run_id(found: object, status: int) -> tuple[int | None, int]:
    """`{"runId": 7}`, or `{"run": {"id": 7}}`."""
    told = _object(found)
    return whole(told.get("runId")) or whole(_object(told.get("run")).get("id")), status


def _open_run(found: object, words: str) -> int | None:
    """As of `_run_id`, or in words: `run 7 is still open`."""
    said = _RUN.search(words)
    return _run_id(found, 0)[0] or (whole(said[1]) if said else None)


def _score(found: object, _: int) -> Decimal | None:
    return number(_object(_object(found).get("analysis")).get("overallScore"))


def _date(text: str) -> float | None:
    """An HTTP date in seconds since the epoch."""
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
