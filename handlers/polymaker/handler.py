"""The Command Center, kept informed: posts of the outbox become calls, and what is only of the moment is pushed.

Nothing here retries: a verdict says what the outbox is to do. Calls that open or close a run, and updates, may be
repeated without harm; a trade may not.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from loguru import logger
from pydantic import ValidationError

from daemon.clock import Clock
from daemon.errors import UnreachableError
from daemon.ports import Again, Ended, Mode, Outbox, Outcome, Post, Result, Verdict
from daemon.settings import PolymakerSettings
from handlers.polymaker.client import CommandCenter
from handlers.polymaker.config import CenterConfig
from handlers.polymaker.models import (
    BATCH_MOST,
    Market,
    Metrics,
    RunStart,
    Trade,
    TradeUpdate,
    why,
)
from handlers.polymaker.replies import KeyRefused, Ok, Rejected, Throttled, Trouble, Unavailable, Uncertain
from handlers.polymaker.runs import START, STOP, TRADE, Runs

LONGEST_S = 60.0
"""How long to leave a Center alone that refuses our key, in seconds."""
SEEN_S = 3600.0
"""How long a market is reported after its last trade, in seconds."""
_NO_CONFIG = "the Center has no configuration with an id for this bot; make one there, or set polymaker.config_id"
_NO_RUN = "the run was never opened"


class Polymaker:
    """A `daemon.ports.Postman`, and what the schedules do. `place` is the Center's address."""

    def __init__(
        self, settings: PolymakerSettings, mode: Mode, center: CommandCenter, outbox: Outbox, clock: Clock
    ) -> None:
        self.place = settings.url or ""
        self.config: CenterConfig | None = None
        self.score = ""
        self.left_out: tuple[str, ...] = ()
        self._settings = settings
        self._center = center
        self._clock = clock
        self.runs = Runs(settings, self.place, mode, outbox, clock)
        self._outbox = outbox

    async def close(self) -> None:
        """Drop what is open."""
        await self._center.close()

    # -- posts -----------------------------------------------------------------------------------------------------

    def takes(self, post: Post) -> bool:
        """Whether it goes to this Center and its run has a number there, or never will."""
        return post.place == self.place and (post.name in (START, STOP) or self.runs.remote_id(post.run) is not None)

    def repeatable(self, post: Post) -> bool:
        """Whether sending it again does no harm; a trade would count twice."""
        return post.name != TRADE or self._settings.resend_uncertain

    def together(self, post: Post, waiting: Sequence[Post]) -> list[Post]:
        """The trades of one run, up to a batch; what updates them follows. Anything else goes alone."""
        if post.name != TRADE:
            return [post]
        batch: list[Post] = []
        for each in waiting:
            if each.run != post.run or each.name == STOP:
                break
            if each.name == TRADE:
                batch.append(each)
        return batch[:BATCH_MOST]

    async def deliver(self, posts: list[Post]) -> list[Verdict]:
        """Send them; a verdict for each."""
        first = posts[0]
        try:
            if first.name == TRADE:
                return await self._trades(posts)
            if first.name == START:
                return [await self._start(first)]
            if first.name == STOP:
                return [await self._stop(first)]
            return [await self._update(first)]
        except (ValidationError, KeyError, TypeError, ArithmeticError) as error:
            reason = why(error) if isinstance(error, ValidationError) else f"its record cannot be read: {error!r}"
            return [Ended(Outcome(Result.FAILED, reason)) for _ in posts]

    async def probe(self) -> str:
        """GET /config, which changes nothing there."""
        found = await self._center.config()
        if isinstance(found, Ok):
            self.config = found.answer
            return ""
        return found.reason

    async def _start(self, post: Post) -> Verdict:
        found = await self._center.config()
        if not isinstance(found, Ok):
            return self._verdict(post, found)
        self.config = found.answer
        config_id = (found.answer.id if found.answer is not None else None) or self._settings.config_id
        if config_id is None:
            return Ended(Outcome(Result.FAILED, _NO_CONFIG))
        start = RunStart(config_id=config_id, mode=post.body["mode"], starting_bankroll=Decimal(post.body["bankroll"]))
        opened = await self._center.run_start(start)
        if not isinstance(opened, Ok):
            return self._verdict(post, opened)
        logger.info("polymaker: run {} is open ({})", opened.answer, start.mode)
        await self._center.run_update(opened.answer, self._metrics(self.runs.figures()))  # the first; others follow
        return Ended(Outcome(Result.DONE), {"runId": opened.answer})

    async def _stop(self, post: Post) -> Verdict:
        run_id = self.runs.remote_id(post.run)
        if run_id is None:
            return Ended(Outcome(Result.REFUSED, _NO_RUN))
        metrics = self._metrics(post.body.get("metrics", {}))
        stopped = await self._center.run_stop(run_id, post.body["status"], metrics, post.body.get("errorMessage", ""))
        if not isinstance(stopped, Ok):
            return self._verdict(post, stopped)
        self.score = str(stopped.answer) if stopped.answer is not None else ""
        said = f", the Center's score is {self.score}" if self.score else ""
        logger.info("polymaker: run {} is closed ({}){}", run_id, post.body["status"], said)
        return Ended(Outcome(Result.DONE), {"score": self.score})

    async def _update(self, post: Post) -> Verdict:
        entry = self._outbox.find(post.body["entry"])
        trade_id = entry.answer.get("tradeId") if entry is not None else None
        if not isinstance(trade_id, int):
            return Ended(Outcome(Result.FAILED, "the Center never gave its entry a number"))
        given = {name: value for name, value in post.body.items() if name != "entry"}
        update = TradeUpdate.read(given | {"tradeId": trade_id})
        found = await self._center.trade_update(update)
        return Ended(Outcome(Result.DONE)) if isinstance(found, Ok) else self._verdict(post, found)

    async def _trades(self, posts: list[Post]) -> list[Verdict]:
        verdicts: dict[Post, Verdict] = {}
        trades: dict[Post, Trade] = {}
        for post in posts:
            try:
                trades[post] = self._trade(post)
            except (ValidationError, KeyError, TypeError, ArithmeticError) as error:
                reason = why(error) if isinstance(error, ValidationError) else "its record cannot be read"
                verdicts[post] = Ended(Outcome(Result.FAILED, f"cannot be told: {reason}"))
        if len(trades) == 1:
            ((post, trade),) = trades.items()
            found = await self._center.trade(trade)
            verdicts[post] = self._taken(found.answer) if isinstance(found, Ok) else self._verdict(post, found)
        elif trades:
            batch = await self._center.trade_batch(list(trades.values()))
            ids = batch.answer if isinstance(batch, Ok) else (None,) * len(trades)
            for post, trade_id in zip(trades, ids, strict=True):
                verdicts[post] = self._taken(trade_id) if isinstance(batch, Ok) else self._verdict(post, batch)
        return [verdicts[post] for post in posts]

    def _trade(self, post: Post) -> Trade:
        return Trade.read(post.body["wire"] | {"runId": self.runs.remote_id(post.run)})

    @staticmethod
    def _taken(trade_id: int | None) -> Ended:
        return Ended(Outcome(Result.DONE), {"tradeId": trade_id} if trade_id is not None else {})

    def _verdict(self, post: Post, trouble: Trouble) -> Verdict:
        match trouble:
            case KeyRefused():
                return Again(trouble.reason, LONGEST_S)
            case Unavailable(status=502 | 504) if not self.repeatable(post):
                return Ended(Outcome(Result.UNCERTAIN, trouble.reason))  # whoever stands before it has given up waiting
            case Throttled(after_s=after_s) | Unavailable(after_s=after_s):
                return Again(trouble.reason, after_s)
            case Uncertain() if self.repeatable(post):
                return Again(trouble.reason)
            case Uncertain():
                return Ended(Outcome(Result.UNCERTAIN, trouble.reason))
            case Rejected():
                return Ended(Outcome(Result.FAILED, trouble.reason))

    # -- of the moment ---------------------------------------------------------------------------------------------

    async def push_metrics(self) -> None:
        """Send the run's figures as they are now. Raises UnreachableError; JournalError."""
        run_id = self.runs.remote_id(self.runs.run) if self.runs.run else None
        if run_id is None:
            return
        self.runs.alive()
        self._pushed(await self._center.run_update(run_id, self._metrics(self.runs.figures())))

    async def report_markets(self) -> None:
        """Tell which markets are watched. Raises UnreachableError; JournalError."""
        run_id = self.runs.remote_id(self.runs.run) if self.runs.run else None
        found = self.runs.ledger.markets(self._clock.now() - SEEN_S)
        if run_id is None or not found:
            return
        markets = []
        for market in found:
            try:
                markets.append(Market.read(market))
            except ValidationError as error:
                logger.warning("polymaker: a market is left out of the report: {}", why(error))
        self._pushed(await self._center.markets_report(markets))

    async def poll_config(self) -> bool:
        """Read this bot's configuration there; whether it asks for a pause. Raises UnreachableError; JournalError."""
        found = await self._center.config()
        if not isinstance(found, Ok):
            raise UnreachableError(found.reason)
        self.config = found.answer
        self.runs.reopen()
        return found.answer is not None and found.answer.pause_orders

    def _metrics(self, figures: dict[str, Any]) -> Metrics:
        metrics, left_out = Metrics.of(**figures)
        if left_out and left_out != self.left_out:
            logger.warning("polymaker: left out of the metrics: {}", "; ".join(left_out))
        self.left_out = left_out
        return metrics

    @staticmethod
    def _pushed(found: Ok[None] | Trouble) -> None:
        if not isinstance(found, Ok):
            raise UnreachableError(found.reason)

    def shown(self) -> dict[str, Any]:
        """JSON-ready, for `status`."""
        run_id = self.runs.remote_id(self.runs.run) if self.runs.run else None
        return {
            "place": self.place,
            "run": run_id,
            "figures": self.runs.figures(),
            "unpriced": self.runs.ledger.unknown,
            "score": self.score,
            "config": self.config.shown() if self.config is not None else None,
        }
