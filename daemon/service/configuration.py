"""The service's first configuration: what is there is kept, what the working directory has is taken, all is checked."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError
from daemon.service import files
from daemon.service.credential import Credential
from daemon.service.places import Places
from daemon.service.steps import Step
from daemon.settings import Settings, Unlock, load
from daemon.settings.layers import CONFIG_VARIABLE, read_env_file
from daemon.vault import FILE, KEY_FILE, KEY_FILE_VARIABLE

YAML, _ENV = "deskhand.yaml", ".env"
_LIMIT = 1 << 20
FIRST = """\
# Deskhand's configuration. `deskhand check --config FILE` validates it, `systemctl reload deskhand` applies it.
# All keys: `deskhand schema config`. Secrets do not belong here but into the vault (`deskhand vault`) or .env.

mode: practice              # practice presses nothing real; live needs a hotkey server below

# hotkeys:
#   targets: {main: "ws://192.168.1.20:8765"}
#   preset: classic         # classic | bracket
# mqtt: {host: 127.0.0.1}
"""
"""What a service starts with when there is nothing to take."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the configuration as it will be; `new` if it has to be written, `open_` if others can read it."""

    path: Path
    content: bytes
    new: bool
    open_: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the service will read, checked; `env` is None when there is none."""

    yaml: Source
    env: Source | None
    settings: Settings


def _read(path: Path, trusted: set[int]) -> Source | None:
    """The file, None if there is none. Raises ConfigError for one that is no file of ours."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            content = file.read(_LIMIT + 1) if stat.S_ISREG(about.st_mode) else b""
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(about.st_mode):
        raise ConfigError(f"{path}: is not a file")
    if about.st_uid not in trusted:
        # A folder may hold somebody else's link to a file that only root can read.
        raise ConfigError(f"{path}: belongs to another user; copy it first, or chown it")
    if len(content) > _LIMIT:
        raise ConfigError(f"{path}: is larger than 1 MiB")
    return Source(path, content, new=True, open_=bool(about.st_mode & 0o077))


def settle(places: Places, here: Path, live: Path | None, caller: int) -> Configuration:
    """What the service will read: what is there already, else the files `here`, else the first configuration.

    `live` is a file that goes in whatever is there; `caller` the uid of whoever asked. Raises ConfigError, and
    PermissionError without root where root is needed to look.
    """
    trusted = {0, os.geteuid(), caller}
    ids = _ids(places)
    present_yaml, present_env = (_present(places.config / name, trusted | ids) for name in (YAML, _ENV))
    env = present_env or _read(here / _ENV, trusted)
    if live:
        yaml = _read(live, trusted)
        if yaml is None:
            raise ConfigError(f"{live}: does not exist")
        if present_yaml and present_yaml.content == yaml.content:
            yaml = present_yaml
    else:
        yaml = present_yaml or _read(here / YAML, trusted) or Source(Path(YAML), FIRST.encode(), new=True)
    settings = _load(places, yaml, env)
    if live and settings.mode != "live":
        raise ConfigError(f"{yaml.path}: says mode {settings.mode}; --live-config is for going live")
    if settings.mode == "live" and not live and not _was_live(places, present_yaml, present_env):
        culprit = yaml.path if yaml.new else env.path if env else yaml.path
        raise ConfigError(
            f"{culprit}: says mode live, and nothing goes live by accident; to have it, give the file by name:\n"
            f"    deskhand service install --live-config {yaml.path.absolute()}"
        )
    return Configuration(yaml, env, settings)


def _ids(places: Places) -> set[int]:
    try:
        return {ids[0]} if (ids := places.ids()) else set()
    except KeyError:
        return set()


def _present(path: Path, trusted: set[int]) -> Source | None:
    found = _read(path, trusted)
    return Source(found.path, found.content, new=False) if found else None


def _was_live(places: Places, yaml: Source | None, env: Source | None) -> bool:
    try:
        return yaml is not None and _load(places, yaml, env).mode == "live"
    except ConfigError:
        return False


