"""The Command Center, kept informed: posts of the outbox become calls, and what is only of the moment is pushed.

Nothing here retries: a verdict says what the outbox is to do. Calls that open or close a run, and updates, may be
repeated without harm; a trade may not, and the Center knows no key that would tell it a repetition: what it answers
with an error of its own (500) may be in its books.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from loguru import logger
from pydantic import ValidationError

from daemon.clock import Clock
from daemon.errors import DeskhandError, JournalError, UnreachableError
from daemon.ports import Again, Ended, Held, Mode, Outbox, Outcome, Post, Result, Verdict
from daemon.settings import PolymakerSettings
from handlers.polymaker.client import CONFLICT, CommandCenter
from handlers.polymaker.config import CenterConfig
from handlers.polymaker.models import BATCH_MOST, Market, Metrics, RunStart, Trade, TradeUpdate, why
from handlers.polymaker.replies import KeyRefused, Ok, Rejected, Throttled, Trouble, Unavailable, Uncertain
from handlers.polymaker.runs import START, STOP, TRADE, UPDATE, Runs

KEY_S = 60.0
"""How long to leave a Center alone that refuses our key, in seconds."""
SEEN_S = 3600.0
"""How long a market is reported after its last trade, in seconds."""
HELD_S, LONGEST_HELD_S = 30.0, 3600.0
"""How long to wait after a run was not opened, the first time and at most, in seconds; each time twice as long."""
ERRORS_MOST = {UPDATE: 8, STOP: 60}
"""How many of the Center's own errors in a row such a post is worth, some two minutes and half an hour; then what is
behind it, the next run with all its trades, has its turn.
"""
REOPEN_S = 300.0
"""A run that the Center knows no more is opened anew at most this often, in seconds."""
_GONE = (400, 404, CONFLICT, 410, 422)  # how a run that is not there, or not open, is refused
_NO_CONFIG = "the Center has no configuration with an id for this bot; make one there, or set polymaker.config_id"
_NO_RUN = "its run was never opened"
_UNREADABLE = (ValidationError, KeyError, TypeError, ValueError, ArithmeticError)


class Polymaker:
    """A `daemon.ports.Postman`, and what the schedules do. `place` is the Center's address; `config` is what it last
    said, `score` its verdict on the run that ended last, `left_out` the metrics that could not be sent; `account` is
    what makes a run another's. `pause` is told whether the Center wants one, whenever it says so between two polls.
    """

    def __init__(
        self, settings: PolymakerSettings, mode: Mode, center: CommandCenter, outbox: Outbox, clock: Clock
    ) -> None:
        self.place = (settings.url or "").rstrip("/")
        self.account = (self.place, settings.api_key, mode)
        self.config: CenterConfig | None = None
        self.score = ""
        self.left_out: tuple[str, ...] = ()
        self.pause: Callable[[bool], Awaitable[None]] | None = None
        self.runs = Runs(settings, self.place, mode, outbox, clock)
        self._settings = settings
        self._center = center
        self._clock = clock
        self._outbox = outbox
        self._refusals = 0
        self._alone_to = 0.0  # posts up to this number are not sent together
        self._doubtful = False  # it is not known what became of the trade before: no more than one is risked
        self._errors = dict.fromkeys(ERRORS_MOST, 0)
        self._fresh: set[str] = set()  # runs that were opened here, and of which the Center has taken nothing yet
        self._reopened_at = -REOPEN_S
        self._closed = False
        self._next_run = ""

    async def close(self) -> None:
        """Drop what is open."""
        self._closed = True
        await self._center.close()

    def take_over(self, old: "Polymaker") -> bool:
        """Go on with the run of the one before, if place, key and mode are the same; returns whether they are."""
        if self.account != old.account:
            return False
        self.runs, self.runs.settings = old.runs, self._settings
        self.config, self.score, self.left_out = old.config, old.score, old.left_out
        return True

    def hand_over(self, new: "Polymaker | None") -> None:
        """Close the run, for a configuration that has none or another: that of `new` begins at once, so that what is
        told from now on is on record, and this one leaves it alone.
        """
        self.runs.end("stopped")
        if new is not None:
            new.runs.start()
            self._next_run = new.runs.run

    # -- posts -----------------------------------------------------------------------------------------------------

    def repeatable(self, post: Post) -> bool:
        """Whether sending it again does no harm; a trade would count twice."""
        return post.name != TRADE or self._settings.resend_uncertain

    def together(self, waiting: Sequence[Post]) -> list[Post]:
        """The trades of one run, up to a batch; what updates them follows. Anything else goes alone; nothing of the
        run that was handed over.
        """
        first = waiting[0]
        if first.run == self._next_run:
            return []
        if first.name != TRADE or first.seq <= self._alone_to or self._doubtful:
            return [first]
        batch: list[Post] = []
        for post in waiting:
            if post.run != first.run or post.name == STOP:
                break
            if post.name == TRADE:
                batch.append(post)
        return batch[:BATCH_MOST]

    async def deliver(self, posts: list[Post]) -> list[Verdict]:
        """Send them; a verdict for each. Raises JournalError: nothing was sent."""
        first = posts[0]
        run_id = self.runs.remote_id(first.run)
        try:
            if first.name == START:
                return [await self._start(first)]
            if run_id is None:
                return [Ended(Outcome(Result.REFUSED, _NO_RUN)) for _ in posts]
            if first.name == TRADE:
                return await self._trades(posts, run_id)
            return [await (self._stop(first, run_id) if first.name == STOP else self._update(first))]
        except _UNREADABLE as error:
            return [_unreadable(error) for _ in posts]

    async def recorded(self, posts: list[Post]) -> None:
        """A run begins with its first figures."""
        if posts[0].name == START and posts[0].run == self.runs.run:
            try:
                await self.push_metrics()
            except DeskhandError as error:
                logger.warning("polymaker: the first figures did not go out: {}", error)

    async def probe(self) -> Again | None:
        """GET /config, which changes nothing there."""
        found = await self._center.config()
        if isinstance(found, Ok):
            self._configured(found.answer)
            await self._heed()
        return None if isinstance(found, (Ok, Rejected)) else _again(found)  # a refusal is an answer too

    async def _start(self, post: Post) -> Verdict:
        found = await self._center.config()
        if isinstance(found, Ok):
            self.config = found.answer
            await self._heed()
        elif not isinstance(found, Rejected):
            return _again(found)
        named = found.answer.id if isinstance(found, Ok) and found.answer is not None else None
        config_id = named or self._settings.config_id
        if config_id is None:
            return self._not_opened(_NO_CONFIG if isinstance(found, Ok) else found.reason)
        start = RunStart(config_id=config_id, mode=post.body["mode"], starting_bankroll=Decimal(post.body["bankroll"]))
        opened = await self._center.run_start(start)
        if isinstance(opened, Rejected):
            run_id = opened.open_run if post.sent else None
            if run_id is None:
                lost = "; it may be one whose opening was not answered, close it there" if post.sent else ""
                return self._not_opened(f"it opens no run: {opened.reason}{lost}")
        elif not isinstance(opened, Ok):
            if _may_be_taken(opened):
                post.may_be_sent()
            return self._verdict(post, opened)
        else:
            run_id = opened.answer
        self._refusals = 0
        self._fresh.add(post.run)
        self.runs.opened(post.run, run_id)
        logger.info("polymaker: run {} is open ({})", run_id, start.mode)
        return Ended(Outcome(Result.DONE), {"runId": run_id})

    def _not_opened(self, reason: str) -> Held:
        """Without a run nothing can be told, so it is asked for again, ever more seldom."""
        self._refusals += 1
        return Held(reason, min(LONGEST_HELD_S, HELD_S * 2 ** min(self._refusals - 1, 16)))

    async def _stop(self, post: Post, run_id: int) -> Verdict:
        metrics = self._metrics(post.body.get("metrics", {}))
        stopped = await self._center.run_stop(run_id, post.body["status"], metrics, post.body.get("errorMessage", ""))
        if isinstance(stopped, Rejected) and stopped.status == CONFLICT and post.sent:
            logger.info("polymaker: run {} was closed before: {}", run_id, stopped.reason)
            return Ended(Outcome(Result.DONE))
        if not isinstance(stopped, Ok):
            if _may_be_taken(stopped):
                post.may_be_sent()
            return self._patient(post, stopped)
        self._errors[STOP] = 0
        self.score = str(stopped.answer) if stopped.answer is not None else ""
        said = f", the Center's score is {self.score}" if self.score else ""
        logger.info("polymaker: run {} is closed ({}){}", run_id, post.body["status"], said)
        return Ended(Outcome(Result.DONE), {"score": self.score})

    async def _update(self, post: Post) -> Verdict:
        of = self._outbox.find(post.body["trade"])
        trade_id = of.answer.get("tradeId") if of is not None else None
        if not isinstance(trade_id, int):
            return Ended(Outcome(Result.REFUSED, "the Center never gave its trade a number"))
        given = {name: value for name, value in post.body.items() if name != "trade"}
        found = await self._center.trade_update(TradeUpdate.read(given | {"tradeId": trade_id}))
        if not isinstance(found, Ok):
            return self._patient(post, found)
        self._errors[UPDATE] = 0
        return Ended(Outcome(Result.DONE))

    def _patient(self, post: Post, trouble: Trouble) -> Verdict:
        """For what may be repeated, but not for ever where the Center itself breaks at it: it may have been taken."""
        self._errors[post.name] = self._errors[post.name] + 1 if _its_own_error(trouble) else 0
        if self._errors[post.name] >= ERRORS_MOST[post.name]:
            return Ended(Outcome(Result.UNCERTAIN, trouble.reason))
        return self._verdict(post, trouble)

    async def _trades(self, posts: list[Post], run_id: int) -> list[Verdict]:
        verdicts: dict[Post, Verdict] = {}
        trades: dict[Post, Trade] = {}
        for post in posts:
            try:
                trades[post] = Trade.read(post.body["wire"] | {"runId": run_id})
            except _UNREADABLE as error:
                verdicts[post] = _unreadable(error)
        if len(trades) == 1:
            ((post, trade),) = trades.items()
            found = await self._center.trade(trade)
            lost = await self._forgotten(post.run, run_id, found)
            verdicts[post] = (
                self._taken(post, found.answer) if isinstance(found, Ok) else lost or self._verdict(post, found)
            )
        elif trades:
            batch = await self._center.trade_batch(list(trades.values()))
            if isinstance(batch, Rejected):  # it took none, perhaps because of one
                lost = await self._forgotten(posts[0].run, run_id, batch)
                if lost is None:
                    self._alone_to = posts[-1].seq
                return [verdicts.get(post) or lost or Held(batch.reason, 0.0) for post in posts]
            ids = batch.answer if isinstance(batch, Ok) else (None,) * len(trades)
            for post, trade_id in zip(trades, ids, strict=True):
                verdicts[post] = self._taken(post, trade_id) if isinstance(batch, Ok) else self._verdict(post, batch)
            if _its_own_error(batch):  # no bot is known to have sent it any: it may never take one
                self._alone_to = math.inf
        return [verdicts[post] for post in posts]

    async def _forgotten(self, run: str, run_id: int, refused: object) -> Again | Held | None:
        """Whether a trade was refused because the Center knows its run no more, or has closed it: it takes no figures
        of it either, and took some before. Then the run is opened anew, and its trades wait for that.
        """
        if not isinstance(refused, Rejected) or refused.status not in _GONE or run in self._fresh:
            return None
        figures = self.runs.figures_of(run)
        if figures is None:  # nobody would close it a second time
            return None
        found = await self._center.run_update(run_id, self._metrics(figures))
        if isinstance(found, (KeyRefused, Throttled)) or (isinstance(found, Unavailable) and not found.status):
            return _again(found)
        if not isinstance(found, Rejected) or found.status not in _GONE:
            return None
        reason = f"it takes nothing for run {run_id} any more: {refused.reason}"
        left_s = self._reopened_at + REOPEN_S - self._clock.boot()
        if left_s > 0:
            return Held(reason, left_s)
        self._reopened_at = self._clock.boot()
        logger.warning("polymaker: {}; it is opened anew", reason)
        self.runs.forgotten(run)
        return Held(reason, 0.0)

    def _taken(self, post: Post, trade_id: int | None) -> Ended:
        self._fresh.discard(post.run)
        self._doubtful = False
        return Ended(Outcome(Result.DONE), {"tradeId": trade_id} if trade_id is not None else {})

    def _verdict(self, post: Post, trouble: Trouble) -> Verdict:
        match trouble:
            case Rejected():
                return Ended(Outcome(Result.FAILED, trouble.reason))
            case Uncertain() | Unavailable() if _may_be_taken(trouble) and not self.repeatable(post):
                self._doubtful = True
                return Ended(Outcome(Result.UNCERTAIN, trouble.reason))
        return _again(trouble)

    # -- of the moment ---------------------------------------------------------------------------------------------

    async def push_metrics(self) -> None:
        """Send the run's figures as they are now; a silent Center is not asked. Raises DeskhandError."""
        self.runs.alive()
        run_id = self.runs.current_id
        if run_id is not None and not self._silent():
            run = self.runs.run
            self._pushed(await self._center.run_update(run_id, self._metrics(self.runs.figures())))
            self._fresh.discard(run)

    async def report_markets(self) -> None:
        """Tell which markets are traded; a silent Center is not asked. Raises DeskhandError."""
        found = self.runs.ledger.markets(self._clock.now() - SEEN_S)
        if self.runs.current_id is None or not found or self._silent():
            return
        markets = []
        for market in found:
            try:
                markets.append(Market.read(market))
            except ValidationError as error:
                logger.warning("polymaker: a market is left out of the report: {}", why(error))
        if markets:
            self._pushed(await self._center.markets_report(markets))

    def _silent(self) -> bool:
        if self._outbox.up is False and not self._outbox.quiet:  # a job that told nothing must not say that it works
            raise UnreachableError(self._outbox.why)
        return self._outbox.up is False

    async def poll_config(self) -> bool | None:
        """Read this bot's configuration there; whether it asks for a pause, None if it does not say. Raises
        DeskhandError.
        """
        if self._outbox.quiet:  # it is asked again when its time is over
            return None
        found = await self._center.config()
        if not isinstance(found, Ok):
            self._pushed(found)
            return None
        self._configured(found.answer)
        if self._outbox.up is False:
            self._outbox.nudge()
        return self._wants_pause

    @property
    def _wants_pause(self) -> bool | None:
        return None if self.config is None or "pauseOrders" in self.config.odd else self.config.pause_orders

    async def _heed(self) -> None:
        """What is shown of its configuration holds: no entry fires until the next poll only because that is later."""
        wanted = self._wants_pause
        if wanted is not None and self.pause is not None and not self._closed:
            with suppress(JournalError):  # it holds all the same, as long as this daemon lives
                await self.pause(wanted)

    def _configured(self, config: CenterConfig | None) -> None:
        before, self.config = self.config, config
        if config is not None and config.id is not None and (before is None or before.id != config.id):
            self._refusals = 0
            self._outbox.nudge()  # a run may have waited for it

    def _metrics(self, figures: dict[str, Any]) -> Metrics:
        metrics, left_out = Metrics.of(**figures)
        if left_out and left_out != self.left_out:
            logger.warning("polymaker: left out of the metrics: {}", "; ".join(left_out))
        self.left_out = left_out
        return metrics

    def _pushed(self, found: Ok[None] | Trouble) -> None:
        if isinstance(found, Rejected):
            raise DeskhandError(found.reason)
        if not isinstance(found, Ok):
            if not self._closed:
                self._outbox.doubt(_again(found))
            raise UnreachableError(found.reason)

    def shown(self) -> dict[str, Any]:
        """JSON-ready, for `status`. Raises JournalError."""
        return {
            "place": self.place,
            "run": self.runs.current_id,
            "figures": self.runs.figures(),
            "unpriced": self.runs.ledger.unknown,
            "left_out": list(self.left_out),
            "score": self.score,
            "config": self.config.shown() if self.config is not None else None,
        }


def _may_be_taken(trouble: Trouble) -> bool:
    """Whether the Center may have acted: it broke at it, or who stands before it gave up waiting. 503 is a refusal."""
    status = trouble.status if isinstance(trouble, Unavailable) else 0
    return isinstance(trouble, Uncertain) or (status >= 500 and status != 503)


def _its_own_error(found: object) -> bool:
    """Whether the Center itself broke at this: who stands before it says 502 and 504."""
    return isinstance(found, Unavailable) and _may_be_taken(found) and found.status not in (502, 504)


def _again(trouble: Trouble) -> Again:
    match trouble:
        case KeyRefused():
            return Again(trouble.reason, KEY_S)
        case Throttled(after_s=after_s) | Unavailable(after_s=after_s):
            return Again(trouble.reason, after_s)
    return Again(trouble.reason)


def _unreadable(error: Exception) -> Ended:
    reason = why(error) if isinstance(error, ValidationError) else "its record cannot be read"
    return Ended(Outcome(Result.FAILED, f"cannot be told: {reason}"))
