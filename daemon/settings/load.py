"""Put the layers together, defaults lowest: file, `.env`, environment, `--set`; and name the line at fault."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from daemon.errors import ConfigError
from daemon.events import safe_name
from daemon.redaction import redact
from daemon.settings import actions, layers, yaml
from daemon.settings.model import Origin, Settings
from daemon.settings.references import NOBODY, Unlock, folder_of, resolve

_WORDS = {
    "missing": "is required",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "model_type": "must be a mapping: key: value",
    "model_attributes_type": "must be a mapping: key: value",
    "dict_type": "must be a mapping: key: value",
    "tuple_type": "must be a list: [...]",
}


def _search(environ: Mapping[str, str]) -> Iterator[Path]:
    yield Path("deskhand.yaml")
    if environ.get("HOME"):
        yield Path(environ["HOME"], ".config/deskhand/deskhand.yaml")
    yield Path("/etc/deskhand/deskhand.yaml")


def find(config: Path | None, variables: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Path | None, bool]:
    """The configuration file to read, and whether somebody asked for exactly this one."""
    named = config or (Path(variables[layers.CONFIG_VARIABLE]) if variables.get(layers.CONFIG_VARIABLE) else None)
    if named:
        return Path(environ.get("HOME", "~"), named.relative_to("~")) if named.parts[:1] == ("~",) else named, True
    return next((path for path in _search(environ) if _there(path)), None), False


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # a service's, in a folder that is not for us
        return False


def _read(path: Path, problems: list[str]) -> yaml.Document | None:
    try:
        with path.open("rb") as file:
            document = yaml.read(file.read(yaml.SIZE_LIMIT + 1))
    except FileNotFoundError:
        problems.append(f"{path}: does not exist")
        return None
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return None
    problems += [f"{path}:{line}: {f'{key}: ' if key else ''}{problem}" for line, key, problem in document.problems]
    redact.add(_secrets(document.tree))
    for secret in layers.secrets_within(document.tree):
        problems.append(f"{path}:{document.lines[secret]}: {'.'.join(secret)}: {layers.remedy(secret)}")
    return document


def _secrets(tree: Mapping[str, object]) -> list[str]:
    """The values of all secret settings in `tree`, references aside."""
    found = []
    for path in layers.secrets_within(tree):
        value: object = tree
        for word in path:
            value = value[word] if isinstance(value, Mapping) else None
        if isinstance(value, str) and not layers.is_reference(value):
            found.append(value)
    return found


class _Merged:
    """The values of all layers, and where each came from."""

    def __init__(self, path: Path | None, document: yaml.Document) -> None:
        self.path = path
        self.tree: dict[str, object] = document.tree
        self.lines = document.lines
        self.origins: dict[yaml.KeyPath, str] = {}
        self._fill_empty()

    def _fill_empty(self) -> None:
        """A section whose keys are all commented out reads as null and means its defaults."""
        for path, kind in layers.every_key():
            holder = self._holder(path, make=False)
            if kind in ("section", "table") and holder is not None and holder.get(path[-1], ...) is None:
                del holder[path[-1]]
        for secret in list(layers.secrets_within(self.tree)):
            del (self._holder(secret, make=False) or {})[secret[-1]]  # reported already
        if self.tree.get("routes", ...) is None:
            del self.tree["routes"]

    def _holder(self, path: tuple[str, ...], *, make: bool) -> dict[str, object] | None:
        holder = self.tree
        for word in path[:-1]:
            below = holder.get(word)
            if not isinstance(below, dict):
                if not make:
                    return None
                below = holder[word] = {}
            holder = below
        return holder

    def add(self, layer: layers.Layer) -> None:
        """Lay `layer` over what is there."""
        for path, value in layer.values.items():
            holder = self._holder(path, make=True)
            if holder is not None:
                holder[path[-1]] = value
                self.lines = {at: line for at, line in self.lines.items() if at[: len(path)] != path}
                self.origins[path] = layer.origins[path]

    def place(self, path: yaml.KeyPath) -> str:
        """`path`, led by where its value came from."""
        for depth in range(len(path), 0, -1):
            start = path[:depth]
            if start in self.origins:
                return self.origins[start] + (f": {yaml.dotted(path)}" if depth < len(path) else "")
            if start in self.lines:
                return f"{self.path}:{self.lines[start]}: {yaml.dotted(path)}"
        return yaml.dotted(path)


def _words(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "deskhand":
        return error["msg"]
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        siblings = [path[-1] for path, _ in layers.every_key() if path[:-1] == error["loc"][:-1]]
        return f"is not a known key{layers.suggestion(name, siblings)}"
    if kind in ("literal_error", "enum"):
        return "must be " + str(context["expected"]).replace("'", "")
    if kind == "too_long":
        return f"must have at most {context['max_length']} items"
    return _WORDS.get(kind, "is not valid")


def _path(error: ErrorDetails) -> yaml.KeyPath:
    """Where the error is; pydantic adds a mark of its own when a table's key is wrong."""
    found = tuple(part for part in error["loc"] if part not in actions.KINDS)
    return found[:-1] if found[-1] == "[key]" else found


def _errors(tree: Mapping[str, object]) -> tuple[Settings | None, list[ErrorDetails]]:
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, error.errors(include_input=False, include_url=False)


