"""Redaction knows each secret once it was read, also where the configuration then turns out to be wrong."""

from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.redaction import HIDDEN, redact
from daemon.settings import load
from daemon.settings.diff import changes
from daemon.settings.layers import FOREIGN_LIMIT, every_key, variable

KEY = "q7RzT5xK3d9wVb1pAA"


def env(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("path", [path for path, kind in every_key() if kind == "secret"], ids=".".join)
@pytest.mark.parametrize("way", ["environment", "env file", "yaml"])
def test_every_secret_setting(tmp_path: Path, path: tuple[str, ...], way: str) -> None:
    file = tmp_path / "deskhand.yaml"
    *sections, key = path
    nested = "".join(f"{{{name}: " for name in sections) + f"{{{key}: {KEY}}}" + "}" * len(sections)
    file.write_text(f"{nested}\n" if way == "yaml" else "hotkeys: {gap_ms: x}\n")
    found = env(tmp_path, f"{variable(path)}={KEY}\n" if way == "env file" else "")
    with pytest.raises(ConfigError) as caught:  # a secret in YAML is a mistake by itself
        load(file, found, [], {variable(path): KEY} if way == "environment" else {})
    assert KEY not in str(caught.value)
    assert redact(f"a {KEY} b") == f"a {HIDDEN} b"


def test_secrets_of_others(tmp_path: Path) -> None:
    load(None, env(tmp_path, f"PK={KEY}\nMARKET=BTC-USDT\nSHORT=abc\n"), [], {})
    assert redact(f"{KEY} BTC-USDT abc") == f"{HIDDEN} {HIDDEN} abc"
    assert redact.scrub([KEY, "BTC-USDT"]) == [HIDDEN, "BTC-USDT"]


def test_a_reference_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no vault"):
        load(None, env(tmp_path, f"POLYMAKER_API_KEY=vault:nothing\nDESKHAND_STATE_DIR={tmp_path}\n"), [], {})
    assert redact("vault:nothing") == "vault:nothing"


def test_more_secrets_of_others_than_can_be_looked_for_are_refused(tmp_path: Path) -> None:
    lines = [f"V{number}=value-number-{number}" for number in range(FOREIGN_LIMIT + 1)]
    with pytest.raises(ConfigError, match="holds more than 1000 values of others"):
        load(None, env(tmp_path, "\n".join(lines)), [], {})
    load(None, env(tmp_path, "\n".join(lines[1:])), [], {})


def test_what_has_changed_is_hidden_before_it_is_cut(tmp_path: Path) -> None:
    redact.add(["correct horse battery staple"])
    old = load(None, env(tmp_path, ""), [], {})
    frame = "{action} " + "x" * 90 + " correct horse battery staple"
    (change,) = changes(old, load(None, None, [f"hotkeys.frame={frame}"], {}))
    assert "correct" not in change.new
    assert HIDDEN in change.new


def test_the_guard_is_told_of_every_secret_setting() -> None:
    values = {path: f"{KEY}{number}" for number, (path, kind) in enumerate(every_key()) if kind == "secret"}
    keys = {path for path, _ in every_key()}
    users = [".".join((*path[:-1], "username")) for path in values if (*path[:-1], "username") in keys]
    found = load(None, None, [f"{user}=desk" for user in users], {variable(p): text for p, text in values.items()})
    assert {secret.value for secret in found.known_secrets()} == set(values.values())
