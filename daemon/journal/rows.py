"""Between objects and rows: statements by name, checksums, and events rebuilt from what is stored."""

import json
import re
import sqlite3
import zlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from daemon import events
from daemon.errors import EventError
from daemon.events import TradeEvent
from daemon.ports import Action, Delivery, State

Row = tuple[Any, ...]


def _named(text: str) -> dict[str, str]:
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    without_comments = [re.sub(r"^--.*$", "", part, flags=re.MULTILINE).strip() for part in parts]
    return dict(zip(without_comments[1::2], without_comments[2::2], strict=True))


SCHEMA = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
"""The statements that make a new journal."""
SQL = _named(resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
"""Every statement of `queries.sql` by its name."""


def checksum(*parts: object) -> int:
    """CRC-32 of the parts, so that a flipped bit on disk never becomes another trade."""
    return zlib.crc32("\x1f".join(map(str, parts)).encode())


def event_row(
    seq: int, event: TradeEvent, body: str, origin: str, received: float, boot: float, fingerprint: bytes | None
) -> Row:
    """The row of an event; `received` is wall time and `boot` time since boot, in seconds."""
    crc = checksum(event.id, origin, event.ts, received, boot, body)
    return (seq, event.id, origin, event.ts, received, boot, body, fingerprint, crc)


def plan_checksum(seq: int, number: int, handler: str, target: str, mode: str) -> int:
    """The checksum of what never changes in a delivery."""
    return checksum(seq, number, handler, target, mode)


def delivery_row(delivery: Delivery) -> Row:
    """The row of a new delivery."""
    action, outcome = delivery.action, delivery.outcome
    return (
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
        outcome.reason if outcome else "",
        plan_checksum(delivery.event_seq, delivery.number, action.handler, action.target, delivery.mode),
    )


def change_row(delivery: Delivery) -> Row:
    """The parameters that bring a stored delivery up to date."""
    row = delivery_row(delivery)
    return (row[4], *row[6:13], row[0], row[1])


def rebuild(row: Sequence[Any]) -> Delivery:
    """An unfinished delivery with its event. Raises ValueError if the record cannot be trusted."""
    seq, event_id, origin, ts, received, boot, body, _, crc = row[:9]
    number, handler, target, steps, mode, state, begun, confirmed, first_byte, plan_crc = row[9:]
    if crc != checksum(event_id, origin, ts, received, boot, body):
        raise ValueError("the event's checksum is wrong")
    if plan_crc != plan_checksum(seq, number, handler, target, mode):
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
    shown["steps"] = json.loads(shown["steps"])
    return shown