def _without(tree: object, paths: list[yaml.KeyPath]) -> object:
    """`tree` without the values at `paths`; a fault inside a list costs the whole list."""
    if not isinstance(tree, dict):
        return tree
    kept: dict[str, object] = {}
    for key, value in tree.items():
        below = [path[1:] for path in paths if path[:1] == (key,)]
        if not below:
            kept[key] = value
        elif isinstance(value, dict) and all(below):
            kept[key] = _without(value, below)
    return kept


def _validate(merged: _Merged, problems: list[str]) -> Settings | None:
    settings, errors = _errors(merged.tree)
    failed = [_path(error) for error in errors]
    unsure = any(path in {("mode",), ("hotkeys",)} or path[:2] == ("hotkeys", "targets") for path in failed)
    if settings is None and not unsure:
        # What only shows across fields is checked after the fields: leave the faulty ones out, so that all is told now.
        _, across = _errors(_without(merged.tree, failed))  # type: ignore[arg-type]  # a dict stays one
        errors += [error for error in across if _path(error) not in failed]
    problems += [f"{merged.place(_path(error))}: {_words(error)}" for error in errors]
    return settings


def _runtime(environ: Mapping[str, str]) -> Path | None:
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].split(":")[0])
    return Path(environ["XDG_RUNTIME_DIR"], "deskhand") if environ.get("XDG_RUNTIME_DIR") else None


def _named(path: Path, environ: Mapping[str, str]) -> Path:
    """As errors name it: who reads a service's log does not know its working directory."""
    return path.absolute() if "RUNTIME_DIRECTORY" in environ else path


class _Layers:
    """All layers as they were read and laid over each other, before anything is validated."""

    def __init__(
        self, config: Path | None, env_file: Path | None, overrides: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        env_path = _named(env_file or Path(".env"), environ)
        self.env = layers.read_env_file(env_path, required=env_file is not None)
        self.env_file = env_path if self.env.found else None
        labels = {name: f"environment: {safe_name(name)}" for name in environ}
        variables = layers.from_variables(self.env.variables, self.env.labels)
        environment = layers.from_variables(environ, labels)
        command = layers.from_overrides(overrides)
        self.problems = [*self.env.problems, *variables.problems, *environment.problems, *command.problems]
        self.environ = {**self.env.variables, **environ}
        found, _ = find(config, self.environ, environ)
        self.file = _named(found, environ) if found else None
        document = _read(self.file, self.problems) if self.file else yaml.Document()
        self.unread = document is None or not all(key for _, key, _ in document.problems)
        self.merged = _Merged(self.file, document or yaml.Document())
        for layer in (variables, environment, command):
            self.merged.add(layer)
        if "state_dir" not in self.merged.tree and environ.get("STATE_DIRECTORY"):
            self.merged.tree["state_dir"] = environ["STATE_DIRECTORY"].split(":")[0]
            self.merged.origins[("state_dir",)] = "environment: STATE_DIRECTORY"

    @property
    def folder(self) -> Path | None:
        """The configuration's folder."""
        return self.file.absolute().parent if self.file else None


def load(
    config: Path | None,
    env_file: Path | None,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    unlock: Unlock = NOBODY,
) -> Settings:
    """Read everything, the vault too, and check everything.

    Raises ConfigError with one line per problem; no value is ever echoed. Redaction knows every secret afterwards.
    """
    found = _Layers(config, env_file, overrides, environ)
    merged, problems = found.merged, found.problems
    # Hidden before anything can be said about them, right or wrong.
    redact.add(_secrets(merged.tree))
    redact.add((secret.value for secret in found.env.foreign), own=False)
    vault, unresolved = resolve(merged.tree, merged.place, found.environ, found.folder, unlock)
    redact.add(_secrets(merged.tree))
    redact.add(secret.value for secret in (vault.unused if vault else ()))
    problems += unresolved
    settings = _validate(merged, problems)
    if settings is None or problems:
        raise ConfigError(*problems)
    merged.tree = {}  # `place` lives as long as the settings and must not keep secrets
    settings.came_from(
        Origin(
            file=found.file,
            env_file=found.env_file,
            runtime=_runtime(environ),
            service="RUNTIME_DIRECTORY" in environ,
            foreign=tuple(found.env.foreign),
            vault=vault,
            place=merged.place,
        )
    )
    return settings


class Whereabouts(NamedTuple):
    """Where a vault and its key are: the state folder, the configuration's folder, and the variables that count."""

    state_dir: Path
    config: Path | None
    environ: Mapping[str, str]


def whereabouts(
    config: Path | None, env_file: Path | None, overrides: Sequence[str], environ: Mapping[str, str]
) -> Whereabouts:
    """Where the vault is, whatever else is wrong: it must be usable to put a configuration right.

    Raises ConfigError when what names the state folder cannot be read or makes no sense.
    """
    found = _Layers(config, env_file, overrides, environ)
    if found.env.problems or found.unread:
        raise ConfigError(*found.problems)
    try:
        state_dir = folder_of(found.merged.tree)
    except PydanticCustomError as error:
        raise ConfigError(f"{found.merged.place(('state_dir',))}: {error.message()}") from None
    return Whereabouts(state_dir, found.folder, found.environ)
