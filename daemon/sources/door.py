"""What the local sources share: the intake as they see it, and its receipt as JSON."""

from collections.abc import Callable
from typing import Any, Protocol

from daemon.http.replies import RETRY_AFTER
from daemon.ports import Delivery, Receipt, Result, Status


class Door(Protocol):
    """What a local source needs of the intake; its calls are made on the loop's thread."""

    def offer(
        self, raw: bytes | str, origin: str, done: Callable[[Receipt], None], *, ts_required: bool = False
    ) -> None:
        """Take a candidate event in; `done` is called once, when it is safe on disk or refused. Never raises."""
        ...

    def flush(self) -> None:
        """Record and dispatch everything offered since the last flush."""
        ...

    async def submit(self, raw: bytes | str, origin: str, *, ts_required: bool = False) -> Receipt:
        """`offer`, `flush`, and wait for the receipt."""
        ...

    async def outcomes(self, receipt: Receipt, timeout: float) -> None:
        """Wait until every delivery of the receipt has its outcome, `timeout` seconds at most."""
        ...


CODES = {
    Status.ACCEPTED: 202,
    Status.DUPLICATE: 200,
    Status.CONFLICT: 409,
    Status.REFUSED: 409,
    Status.INVALID: 422,
    Status.UNAVAILABLE: 503,
}
"""The HTTP status of each answer of the intake."""


def describe(receipt: Receipt) -> tuple[int, dict[str, Any]]:
    """A receipt as HTTP status and JSON body, as it stands at this moment.

    An accepted event whose every delivery the guard has refused by now is told as refused.
    """
    status, reason = receipt.status, receipt.reason
    if status is Status.ACCEPTED and receipt.deliveries:
        ends = [delivery.outcome for delivery in receipt.deliveries]
        if all(end is not None and end.result is Result.REFUSED for end in ends):
            status, reason = Status.REFUSED, next((end.reason for end in ends if end and end.reason), "")
    body: dict[str, Any] = {"id": receipt.id} if receipt.id else {}
    body["status"] = str(Status.REFUSED if status is Status.CONFLICT else status)
    if receipt.field:
        body["field"] = receipt.field
    if reason:
        body["reason"] = reason
    if receipt.deliveries or status is Status.ACCEPTED:
        body["deliveries"] = [_delivery(delivery) for delivery in receipt.deliveries]
    return CODES[status], body


def headers(code: int) -> dict[str, str] | None:
    """What goes with a status: when to try again."""
    return RETRY_AFTER if code == CODES[Status.UNAVAILABLE] else None


def _delivery(delivery: Delivery) -> dict[str, Any]:
    """One delivery; `first_byte` in seconds since the epoch, `latency_ms` from receipt to it, once it is out."""
    told: dict[str, Any] = {
        "number": delivery.number,
        "handler": delivery.action.handler,
        "target": delivery.action.target,
        "steps": list(delivery.action.steps),
        "mode": delivery.mode,
        "state": str(delivery.state),
        "begun": delivery.begun,
        "confirmed": delivery.confirmed,
    }
    if delivery.outcome is not None:
        told["result"] = str(delivery.outcome.result)
        if delivery.outcome.reason:
            told["reason"] = delivery.outcome.reason
    if delivery.first_byte:
        told["first_byte"] = delivery.first_byte
        told["latency_ms"] = round((delivery.first_byte - delivery.received) * 1000, 3)
    return told
