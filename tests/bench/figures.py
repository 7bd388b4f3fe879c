"""Figures from what the parts report, the limits they must keep, and the table."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

LIMITS = {
    "paced p50": 1.0,
    "paced p99": 1.5,
    "burst": 0.4,
    "rss": 60.0,
    "cpu": 0.5,
    "start": 1.0,
}
"""Ratios to bare for the first three; then MiB, % of one core, seconds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One phase of one subject: latencies in microseconds, `rate` in events per second, counts of events."""

    p50: float
    p99: float
    rate: float
    lost: int
    disordered: int
    doubled: int


def sample(tag: str, sent: list[int], frames: list[tuple[int, str]]) -> Sample:
    """Judge the frames of one phase; send and arrival times in nanoseconds of the same clock."""
    arrived: dict[int, int] = {}
    disordered = doubled = 0
    highest = -1
    for at, text in frames:
        own, _, number = text.split()[-1].rpartition("-")
        if own != tag:
            continue
        index = int(number)
        if index in arrived:
            doubled += 1
            continue
        arrived[index] = at
        disordered += index < highest
        highest = max(highest, index)
    latencies = sorted((at - sent[index]) / 1000 for index, at in arrived.items())
    span = (max(arrived.values()) - sent[0]) / 1e9 if arrived else float("inf")
    return Sample(
        p50=_quantile(latencies, 0.50),
        p99=_quantile(latencies, 0.99),
        rate=len(arrived) / span,
        lost=len(sent) - len(arrived),
        disordered=disordered,
        doubled=doubled,
    )


def _quantile(ordered: list[float], share: float) -> float:
    if not ordered:
        return float("inf")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class Figures:
    """Everything measured of one subject; each list holds one value per repeat."""

    phases: dict[str, list[Sample]] = field(default_factory=dict)
    start_s: list[float] = field(default_factory=list)
    queued_s: list[float] = field(default_factory=list)
    rss_fresh: float = 0.0
    rss: float = 0.0
    cpu: float = 0.0

    def of(self, phase: str, what: str) -> float:
        """The median over the repeats."""
        return float(median(getattr(one, what) for one in self.phases[phase]))

    def total(self, what: str) -> int:
        """The sum over all phases and repeats."""
        return sum(getattr(one, what) for samples in self.phases.values() for one in samples)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _tree(int(child))
    return found


def memory(pid: int) -> float:
    """Resident memory of a process and its children, in MiB."""
    total = 0
    for one in _tree(pid):
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total / 1024


def processor(pid: int) -> float:
    """Processor time used so far by a process and its children, in seconds."""
    ticks = 0
    for one in _tree(pid):
        words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the judgement."""

    what: str
    value: float
    limit: float
    least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.least else self.value <= self.limit


def judge(bare: Figures, ours: Figures) -> list[Verdict]:
    """Hold the daemon's figures against the limits."""
    lines = []
    for phase in ours.phases:
        if phase == "burst":
            ratio = ours.of(phase, "rate") / bare.of(phase, "rate")
            lines.append(Verdict("burst rate / bare", ratio, LIMITS["burst"], least=True))
        else:
            for what in ("p50", "p99"):
                ratio = ours.of(phase, what) / bare.of(phase, what)
                lines.append(Verdict(f"{phase} {what} / bare", ratio, LIMITS[f"paced {what}"]))
    lines += [Verdict(what, float(ours.total(what)), 0.0) for what in ("lost", "disordered", "doubled")]
    lines.append(Verdict("idle RSS, MiB", max(ours.rss, ours.rss_fresh), LIMITS["rss"]))
    lines.append(Verdict("idle CPU, %", ours.cpu, LIMITS["cpu"]))
    lines.append(Verdict("start to first key, s", median(ours.start_s), LIMITS["start"]))
    lines.append(Verdict("start to first queued key, s", median(ours.queued_s), LIMITS["start"]))
    return lines


def table(figures: dict[str, Figures]) -> str:
    """All figures, one subject per column, latencies in microseconds, medians over the repeats."""
    names = list(figures)
    rows: list[tuple[str, list[str]]] = []
    for phase in figures[names[0]].phases:
        if phase == "burst":
            rows.append(("burst, events/s", [f"{one.of(phase, 'rate'):,.0f}" for one in figures.values()]))
            continue
        rows += [
            (f"{phase} {what}, us", [f"{one.of(phase, what):,.0f}" for one in figures.values()])
            for what in ("p50", "p99")
        ]
    rows += [(what, [str(one.total(what)) for one in figures.values()]) for what in ("lost", "disordered", "doubled")]
    rows.append(("RSS fresh, MiB", [f"{one.rss_fresh:.1f}" for one in figures.values()]))
    rows.append(("RSS after the load, MiB", [f"{one.rss:.1f}" for one in figures.values()]))
    rows.append(("idle CPU, %", [f"{one.cpu:.2f}" for one in figures.values()]))
    for label, attribute in (("start to first key, s", "start_s"), ("start to queued key, s", "queued_s")):
        values = [getattr(one, attribute) for one in figures.values()]
        rows.append((label, [f"{median(value):.2f}" if value else "-" for value in values]))
    lines = [f"{'':26}" + "".join(f"{name:>16}" for name in names)]
    lines += [f"{label:26}" + "".join(f"{value:>16}" for value in values) for label, values in rows]
    return "\n".join(lines)


def verdict_table(verdicts: list[Verdict]) -> str:
    """The judgement, one limit per line."""
    return "\n".join(
        f"{'ok    ' if one.kept else 'MISSED'} {one.what:32} {one.value:8.2f}  "
        f"{'at least' if one.least else 'at most '} {one.limit:g}"
        for one in verdicts
    )
