"""References: a secret setting that says `vault:NAME` gets its value from the vault, at the start and at a reload."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import PydanticCustomError

from daemon.errors import VaultError
from daemon.ports import KnownSecret
from daemon.settings import layers
from daemon.settings.model import Settings, VaultUse, state_folder
from daemon.vault import FILE, NAME, NAME_WORDS, Holder, open_vault

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Unlock:
    """Ways to the vault's key beside files: `passphrase` asks a person, `credential` is for root; see `Keyring`."""

    passphrase: Callable[[], str] | None = None
    credential: Holder | None = None


NOBODY = Unlock()
"""Only files."""


def folder_of(tree: Mapping[str, object]) -> Path:
    """The state folder of a configuration that is not validated yet. Raises PydanticCustomError for what is none."""
    return state_folder(tree.get("state_dir", Settings.model_fields["state_dir"].default))


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that is not for us, or no path at all: who uses the folder tells
        return False


def resolve(
    tree: dict[str, object],
    place: Callable[[KeyPath], str],
    environ: Mapping[str, str],
    config: Path | None,
    unlock: Unlock,
) -> tuple[VaultUse | None, list[str]]:
    """Put values in the place of the references in `tree`; what was found of the vault, and a line per problem.

    `config` is the configuration's folder. A reference that cannot be resolved is taken out, having been told. A vault
    that no setting needs is opened for what redaction must know; that it does not open is then no problem of ours.
    """
    wanted = _references(tree)
    problems = []
    for path in [path for path, name in wanted.items() if not NAME.fullmatch(name)]:
        problems.append(f"{place(path)}: must be vault:NAME, and {NAME_WORDS}")
        del wanted[path]
        _place(tree, path, None)
    try:
        folder = folder_of(tree)
    except PydanticCustomError:  # validation tells
        for path in wanted:
            _place(tree, path, None)
        return None, problems
    if not wanted and not _there(folder / FILE):
        return None, problems
    try:
        vault = open_vault(folder, environ, config=config, passphrase=unlock.passphrase, credential=unlock.credential)
        held = {name: entry.value for name, entry in vault.entries().items()}
    except VaultError as error:
        for path in wanted:
            _place(tree, path, None)
        return VaultUse(problem=str(error)), [*problems, *(f"{place(path)}: {error}" for path in wanted)]
    for path, name in wanted.items():
        _place(tree, path, held.get(name))
        if name not in held:
            problems.append(f"{place(path)}: the vault holds no {name}; run: deskhand vault set {name}")
    used = tuple(dict.fromkeys(name for name in wanted.values() if name in held))
    unused = tuple(KnownSecret(name, value, "vault") for name, value in held.items() if name not in used)
    return VaultUse(len(held), used, unused), problems


def _references(tree: dict[str, object]) -> dict[tuple[str, ...], str]:
    """The key paths that refer to the vault, and to which name."""
    found = {}
    for path, kind in layers.every_key():
        value = _section(tree, path).get(path[-1]) if kind == "secret" else None
        if isinstance(value, str) and layers.is_reference(value):
            found[path] = value.removeprefix(layers.REFERENCE)
    return found


def _section(tree: dict[str, object], path: tuple[str, ...]) -> dict[str, object]:
    """The mapping that holds the last word of `path`, an empty one if there is none."""
    for word in path[:-1]:
        below = tree.get(word)
        if not isinstance(below, dict):
            return {}
        tree = below
    return tree


def _place(tree: dict[str, object], path: tuple[str, ...], value: str | None) -> None:
    _section(tree, path)[path[-1]] = value