def _load(places: Places, yaml: Source, env: Source | None) -> Settings:
    """The settings on the real load path, as the service will read them; problems name the files they come from."""
    with _unnamed(yaml.content) as copy, _unnamed(env.content if env else b"") as env_copy:
        environ = {"RUNTIME_DIRECTORY": str(places.runtime), "STATE_DIRECTORY": str(places.state)}
        try:
            variables = read_env_file(env_copy, required=True).variables
            if CONFIG_VARIABLE in variables:
                raise ConfigError(f"{env_copy}: {CONFIG_VARIABLE}: the service reads {places.config / YAML}; remove it")
            # The copies lie elsewhere; what opens the vault does not.
            if KEY_FILE_VARIABLE not in variables:
                environ[KEY_FILE_VARIABLE] = str(places.config / KEY_FILE)
            credential = None if places.user else Credential()
            settings = load(copy, env_copy, (), environ, Unlock(credential=credential))
        except ConfigError as error:
            names = {str(copy): str(yaml.path), str(env_copy): str(env.path if env else _ENV), **_first(places)}
            raise ConfigError(*(_renamed(problem, names) for problem in error.problems)) from None
    if not settings.state_dir.is_relative_to(places.state):
        raise ConfigError(f"{yaml.path}: state_dir: the service can write only below {places.state}; leave the key out")
    return settings


@contextmanager
def _unnamed(content: bytes) -> Iterator[Path]:
    """A file that has no name in any folder, so that no secret stays behind whatever ends us; the way to it."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _first(places: Places) -> dict[str, str]:
    """A vault cannot be made before there is a service to own it."""
    problem = f"{places.state / FILE}: there is no vault; run: deskhand vault init"
    remedy = "install without this line, then: sudo deskhand vault init; sudo deskhand vault set NAME"
    return {problem: f"the service has no vault yet; {remedy if not places.user else remedy.replace('sudo ', '')}"}


def _renamed(problem: str, names: dict[str, str]) -> str:
    for copy, name in names.items():
        problem = problem.replace(copy, name)
    return problem


def write(places: Places, found: Configuration, stamp: str) -> list[Step]:
    """The steps that put it in place. `stamp` marks the copy of a configuration that is replaced."""
    folder, alone = places.config, places.user

    def administrators() -> files.Owner:  # read by the service, written by root
        ids = places.ids()
        return None if ids is None or places.administrator is None else (places.administrator, ids[1])

    folder_mode, yaml_mode = (0o700, 0o600) if alone else (0o750, 0o640)
    steps = [
        Step(
            f"make the folder {folder}",
            lambda: files.make_folder(folder, mode=folder_mode, owner=administrators()),
            lambda: _known(places) and files.is_folder(folder, mode=folder_mode, owner=administrators()),
            affects=True,
        )
    ]
    target, yaml = folder / YAML, found.yaml
    if not yaml.new:
        steps.append(_keep(places, target, f"mode {found.settings.mode}", yaml_mode, administrators))
    else:
        if files.there(target):
            backup = target.with_name(f"{YAML}.{stamp}")
            steps.append(
                Step(
                    f"copy {target} to {backup}",
                    lambda: files.put(backup, target.read_bytes(), mode=0o600, owner=None, replace=False),
                )
            )
        whence = "our own" if yaml.content == FIRST.encode() else f"a copy of {yaml.path}"
        steps.append(
            Step(
                f"write {target}, {whence}, mode {found.settings.mode}",
                lambda: files.put(target, yaml.content, mode=yaml_mode, owner=administrators()),
                affects=True,
            )
        )
    secret, env = folder / _ENV, found.env
    if env and env.new:
        steps.append(
            Step(
                f"write {secret}, a copy of {env.path} that only the service can read",
                lambda: files.put(secret, env.content, mode=0o600, owner=places.ids(), replace=False),
                affects=True,
            )
        )
    elif env:
        steps.append(_keep(places, secret, "for the service alone", 0o600, places.ids))
    return steps


def _keep(places: Places, path: Path, what: str, mode: int, owner: Callable[[], files.Owner]) -> Step:
    """Its content is never touched, but the service has to be able to read it, and nobody else a secret."""
    return Step(
        f"keep {path}, {what}",
        lambda: files.give(path, mode=mode, owner=owner()),
        lambda: _known(places) and files.is_given(path, mode=mode, owner=owner()),
        affects=True,
    )


def _known(places: Places) -> bool:
    try:
        places.ids()
    except KeyError:
        return False
    return True


def notes(found: Configuration) -> Sequence[str]:
    """What to tell about the files it was taken from."""
    if found.env and found.env.new and found.env.open_:
        return [f"Others can read {found.env.path}, and it holds secrets; run: chmod 600 '{found.env.path}'"]
    return []
