"""`python -m tests.bench`: measures Deskhand against the bare forwarder; exits 1 when a limit is missed.

All subjects live side by side on one broker, receiver and publisher and take turns phase by phase, in a new order each
repeat, so that whatever else the machine does hits them alike.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.bench import center, parts
from tests.bench.figures import Figures, Verdict, judge, memory, processor, sample, table, verdict_table

OURS = "deskhand"
FULL = {"20/s": (20, 300), "500/s": (500, 5000), "burst": (0, 10_000)}
WARM_UP = 20
"""Events at the phase's own rate that are not counted."""
QUICK = {"20/s": (20, 60), "500/s": (500, 1000), "burst": (0, 3000)}


class Bench:
    """One run."""

    def __init__(self, folder: Path, stack: ExitStack, options: argparse.Namespace) -> None:
        self._folder, self._stack = folder, stack
        self._phases = QUICK if options.quick else FULL
        self._repeats = 1 if options.quick else options.repeats
        self._idle_s = 5.0 if options.quick else 20.0
        broker, self._port = parts.broker(folder)
        stack.callback(broker.stop)
        self._receiver = parts.Asked("receiver", folder / "receiver.log")
        stack.callback(self._receiver.stop)
        self._publisher = parts.Asked("publisher", folder / "publisher.log", str(self._port))
        stack.callback(self._publisher.stop)
        self._url = f"ws://127.0.0.1:{self._receiver.hello}/"
        self._subjects = [parts.bare(folder, self._port, self._url)]
        if options.other:
            self._subjects.append(parts.other(folder, self._port, self._url, options.other))
        if not options.bare_only:
            self._subjects.append(parts.deskhand(folder, self._port, self._url, "persistent", OURS))
            self._subjects.append(parts.deskhand(folder, self._port, self._url, "warm", "warm"))
        self.figures = {subject.name: Figures() for subject in self._subjects}
        self._tags = 0

    def run(self) -> None:
        """Measure everything."""
        for subject in self._subjects:
            self._stack.callback(subject.stop)
            self._starts(subject)
        time.sleep(1.0)
        for subject in self._subjects:
            self.figures[subject.name].rss_fresh = memory(subject.running.process.pid)
        for repeat in range(self._repeats):
            shift = repeat % len(self._subjects)
            for phase, (rate, count) in self._phases.items():
                for subject in self._subjects[shift:] + self._subjects[:shift]:
                    _say(f"repeat {repeat + 1}: {phase} {subject.name}")
                    self._phase(subject, phase, rate, count)
        self._idle()

    def _tag(self) -> str:
        self._tags += 1
        return f"b-{int(time.time())}-{self._tags}"

    def _first(self, subject: parts.Subject, since: float, tag: str | None, seconds: float = 15.0) -> float:
        """Seconds from `since` (monotonic) to the first frame; without `tag` events are sent until one gets through."""
        while time.monotonic() < since + seconds:
            if tag is None:
                self._publisher.ask(f"0 1 {subject.topic} {self._tag()}")
            frames = self._receiver.ask("wait 1 0.02 0.02")
            if frames:
                return float(frames[0][0]) / 1e9 - since
            subject.check()
        raise RuntimeError(f"{subject.name}: no key within {seconds:.0f} s\n{subject.running.tail()}")

    def _starts(self, subject: parts.Subject) -> None:
        """Start to first key: with events arriving all the time, and with one that waited in the persistent session."""
        _say(f"start {subject.name}")
        figures = self.figures[subject.name]
        for number in range(self._repeats):
            subject.stop()
            self._receiver.ask("reset")
            tag = None
            if number and subject.name != "bare":
                tag = self._tag()
                self._publisher.ask(f"0 1 {subject.topic} {tag}")
            since = time.monotonic()
            subject.start()
            taken = self._first(subject, since, tag)
            (figures.queued_s if tag else figures.start_s).append(taken)
            self._receiver.ask("wait 1000000 1 0.3")
        if subject.name == OURS and not figures.queued_s:  # one repeat only: the queued start comes extra
            figures.queued_s.append(self._queued_start(subject))

    def _queued_start(self, subject: parts.Subject) -> float:
        subject.stop()
        self._receiver.ask("reset")
        tag = self._tag()
        self._publisher.ask(f"0 1 {subject.topic} {tag}")
        since = time.monotonic()
        subject.start()
        return self._first(subject, since, tag)

    def _settle(self) -> None:
        """Until nobody still works off an earlier phase, which would be measured with the next one otherwise."""
        for _ in range(120):
            before = [processor(subject.running.process.pid) for subject in self._subjects]
            time.sleep(0.5)
            after = [processor(subject.running.process.pid) for subject in self._subjects]
            if sum(after) - sum(before) <= 0.01:
                return

    def _phase(self, subject: parts.Subject, phase: str, rate: float, count: int) -> None:
        self._settle()
        if rate:  # everybody slept while the others had their turn; the first steps after that are not the pace
            self._publisher.ask(f"{rate} {WARM_UP} {subject.topic} {self._tag()}")
            self._receiver.ask("wait 1000000 1 0.3")
        tag = self._tag()
        subject.check()
        self._receiver.ask("reset")
        sent = self._publisher.ask(f"{rate} {count} {subject.topic} {tag}")
        frames = [(at, text) for at, text in self._receiver.ask(f"wait {count} 60 5")]
        self._receiver.ask("wait 1000000 1 0.3")  # let it finish what is not seen from outside
        self.figures[subject.name].phases.setdefault(phase, []).append(sample(tag, sent, frames))

    def _idle(self) -> None:
        _say(f"idle for {self._idle_s:.0f} s")
        time.sleep(5.0)  # outcomes of the last burst are still being published
        before = {subject.name: processor(subject.running.process.pid) for subject in self._subjects}
        time.sleep(self._idle_s)
        for subject in self._subjects:
            pid = subject.running.process.pid
            figures = self.figures[subject.name]
            figures.cpu = 100 * (processor(pid) - before[subject.name]) / self._idle_s
            figures.rss = memory(pid)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _report(figures: dict[str, Figures], verdicts: list[Verdict], as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "figures": {name: asdict(one) for name, one in figures.items()},
                    "verdicts": [asdict(one) | {"kept": one.kept} for one in verdicts],
                }
            )
        )
        return
    print(table(figures))
    print()
    print(verdict_table(verdicts))


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repeat")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--repeats", type=int, default=3, help="repeats to take the median of (default 3)")
    parser.add_argument("--bare-only", action="store_true", help="leave the daemon out")
    parser.add_argument("--other", metavar="COMMAND", help="also measure this; it may say {port} {topic} {url} {dir}")
    parser.add_argument("--center", action="store_true", help="only: a Command Center that is away amid 1,000 events")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and state")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deskhand-bench-", dir="/var/tmp"))  # on a real disk, unlike some /tmp
    try:
        if options.center:
            return center.main(folder, options.repeats)
        with ExitStack() as stack:
            bench = Bench(folder, stack, options)
            bench.run()
    finally:
        if options.keep:
            _say(f"kept {folder}")
        else:
            shutil.rmtree(folder)
    ours = bench.figures.get(OURS)
    verdicts = judge(bench.figures["bare"], ours) if ours else []
    _report(bench.figures, verdicts, options.json)
    return 0 if all(one.kept for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
