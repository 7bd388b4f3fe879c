"""The one door: every event of every source comes through here.

Parse, age, dedupe, plan; then one transaction and the keys for all that came in this turn of the loop; the source is
told when the record is safe on disk.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from loguru import logger

from daemon import events
from daemon.clock import Clock
from daemon.dispatch import Dispatcher, Router
from daemon.dispatch.recovery import before_boot
from daemon.errors import EventError, JournalError
from daemon.events import EventType, TradeEvent
from daemon.journal import Entry, Journal
from daemon.metrics import Metrics
from daemon.ports import Delivery, Mode, Outcome, Receipt, Result, Status
from daemon.stripping import may_hold_secret, raw_of, stripped

TWIN_WINDOW_S = 60.0
"""How long an identical body without an id is the same event, in seconds."""
_TWIN_WITH_TIME_S = 86_400.0  # with a time of its own the body names one moment: a redelivery, however late

REPORTS = "hummingbot"
"""The source whose events tell of fills that have happened: no age limit, and no default route."""

Done = Callable[[Receipt], None]


class Intake:
    """Belongs to the loop's thread; its public attributes are what a new configuration swaps."""

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        router: Router,
        clock: Clock,
        metrics: Metrics,
        *,
        mode: Mode,
        max_age_s: Callable[[EventType], float],
        repeatable: frozenset[str],
    ) -> None:
        self.router = router
        self.mode: Mode = mode
        self.max_age_s = max_age_s
        self.repeatable = repeatable
        self.last_event: tuple[TradeEvent, float] | None = None
        self._journal = journal
        self._dispatcher = dispatcher
        self._clock = clock
        self._metrics = metrics
        self._offered: list[tuple[bytes | str, str, Done, bool]] = []
        self._fresh: list[tuple[Receipt, Done, TradeEvent]] = []
        self._told: list[tuple[Receipt, Done]] = []

    def offer(self, raw: bytes | str, origin: str, done: Done, *, ts_required: bool = False) -> None:
        """Take one event in; `flush` acts on it. `done` is called once: it is safe on disk, or refused."""
        self._offered.append((raw, origin, done, ts_required))

    def flush(self) -> None:
        """Record and dispatch all that was offered, in one transaction. Never raises for what a stranger sent."""
        offered, self._offered = self._offered, []
        for raw, origin, done, ts_required in offered:
            data = raw if isinstance(raw, bytes) else raw.encode(errors="replace")
            try:
                receipt, event = self._take(data, origin, ts_required)
            except Exception as error:  # promise 1: a mistake of ours over one event loses none that came with it
                logger.opt(exception=error).error("an event over {}: a mistake of ours", origin)
                receipt, event = Receipt(Status.INVALID, reason="a mistake of ours; the log says where"), None
            if receipt.status is Status.ACCEPTED and event is not None:
                self._fresh.append((receipt, done, event))
            else:
                self._metrics.events_total(event.type if event else "unknown", origin, receipt.status)
                self._told.append((receipt, done))
        recorded = self._dispatcher.flush()
        fresh, self._fresh = self._fresh, []
        told, self._told = self._told, []
        for receipt, done, event in fresh:
            if not recorded:
                self._unrecorded(receipt, event)
            elif receipt.deliveries and all(_turned_away(delivery) for delivery in receipt.deliveries):
                receipt.status = Status.REFUSED
                outcome = receipt.deliveries[0].outcome
                receipt.reason = outcome.reason if outcome else ""
            self._metrics.events_total(event.type, receipt.origin, receipt.status)
            told.append((receipt, done))
        if told:
            self._journal.after_sync(partial(_tell, told), len(told))

    async def submit(self, raw: bytes | str, origin: str, *, ts_required: bool = False) -> Receipt:
        """Offer one event, act on it and wait for its receipt."""
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.offer(raw, origin, lambda r: None if answer.done() else answer.set_result(r), ts_required=ts_required)
        self.flush()
        return await answer

    async def outcomes(self, receipt: Receipt, timeout: float) -> None:
        """Wait until every delivery of the receipt has its outcome, at most `timeout` seconds."""
        await self._dispatcher.wait(list(receipt.deliveries), timeout)

    # -- one event -------------------------------------------------------------------------------------------------

    def _take(self, raw: bytes, origin: str, ts_required: bool) -> tuple[Receipt, TradeEvent | None]:
        now, boot = self._clock.now(), self._clock.boot()
        said: TradeEvent | None = None
        try:
            asked = events.validate(events.decode(raw))
            said, raw = _hidden(asked, raw, origin)
            event = events.settle_time(said, now, required=ts_required)
        except EventError as error:
            _log_refusal(origin, str(error), said)
            return Receipt(Status.INVALID, reason=error.problem, field=error.field), None
        fingerprint: bytes | None = None
        try:
            if event.id:
                recorded = self._journal.find(event.id)
                if recorded is not None:
                    receipt = _known(said, recorded)
                    if receipt.status is Status.CONFLICT:  # over MQTT the log is where it is seen
                        _log_refusal(origin, receipt.reason, said)
                    return receipt, event
            else:
                body = said.body()
                event = event.model_copy(update={"id": events.derived_id(origin, body, now)})
                fingerprint = hashlib.blake2b(f"{origin}\n{body}".encode(), digest_size=8).digest()
                if said.ts:
                    twin = self._journal.find_twin(fingerprint, now - _TWIN_WITH_TIME_S)
                else:
                    twin = self._journal.find_twin(fingerprint, now - TWIN_WINDOW_S, boot - TWIN_WINDOW_S)
                if twin is not None:
                    return Receipt(Status.DUPLICATE, id=twin), event
                moment = now
                while self._journal.find(event.id) is not None:  # a twin ended without a key in this very millisecond
                    moment += 0.001
                    event = event.model_copy(update={"id": events.derived_id(origin, body, moment)})
        except JournalError as error:
            if not (event.is_exit and self._dispatcher.exits_without_journal):
                return Receipt(Status.UNAVAILABLE, id=event.id, reason=f"the journal cannot be read: {error}"), event
        self.last_event = (event, now)
        return self._plan(Entry(event, said, raw, origin, now, boot, [], fingerprint), asked), event

    def _plan(self, entry: Entry, asked: TradeEvent) -> Receipt:
        """`asked` is the event with what was hidden in it: where it goes depends on what was meant."""
        event, now = entry.event, entry.received
        report = entry.origin == REPORTS
        planned = self.router.plan(asked, report=report, shown=event)
        for number, plan in enumerate(planned):
            delivery = Delivery(
                event=event,
                number=number,
                action=plan.action,
                mode=self.mode,
                received=now,
                received_boot=entry.boot,
                origin=entry.origin,
            )
            entry.deliveries.append(delivery)
        self._journal.add(entry)
        age, limit = 0.0 if report else now - event.ts, self.max_age_s(event.type)
        if not planned and age <= limit:
            self._dispatcher.tell(event, Result.DONE, self.mode)
        for delivery, plan in zip(entry.deliveries, planned, strict=True):
            if plan.refusal:
                self._dispatcher.refuse(delivery, Outcome(Result.REFUSED, plan.refusal))
            elif age > limit:
                reason = f"too old: {age:.1f} s, the limit for {event.type} is {limit:g} s"
                self._dispatcher.refuse(delivery, Outcome(Result.EXPIRED, reason))
            elif age > 1.0 and self._from_before_boot(delivery, now):  # nobody boots within a second
                reason = "older than the machine's start: it may have been pressed before"
                self._dispatcher.refuse(delivery, Outcome(Result.UNCERTAIN, reason))
            else:
                self._dispatcher.submit(delivery)
        return Receipt(Status.ACCEPTED, id=event.id, deliveries=entry.deliveries, origin=entry.origin)

    def _from_before_boot(self, delivery: Delivery, now: float) -> bool:
        repeatable = all(step in self.repeatable for step in delivery.action.steps)
        return not repeatable and before_boot(delivery.event.ts, now, self._clock)

    def _unrecorded(self, receipt: Receipt, event: TradeEvent) -> None:
        """The transaction failed: exits have fired and are remembered, the rest is forgotten and may be resent."""
        receipt.status = Status.UNAVAILABLE
        receipt.reason = "the journal cannot be written"
        if not (event.is_exit and self._dispatcher.exits_without_journal):
            for delivery in receipt.deliveries:
                self._dispatcher.withdraw(delivery, receipt.reason)
            self._journal.forget(event.id)


