"""What the Command Center keeps: runs, trades, markets; and what it refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.center_wire import METHODS, Json, WrongError, check, content, plain, read


@dataclass(slots=True)
class Run:
    """One run; `status` is `open` until it is stopped, `stale` when the next one closed it. Times as the server's."""

    id: int
    config_id: int
    mode: str
    bankroll: Any
    started: float
    status: str = "open"
    stopped: float | None = None
    metrics: Json = field(default_factory=dict)
    final: Json = field(default_factory=dict)
    error_message: str | None = None
    stops: int = 0
    updates: list[tuple[float, Json]] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.status == "open"


@dataclass(slots=True)
class Trade:
    """One trade as it arrived, alone or in a batch, and what was said of it later."""

    id: int
    run: int
    at: float
    body: Json
    batch: int = 0
    updates: list[tuple[float, Json]] = field(default_factory=list)

    @property
    def status(self) -> str | None:
        """The last one it was given."""
        return next((said["status"] for _, said in reversed(self.updates) if "status" in said), None)


@dataclass(frozen=True, slots=True)
class Violation:
    """A request that the real one would not understand."""

    at: float
    path: str
    words: str


@dataclass(slots=True)
class Books:
    """The state. The switches say what the real one is not known to do."""

    open_runs: Literal["close", "refuse", "allow"] = "close"
    """run/start while a run is open: closes it as `stale`, answers 409, or opens another."""
    repeat_stop: Literal["accept", "refuse"] = "accept"
    """run/stop of a stopped run: the same answer again, or 409."""
    late_trades: Literal["accept", "refuse"] = "accept"
    """A trade of a stopped run: taken, or 409."""
    score: float | None = 72.5
    """`analysis.overallScore` of run/stop; None leaves it out."""
    config: Any = None
    runs: dict[int, Run] = field(default_factory=dict)
    trades: dict[int, Trade] = field(default_factory=dict)
    reports: list[tuple[float, list[Json]]] = field(default_factory=list)
    batches: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def open(self) -> list[Run]:
        """Runs that nobody stopped."""
        return [run for run in self.runs.values() if run.open]

    def copies(self) -> Counter[str]:
        """How often each trade arrived, by what it says."""
        return Counter(content(trade.body) for trade in self.trades.values())

    def doubled(self) -> list[str]:
        """Trades and updates that arrived more than once."""
        said = Counter(content(body) for trade in self.trades.values() for _, body in trade.updates)
        return [text for text, times in (self.copies() + said).items() if times > 1]

    def summary(self) -> Json:
        """JSON-ready."""
        return {
            "runs": [
                {
                    **{name: plain(getattr(run, name)) for name in ("id", "config_id", "mode", "bankroll", "status")},
                    **{name: getattr(run, name) for name in ("started", "stopped", "stops", "error_message")},
                    "metrics": plain(run.metrics),
                    "final": plain(run.final),
                    "updates": [at for at, _ in run.updates],
                }
                for run in self.runs.values()
            ],
            "trades": [
                {"id": trade.id, "run": trade.run, "at": trade.at, "batch": trade.batch, "body": plain(trade.body)}
                | {"status": trade.status, "updates": [plain(body) for _, body in trade.updates]}
                for trade in self.trades.values()
            ],
            "reports": [[at, plain(markets)] for at, markets in self.reports],
            "doubled": self.doubled(),
            "violations": [f"{each.path}: {each.words}" for each in self.violations],
        }

    def take(self, method: str, path: str, kind: str | None, raw: bytes, now: float) -> tuple[int, Any]:
        """What a request does, and what it is answered; a wrong one is 400, remembered, and does nothing."""
        try:
            if path not in METHODS:
                raise WrongError("no such path", 404)
            if method != METHODS[path]:
                raise WrongError(f"{method} is not for this path", 405)
            if kind is None or kind.split(";")[0].strip().lower() != "application/json":
                raise WrongError("the content type is not application/json")
            if method == "GET":
                if raw:
                    raise WrongError("a GET with a body")
                return 200, {"status": "ok"} if path == "/status" else self.config
            body = read(raw)
            check(path, body)
            return self._act(path, body, now)
        except WrongError as error:
            self.violations.append(Violation(now, path, str(error)))
            return error.status, {"error": str(error)}

    def _act(self, path: str, body: Json, now: float) -> tuple[int, Any]:
        match path:
            case "/run/start":
                return self._start(body, now)
            case "/run/update":
                run = self._run(body)
                if not run.open:
                    raise WrongError("an update of a run that is stopped")
                said = {name: value for name, value in body.items() if name != "runId"}
                run.updates.append((now, said))
                run.metrics |= said
                return 200, {"success": True}
            case "/run/stop":
                return self._stop(body, now)
            case "/trade":
                return self._trades([body], now, 0)
            case "/trade/batch":
                return self._trades(body["trades"], now, self.batches + 1)
            case "/trade/update":
                trade = self.trades.get(body["tradeId"])
                if trade is None:
                    raise WrongError("there is no such trade")
                trade.updates.append((now, body))
                return 200, {"success": True}
        self.reports.append((now, body["markets"]))
        return 200, {"received": len(body["markets"])}

    def _run(self, body: Json) -> Run:
        run = self.runs.get(body["runId"])
        if run is None:
            raise WrongError("there is no such run")
        return run

    def _start(self, body: Json, now: float) -> tuple[int, Any]:
        if self.open and self.open_runs == "refuse":
            return 409, {"error": f"run {self.open[0].id} is still open"}
        if self.open_runs == "close":
            for stale in self.open:
                stale.status, stale.stopped = "stale", now
        run = Run(len(self.runs) + 101, body["configId"], body["mode"], body["startingBankroll"], now)
        self.runs[run.id] = run
        return 200, {"runId": run.id}

    def _stop(self, body: Json, now: float) -> tuple[int, Any]:
        run = self._run(body)
        if run.open or self.repeat_stop == "accept":
            run.stops += 1
        else:
            return 409, {"error": "the run is stopped already"}
        if run.open:
            run.status, run.stopped, run.error_message = body["status"], now, body.get("errorMessage")
            run.final = {name: value for name, value in body.items() if name not in ("runId", "status", "errorMessage")}
        return 200, {"success": True} | ({"analysis": {"overallScore": self.score}} if self.score is not None else {})

    def _trades(self, bodies: Sequence[Json], now: float, batch: int) -> tuple[int, Any]:
        if any(not self._run(body).open for body in bodies) and self.late_trades == "refuse":
            return 409, {"error": "the run is stopped"}
        ids = [len(self.trades) + 5001 + number for number in range(len(bodies))]
        for id, body in zip(ids, bodies, strict=True):
            self.trades[id] = Trade(id, body["runId"], now, body, batch)
        if not batch:
            return 200, {"tradeId": ids[0]}
        self.batches = batch
        return 200, {"tradeIds": ids}
