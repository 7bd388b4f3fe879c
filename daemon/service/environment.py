"""The service's own environment: a folder for each version, a link to the one in use, and one back to return to."""

from pathlib import Path

from daemon.service import files
from daemon.service.payload import Payload
from daemon.service.places import Places
from daemon.service.python import Python
from daemon.service.runner import Runner
from daemon.service.steps import Step, kept

_PIP_S = 900
_COMPLETE = ".complete"
"""Written last: an environment without it broke off and is made anew."""


def name_of(payload: Payload, python: Python) -> str:
    """`VERSION-HASH`: the same for the same contents and the same Python."""
    return f"{payload.version}-{payload.digest[:8]}-py{python.version}"


def build(places: Places, payload: Payload, python: Python, wheelhouse: Path | None, run: Runner) -> list[Step]:
    """The steps that make the environment; none touches the one in use."""
    folder = places.environments / name_of(payload, python)
    pip = [str(folder / "bin/python"), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    pip += ["--quiet", *(["--no-index", "--find-links", str(wheelhouse)] if wheelhouse else [])]
    whence = f" from {wheelhouse}" if wheelhouse else ""

    def complete() -> bool:
        return (folder / _COMPLETE).exists()

    def venv() -> None:
        if files.there(folder):
            files.remove_folder(folder)
        run.run([str(python.path), "-I", "-m", "venv", str(folder)], timeout_s=120)

    def requirements() -> None:
        run.run([*pip, "--require-hashes", "--requirement", str(payload.lock)], timeout_s=_PIP_S)

    def ourselves() -> None:
        run.run([*pip, "--no-deps", str(payload.wheel)], timeout_s=_PIP_S)

    def prove() -> None:
        run.run([str(folder / "bin/python"), "-I", "-c", "import daemon.app, daemon.cli"], timeout_s=60)
        (folder / _COMPLETE).touch()

    return [
        Step(f"make the folder {places.environments}", lambda: files.make_folder(
            places.environments, mode=0o755, owner=None), places.environments.is_dir),
        Step(f"make the environment {folder} with {python.path} ({python.version})", venv, complete),
        Step(f"install the locked requirements into it{whence}, each checked against its hash", requirements, complete),
        Step(f"install deskhand {payload.version} into it", ourselves, complete),
        Step("see that it can be started", prove, complete),
    ]  # fmt: skip


def switch(places: Places, payload: Payload, python: Python) -> list[Step]:
    """The steps that make the environment the one in use, and the command with it."""
    folder = places.environments / name_of(payload, python)

    def flip() -> None:
        old = files.leads_to(places.current)
        if old and old.is_dir():
            files.link(places.previous, old)
        files.link(places.current, folder)

    command = places.current / "bin/deskhand"
    flipped = Step(
        f"point {places.current} to it", flip, lambda: files.leads_to(places.current) == folder, affects=True
    )
    if files.there(places.command) and files.leads_to(places.command) != command:
        return [flipped, kept(f"keep {places.command}, which is not ours; the service's own is {command}")]
    linked = Step(
        f"link {places.command} to it",
        lambda: files.link(places.command, command),
        lambda: files.leads_to(places.command) == command,
    )
    return [flipped, linked]


def prune(places: Places) -> Step:
    """The step that removes what is neither in use nor the one before."""

    def old() -> list[Path]:
        wanted = {files.leads_to(places.current), files.leads_to(places.previous)}
        return [path for path in places.environments.iterdir() if path not in wanted and not path.is_symlink()]

    def remove() -> None:
        for path in old():
            files.remove_folder(path)

    return Step(
        "remove environments older than the one before", remove, lambda: not places.environments.exists() or not old()
    )
