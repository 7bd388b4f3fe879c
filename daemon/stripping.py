"""Secrets that a sender put into an event: hidden at the door, so that no record, key or report ever holds them."""

import hashlib
import json

from daemon.errors import EventError
from daemon.events import META_LIMIT, TradeEvent
from daemon.redaction import HIDDEN, redact

_TEXTS = {"trade_id": 128, "account": 64, "strategy": 64, "source": 64}
_SYMBOL = "HIDDEN"


def may_hold_secret(said: TradeEvent) -> bool:
    """Whether to look closer; says no of nearly every event, in a microsecond."""
    meta = str(said.meta) if said.meta else ""
    texts = (said.symbol, said.id, said.trade_id, said.account, said.strategy, said.source)
    return redact.holds("\n".join([meta, *filter(None, texts)]))


def stripped(said: TradeEvent) -> tuple[TradeEvent, list[str]]:
    """The event without secrets, and the names of the fields that held one.

    An entry or profit with one for its symbol is refused by EventError, because keys go by it; an sl or close is never
    lost to it. An id stays the same id each time it comes, and another one another.
    """
    changed: dict[str, object] = {}
    for name, longest in _TEXTS.items():
        text = getattr(said, name)
        if text and (hidden := redact.sure(text)) != text:
            changed[name] = hidden[:longest]
    if redact.sure(said.id) != said.id:
        changed["id"] = f"{HIDDEN}-{hashlib.blake2b(said.id.encode(), digest_size=8).hexdigest()}"
    if said.meta and (meta := _meta(said.meta)) != said.meta:
        changed["meta"] = meta
    if redact.sure(said.symbol) != said.symbol:
        if not said.is_exit:
            raise EventError("symbol", "is a secret that this daemon knows, and no symbol")
        changed["symbol"] = _SYMBOL
    return said.model_copy(update=changed), sorted(changed)


def raw_of(event: TradeEvent) -> bytes:
    """The event as its sender would have put it without the secrets."""
    return (event.model_dump_json(exclude_none=True) if event.id else event.body()).encode()


def _meta(meta: dict[str, str | int | float]) -> dict[str, str | int | float]:
    hidden: dict[str, str | int | float] = {}
    for name, item in meta.items():
        text = str(item)
        hidden[redact.sure(name)] = item if (shown := redact.sure(text)) == text else shown
    if len(json.dumps(hidden, ensure_ascii=False).encode()) > META_LIMIT:  # the mark is longer than what it stands for
        return {HIDDEN: HIDDEN}
    return hidden
