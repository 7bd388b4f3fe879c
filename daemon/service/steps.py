"""A plan: steps as values, each with what it does in words, whether it is so already, and how it is done."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from daemon.errors import DeskhandError


class UndoneError(DeskhandError):
    """A step failed, and everything is as it was before the plan."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `do` raises DeskhandError or OSError; `affects`: a running service has to be restarted."""

    words: str
    do: Callable[[], None]
    so: Callable[[], bool] = _never
    affects: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in order. `pending` is the file that is there while the service has not seen all changes yet."""

    steps: list[Step]
    pending: Path | None = None
    after: list[str] = field(default_factory=list)
    """What to tell when everything is done."""


def kept(words: str) -> Step:
    """A step that only says why nothing is done."""
    return Step(words, lambda: None, so=lambda: True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock this folder, made if need be, so that no two plans for what is in it are made and performed at once.

    Raises DeskhandError when another process has it, else OSError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeskhandError(
                "another `deskhand service` installs or uninstalls at this moment; let it end"
            ) from None
        yield
    finally:
        os.close(handle)


def perform(plan: Plan, show: Callable[[str], None], *, dry: bool) -> None:
    """Do what is not so yet, telling each step as it ends; with `dry` only tell.

    Raises DeskhandError at the first step that fails. What was done stays, and the next run goes on from there.
    """
    for step in plan.steps:
        try:
            if _so(step, dry=dry):
                show(f"already so  {step.words}")
            elif dry:
                show(f"would       {step.words}")
            else:
                if step.affects and plan.pending:
                    plan.pending.touch(mode=0o644)
                step.do()
                show(f"done        {step.words}")
        except UndoneError as error:
            raise DeskhandError(f"could not {step.words}: {error}") from error
        except (DeskhandError, OSError) as error:
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
            raise DeskhandError(
                f"could not {step.words}: {reason}\nWhat was done until here stays; run it again to go on."
            ) from error
    for line in plan.after:
        show(line)


def _so(step: Step, *, dry: bool) -> bool:
    try:
        return step.so()
    except PermissionError:
        if dry:  # without root some folders cannot be looked into
            return False
        raise
