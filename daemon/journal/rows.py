"""Between objects and rows: statements by name, checksums, and events rebuilt from what is stored."""

import json
import re
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from daemon import events
from daemon.errors import EventError
from daemon.events import TradeEvent
from daemon.ports import Action, Delivery, Result, State
from daemon.redaction import redact

Row = tuple[Any, ...]


def _named(text: str) -> dict[str, str]:
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    without_comments = [re.sub(r"^--.*$", "", part, flags=re.MULTILINE).strip() for part in parts]
    return dict(zip(without_comments[1::2], without_comments[2::2], strict=True))


SCHEMA = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
"""The statements that make a new journal, a block for each version."""
SQL = _named(resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
"""Every statement of `queries.sql` by its name."""


def checksum(*parts: object) -> int:
    """CRC-32 of the parts, so that a flipped bit on disk never becomes another trade."""
    return zlib.crc32("\x1f".join(map(str, parts)).encode())


@dataclass(slots=True, eq=False)
class Entry:
    """An event on its way into the journal: as it will act (`event`), as it was said (`said`), as it came (`raw`).

    `received` is wall time and `boot` time since boot, in seconds; `fingerprint` only if the sender gave no id.
    """

    event: TradeEvent
    said: TradeEvent
    raw: bytes
    origin: str
    received: float
    boot: float
    deliveries: list[Delivery]
    fingerprint: bytes | None = None
    seq: int = 0


def event_row(entry: Entry) -> Row:
    """The row of an event."""
    event_id, ts, body = entry.event.id, entry.event.ts, entry.said.body()
    crc = checksum(event_id, entry.origin, ts, entry.received, entry.boot, body)
    return (entry.seq, event_id, entry.origin, ts, entry.received, entry.boot, body, entry.fingerprint, crc)


@lru_cache(maxsize=512)
def _plan(actions: tuple[Action, ...]) -> str:
    return json.dumps([[action.handler, action.target, action.steps] for action in actions])


_LETTERS = {State.STARTED: "s", State.PLANNED: "p"}


def inbox_head(entry: Entry) -> str:
    """What the inbox keeps of an event beside its raw text; none of its deliveries has ended."""
    deliveries = entry.deliveries
    plan = _plan(tuple([delivery.action for delivery in deliveries]))
    begun = "".join([_LETTERS[delivery.state] for delivery in deliveries])
    mark = entry.fingerprint.hex() if entry.fingerprint else ""
    # No field holds a tab: ids are printable.
    return (
        f"{entry.seq}\t{entry.origin}\t{entry.event.ts!r}\t{entry.received!r}\t{entry.boot!r}\t{mark}\t"
        f"{deliveries[0].mode}\t{plan}\t{begun}\t{entry.event.id}"
    )


def rebuild_entry(head: str, raw: bytes) -> Entry:
    """What a crash left in the inbox. Raises ValueError if it cannot be read."""
    try:
        seq, origin, ts, received, boot, mark, mode, plan, begun, event_id = head.split("\t")
        said = events.validate(events.decode(raw))
        event = said.model_copy(update={"id": event_id, "ts": float(ts)})
        entry = Entry(event, said, raw, origin, float(received), float(boot), [], bytes.fromhex(mark) or None, int(seq))
        for number, (letter, (handler, target, steps)) in enumerate(zip(begun, json.loads(plan), strict=True)):
            started = letter == "s"
            delivery = Delivery(
                event=event,
                number=number,
                action=Action(handler, target, tuple(map(str, steps))),
                mode="live" if mode == "live" else "practice",
                received=entry.received,
                received_boot=entry.boot,
                origin=origin,
                state=State.STARTED if started else State.PLANNED,
                begun=1 if started and steps else 0,
                event_seq=entry.seq,
            )
            entry.deliveries.append(delivery)
    except (EventError, TypeError) as error:
        raise ValueError(str(error)) from None
    return entry


def delivery_row(delivery: Delivery) -> Row:
    """The row of a new delivery."""
    action, outcome = delivery.action, delivery.outcome
    row = (
        delivery.event_seq,
        delivery.number,
        action.handler,
        action.target,
        json.dumps(action.steps),
        delivery.mode,
        delivery.state,
        delivery.begun,
        delivery.confirmed,
        delivery.first_byte,
        delivery.ended_at,
        outcome.result if outcome else None,
        redact.sure(outcome.reason) if outcome and outcome.reason else "",  # it may quote a peer
    )
    return (*row, checksum(*row))


def change_row(delivery: Delivery) -> Row:
    """The parameters that bring a stored delivery up to date."""
    row = delivery_row(delivery)
    return (row[4], *row[6:], row[0], row[1])


def without_key(delivery: Delivery) -> bool:
    """Whether it ended before any key could go out."""
    outcome = delivery.outcome
    failed = (Result.FAILED, Result.EXPIRED, Result.REFUSED)
    return outcome is not None and delivery.begun == 0 and outcome.result in failed


def rebuild(row: Sequence[Any]) -> Delivery:
    """An unfinished delivery with its event. Raises ValueError if the record cannot be trusted."""
    seq, event_id, origin, ts, received, boot, body, _, crc = row[:9]
    number, handler, target, steps, mode, state, begun, confirmed, first_byte = row[9:18]
    if crc != checksum(event_id, origin, ts, received, boot, body):
        raise ValueError("the event's checksum is wrong")
    if row[-1] != checksum(seq, *row[9:-1]):
        raise ValueError("the delivery's checksum is wrong")
    try:
        event = events.validate(events.decode(body)).model_copy(update={"id": event_id, "ts": ts})
        keys = tuple(map(str, json.loads(steps)))
        if not 0 <= confirmed <= begun <= len(keys):
            raise ValueError("the delivery's counts are wrong")
        delivery = Delivery(
            event=event,
            number=number,
            action=Action(handler, target, keys),
            mode=mode,
            received=received,
            received_boot=boot,
            origin=origin,
            state=State(state),
            begun=begun,
            confirmed=confirmed,
            first_byte=first_byte,
            event_seq=seq,
        )
    except (TypeError, EventError) as error:
        raise ValueError(str(error)) from None
    return delivery


def event_json(row: sqlite3.Row, deliveries: list[dict[str, Any]]) -> dict[str, Any]:
    """A stored event as JSON-ready data; times are seconds since the epoch."""
    try:
        body = json.loads(row["body"])
    except ValueError:
        body = {}
    refused = [d for d in deliveries if d["result"] in ("refused", "expired") and not d["begun"]]
    all_refused = bool(deliveries) and len(refused) == len(deliveries)
    return {
        "seq": row["seq"],
        "id": row["id"],
        "type": body.get("type"),
        "symbol": body.get("symbol"),
        "trade": body.get("trade_id") or f"{body.get('account', '')}:{body.get('symbol', '')}",
        "ts": row["ts"],
        "received": row["received"],
        "origin": row["origin"],
        "status": "refused" if all_refused else "accepted",
        "reason": refused[0]["reason"] if all_refused else "",
        "event": body | {"id": row["id"], "ts": row["ts"]},
        "deliveries": deliveries,
    }


def stored_delivery(row: sqlite3.Row) -> dict[str, Any]:
    """A row of `deliveries_of` as JSON-ready data; `latency_ms` is from receipt to the first byte."""
    shown = dict(row)
    shown.pop("seq")
    try:
        shown["steps"] = json.loads(shown["steps"])
    except ValueError:
        shown["steps"] = []
    return shown
