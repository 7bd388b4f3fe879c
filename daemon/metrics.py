"""The daemon's numbers: plain counting on the hot path; `daemon.exposition` makes text of them when somebody asks.

Called on the loop's thread only. Labels are bounded: whatever is too many or too long counts as `other`.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal, NamedTuple

from daemon.ports import Halt

SERIES_LIMIT = 256
"""Most label combinations of one metric."""
LABEL_LIMIT = 64
"""Longest label, in characters."""
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0)
"""Upper bounds of the latency histogram, in seconds: a key goes out within a millisecond or waits for its peer."""

_HALTED: dict[Halt, float] = {"none": 0.0, "entries": 1.0, "all": 2.0}
_Labels = tuple[str, ...]


class _Numbers(dict[_Labels, float]):
    """One metric's values by labels."""

    def at(self, labels: _Labels) -> _Labels:
        """The labels to count under: these, while there is room."""
        if labels in self:
            return labels
        if len(self) >= SERIES_LIMIT or max(map(len, labels)) > LABEL_LIMIT:
            return ("other",) * len(labels)
        return labels

    def add(self, *labels: str) -> None:
        """Count one."""
        key = self.at(labels)
        self[key] = self.get(key, 0.0) + 1.0


class _Histogram:
    """How often a value fell into each bucket (the last one is open), and the sum of all."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0


class Series(NamedTuple):
    """One metric: its name without a counter's `_total`, and its values by labels."""

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    labels: _Labels
    numbers: Mapping[_Labels, float]


class Metrics:
    """All metrics of one daemon, under the names of CONTRACT."""

    def __init__(self) -> None:
        self._events = _Numbers()
        self._deliveries = _Numbers()
        self._depth = _Numbers()
        self._outbox = _Numbers()
        self._up = _Numbers()
        self._reloads = _Numbers()
        self._auth_failures = _Numbers()
        self._job_runs = _Numbers()
        self._job_success = _Numbers()
        self._egress_blocked = _Numbers()
        self._bots = _Numbers()
        self._first_byte: dict[str, _Histogram] = {}
        self._halted = 0.0

    def events_total(self, type: str, source: str, status: str) -> None:
        """Count an event at the door; `type` is `unknown` when it could not be read."""
        self._events.add(type, source, status)

    def deliveries_total(self, handler: str, outcome: str) -> None:
        """Count a delivery's end."""
        self._deliveries.add(handler, outcome)

    def first_byte_seconds(self, handler: str, seconds: float) -> None:
        """Note the time from an event's receipt to its delivery's first byte, in seconds."""
        histogram = self._first_byte.get(handler)
        if histogram is None:
            name = handler if len(self._first_byte) < SERIES_LIMIT and len(handler) <= LABEL_LIMIT else "other"
            histogram = self._first_byte.setdefault(name, _Histogram())
        histogram.counts[bisect_left(BUCKETS, seconds)] += 1
        histogram.total += seconds

    def queue_depth(self, lane: str, depth: int) -> None:
        """Set how many deliveries wait or run in a lane."""
        self._depth[self._depth.at((lane,))] = depth

    def outbox_depth(self, handler: str, depth: int) -> None:
        """Set how many posts wait or are under way in a handler's outbox."""
        self._outbox[self._outbox.at((handler,))] = depth

    def peer_up(self, peer: str, up: bool) -> None:  # it is the gauge's value
        """Set whether a peer can be reached."""
        self._up[self._up.at((peer,))] = up

    def job_run(self, job: str, result: Literal["done", "failed", "skipped"]) -> None:
        """Count a job's run that ended, or was skipped because the one before still ran."""
        self._job_runs.add(job, result)

    def job_succeeded(self, job: str, at: float) -> None:
        """Note when a job was last done, wall time in seconds since the epoch."""
        self._job_success[self._job_success.at((job,))] = at

    def job_gone(self, job: str) -> None:
        """Forget when a job was last done: it runs no more, and nobody should wait for it."""
        self._job_success.pop((job,), None)

    def egress_blocked(self, peer: str) -> None:
        """Count a request that the guard stopped before its first byte."""
        self._egress_blocked.add(peer)

    def bots(self, counts: Mapping[str, int]) -> None:
        """Set how many bots are in each state."""
        for state, count in counts.items():
            self._bots[self._bots.at((state,))] = count

    def gone(self, lane: str) -> None:
        """Forget a lane, and the peer of that name."""
        self._depth.pop((lane,), None)
        self._up.pop((lane,), None)

    def reloads_total(self, result: str) -> None:
        """Count a reload: reloaded, unchanged or refused."""
        self._reloads.add(result)

    def auth_failures_total(self, reason: str) -> None:
        """Count a request that was turned away: foreign, missing, wrong, expired or role."""
        self._auth_failures.add(reason)

    def halted(self, level: Halt) -> None:
        """Set the kill switch: 0 none, 1 entries, 2 all."""
        self._halted = _HALTED[level]

    def series(self) -> tuple[Series, ...]:
        """Every counter and gauge."""
        return (
            Series("counter", "deskhand_events", "Events at the door", ("type", "source", "status"), self._events),
            Series("counter", "deskhand_deliveries", "Deliveries ended", ("handler", "outcome"), self._deliveries),
            Series("gauge", "deskhand_queue_depth", "Deliveries that wait or run", ("lane",), self._depth),
            Series("gauge", "deskhand_outbox_depth", "Posts that wait to be sent", ("handler",), self._outbox),
            Series("gauge", "deskhand_peer_up", "Whether the peer can be reached", ("peer",), self._up),
            Series("counter", "deskhand_reloads", "Reloads of the configuration", ("result",), self._reloads),
            Series(
                "counter", "deskhand_egress_blocked", "Requests stopped by the guard", ("peer",), self._egress_blocked
            ),
            Series("counter", "deskhand_auth_failures", "Requests turned away", ("reason",), self._auth_failures),
            Series("gauge", "deskhand_bots", "Bots at Hummingbot, by state", ("state",), self._bots),
            Series("counter", "deskhand_job_runs", "Runs of scheduled jobs", ("job", "result"), self._job_runs),
            Series(
                "gauge",
                "deskhand_job_last_success_timestamp_seconds",
                "When a scheduled job was last done",
                ("job",),
                self._job_success,
            ),
            Series("gauge", "deskhand_halted", "The kill switch: 0 none, 1 entries, 2 all", (), {(): self._halted}),
        )

    def latency(self) -> dict[str, tuple[list[int], float]]:
        """For each handler how often a first byte went out within each of `BUCKETS` and later, and the sum, seconds."""
        return {handler: (histogram.counts, histogram.total) for handler, histogram in self._first_byte.items()}

    def events_by_status(self) -> dict[str, int]:
        """How many events had each status, for people."""
        counts: dict[str, int] = {}
        for (_, _, status), number in self._events.items():
            counts[status] = counts.get(status, 0) + int(number)
        return counts