def _log_refusal(origin: str, reason: str, said: TradeEvent | None) -> None:
    """A line without a handler: a sender that floods us with these does not fill the disk."""
    fields = {"trade_id": said.trade, "symbol": said.symbol} if said else {}
    name = "an event"
    if said and said.id:
        fields["event_id"] = said.id
        name = f"event {said.id}"
    logger.warning("{} over {} was refused: {}", name, origin, reason, **fields)


def _hidden(asked: TradeEvent, raw: bytes, origin: str) -> tuple[TradeEvent, bytes]:
    """The event and its text without the secrets that a sender may have put there. Raises EventError."""
    if not may_hold_secret(asked):
        return asked, raw
    said, fields = stripped(asked)
    if not fields:
        return asked, raw
    name = f"event {said.id}" if said.id else "an event"
    logger.warning(
        "{} over {} held a secret in {}: hidden, and not recorded", name, origin, ", ".join(fields), symbol=said.symbol
    )
    return said, raw_of(said)


def _known(said: TradeEvent, recorded: str) -> Receipt:
    with suppress(EventError):  # a damaged record is another event
        before = events.validate(events.decode(recorded))
        # A sender that tries again stamps the same event anew: within the window that is no other event.
        again = before.model_copy(update={"ts": said.ts}) if abs(before.ts - said.ts) <= TWIN_WINDOW_S else before
        if again.body() == said.body():
            return Receipt(Status.DUPLICATE, id=said.id)
    return Receipt(Status.CONFLICT, id=said.id, reason="this id was used for another event")


def _turned_away(delivery: Delivery) -> bool:
    outcome = delivery.outcome
    return outcome is not None and delivery.begun == 0 and outcome.result in (Result.REFUSED, Result.EXPIRED)


def _tell(told: list[tuple[Receipt, Done]], error: JournalError | None) -> None:
    for receipt, done in told:
        if error is not None and receipt.status in (Status.ACCEPTED, Status.DUPLICATE):
            receipt.status, receipt.reason = Status.UNAVAILABLE, f"the journal cannot be flushed: {error}"
        done(receipt)
