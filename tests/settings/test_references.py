"""`vault:NAME` in the place of a secret: from file, `.env`, environment and command line, and every way it can fail."""

from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.settings import Settings, Unlock, load, whereabouts
from daemon.settings.diff import changes
from daemon.vault import new_passphrase
from tests.vault.support import NOW, Box

CANARY = "canary-91be-canary"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A vault whose key lies in the configuration's folder, which is the working directory."""
    box = Box(tmp_path)
    monkeypatch.chdir(box.config)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return box


def configure(box: Box, text: str) -> Path:
    path = box.config / "deskhand.yaml"
    path.write_text(f"state_dir: {box.state}\n{text}")
    return path


def read(environ: dict[str, str] | None = None, *overrides: str, unlock: Unlock | None = None) -> Settings:
    return load(None, None, overrides, environ or {}, unlock or Unlock())


def problems(environ: dict[str, str] | None = None, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(environ, *overrides)
    assert CANARY not in str(caught.value)
    return list(caught.value.problems)


def test_from_every_layer(box: Box) -> None:
    values = {"http": "token-token", "mqtt": CANARY, "hb": "hb-password", "pm": "pm-api-key", "spare": "spare-value"}
    for name, value in values.items():
        box.open().set(name, value, NOW)
    configure(box, "http: {token: vault:http}\nmqtt: {password: 'vault:mqtt'}\n")
    env = box.config / ".env"
    env.write_text("HUMMINGBOT_API_PASSWORD=vault:hb\nSOMEBODY_ELSES=vault:not-ours\n")
    env.chmod(0o600)
    settings = read({"POLYMAKER_API_KEY": "vault:pm"}, "hummingbot.api_key=vault:spare")
    assert settings.http.token
    assert settings.http.token.get_secret_value() == "token-token"
    assert settings.mqtt.password
    assert settings.mqtt.password.get_secret_value() == CANARY
    assert settings.polymaker.api_key
    assert settings.polymaker.api_key.get_secret_value() == "pm-api-key"
    assert set(settings.secrets()) == set(values.values())
    assert (
        CANARY not in f"{settings!r} {settings.origin!r} {settings.model_dump_json()} {list(settings.known_secrets())}"
    )


def test_known_secrets_say_what_each_is_for(box: Box) -> None:
    for name, value in (
        ("pm", "pm-api-key"),
        ("twin", "pm-api-key"),
        ("spare", "spare-value"),
        ("other", "PK-value-1"),
    ):
        box.open().set(name, value, NOW)
    configure(box, "polymaker: {api_key: vault:pm}\n")
    env = box.config / ".env"
    env.write_text("PK=PK-value-1\nALSO=pm-api-key\n")
    env.chmod(0o600)
    known = [(secret.name, secret.value, secret.purpose) for secret in read().known_secrets()]
    assert sorted(known) == [
        ("PK", "PK-value-1", "foreign"),
        ("other", "PK-value-1", "vault"),
        ("polymaker.api_key", "pm-api-key", "polymaker"),
        ("spare", "spare-value", "vault"),
    ], "what a peer is meant to get is not at the same time kept from it"


def test_what_is_missing_is_told_with_its_line(box: Box) -> None:
    box.open().set("there", CANARY, NOW)
    configure(box, "mqtt:\n  password: vault:gone\npolymaker: {api_key: 'vault:a b'}\nhttp: {token: vault:there}\n")
    assert problems({"HUMMINGBOT_API_KEY": "vault:neither"}) == [
        "deskhand.yaml:4: polymaker.api_key: must be vault:NAME, and a name is 1 to 64 of A-Z a-z 0-9 _ . -",
        "deskhand.yaml:3: mqtt.password: the vault holds no gone; run: deskhand vault set gone",
        "environment: HUMMINGBOT_API_KEY: the vault holds no neither; run: deskhand vault set neither",
    ]


def test_a_value_is_held_to_the_rules_of_its_setting(box: Box) -> None:
    box.open().set("token", f"{CANARY} with a space", NOW)
    configure(box, "http: {token: vault:token}\n")
    assert problems() == ["deskhand.yaml:2: http.token: must be 8 to 512 printable ASCII characters without spaces"]


def test_no_vault_no_key_wrong_key_and_damage(box: Box, tmp_path: Path) -> None:
    configure(box, "mqtt: {password: vault:a}\npolymaker: {api_key: vault:b}\n")
    whole = box.path.read_bytes()
    key = box.key.read_bytes()
    box.path.unlink()
    at = ("deskhand.yaml:2: mqtt.password", "deskhand.yaml:3: polymaker.api_key")
    assert problems() == [f"{each}: {box.path}: there is no vault; run: deskhand vault init" for each in at]
    box.path.write_bytes(whole[:-5])
    assert problems() == [f"{each}: {box.path}: is cut off" for each in at]
    box.path.write_bytes(whole)
    box.key.unlink()
    home = tmp_path / "home/.config/deskhand/vault.key"
    assert problems({"HOME": str(tmp_path / "home")}) == [
        f"{each}: {box.path}: its key is not there; looked at {box.key}, {home}" for each in at
    ]
    box.key.write_bytes(Box(tmp_path / "other").key.read_bytes())
    box.key.chmod(0o600)
    assert problems()[0].startswith(f"{at[0]}: {box.path}: {box.key} does not open it")
    box.key.write_bytes(key)
    box.key.chmod(0o644)
    assert problems()[0] == f"{at[0]}: {box.key}: others can read it; run: chmod 600 {box.key}"


def test_a_vault_that_nothing_refers_to_is_known_and_may_be_locked(box: Box) -> None:
    configure(box, "")
    box.open().set("spare", CANARY, NOW)
    settings = read()
    assert settings.secrets() == [CANARY]
    assert settings.origin.vault
    assert (settings.origin.vault.count, settings.origin.vault.used, settings.origin.vault.problem) == (1, (), "")
    box.key.unlink()
    settings = read()
    assert settings.secrets() == []
    assert settings.origin.vault
    assert "its key is not there" in settings.origin.vault.problem


def test_the_key_file_can_be_named_in_env_file_or_environment(box: Box, tmp_path: Path) -> None:
    configure(box, "mqtt: {password: vault:a}\n")
    box.open().set("a", CANARY, NOW)
    elsewhere = tmp_path / "usb.key"
    box.key.rename(elsewhere)
    assert read({"DESKHAND_VAULT_KEY_FILE": str(elsewhere)}).mqtt.password
    (box.config / ".env").write_text(f"DESKHAND_VAULT_KEY_FILE={elsewhere}\n")
    (box.config / ".env").chmod(0o600)
    assert read().mqtt.password
    assert problems({"DESKHAND_VAULT_KEY_FIL": "x"})[-1] == (
        "environment: DESKHAND_VAULT_KEY_FIL: is not a known variable; did you mean DESKHAND_VAULT_KEY_FILE?"
    )


def test_a_passphrase_is_asked_for_once(box: Box) -> None:
    box.open().set("a", CANARY, NOW)
    box.open().set("b", "b-value-b", NOW)
    box.open().rekey(new_passphrase("correct horse battery"), NOW)
    configure(box, "mqtt: {password: vault:a}\npolymaker: {api_key: vault:b}\n")
    asked: list[int] = []

    def person() -> str:
        asked.append(1)
        return "correct horse battery"

    assert read(unlock=Unlock(person)).secrets() == [CANARY, "b-value-b"]
    assert asked == [1]
    assert "opens with a passphrase, and there is nobody to ask" in problems()[0]


def test_a_changed_value_is_a_change_without_the_value(box: Box) -> None:
    configure(box, "polymaker: {api_key: vault:pm}\n")
    box.open().set("pm", CANARY, NOW)
    before = read()
    box.open().set("pm", "another-value", NOW)
    assert [change.words for change in changes(before, read())] == ["polymaker.api_key: changed"]


def test_where_the_vault_is_can_be_told_whatever_else_is_wrong(box: Box) -> None:
    path = configure(box, "mqtt: {password: vault:gone, port: x}\nnonsense: 1\nhttp: {token: plain-and-wrong}\n")
    problems()
    found = whereabouts(None, None, ["x"], {"DESKHAND_VAULT_KEY_FILE": "k"})
    assert (found.state_dir, found.config) == (box.state, box.config)
    assert found.environ["DESKHAND_VAULT_KEY_FILE"] == "k"
    path.unlink()
    assert whereabouts(None, None, [], {"STATE_DIRECTORY": "/var/lib/deskhand"}).state_dir == Path("/var/lib/deskhand")
    for text, said in (("state_dir: ''\n", "state_dir: must be a folder"), ("a: [\n", "is not valid YAML")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            whereabouts(None, None, [], {})
    with pytest.raises(ConfigError, match="does not exist"):
        whereabouts(box.config / "no.yaml", None, [], {})


def test_a_service_elsewhere_on_the_machine_is_nobodys_business(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/deskhand is closed to most users; looking for a file there is no error."""
    exists = Path.exists

    def closed(path: Path) -> bool:
        if path.is_relative_to("/etc/deskhand"):
            raise PermissionError(13, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", closed)
    monkeypatch.setenv("DESKHAND_STATE_DIR", str(box.state))
    assert read({"DESKHAND_STATE_DIR": str(box.state)}).origin.file is None


def test_without_a_vault_cryptography_is_not_loaded(tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.house.code import ROOT

    code = (
        "import sys; from pathlib import Path; from daemon.settings import load\n"
        "load(None, None, [f'state_dir={sys.argv[1]}'], {})\n"
        "print([name for name in sys.modules if name.startswith(('cryptography', '_cffi', 'cffi'))])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("section", ["polymaker", "hummingbot"])
def test_an_api_key_that_fits_no_header_is_a_configuration_error(box: Box, section: str) -> None:
    """`deskhand check` said that all is well, and the start then failed without a line."""
    box.open().set("key", f"{CANARY}\nsecond line", NOW)
    path = configure(box, f"{section}: {{api_key: 'vault:key'}}\n")
    place = f"{path.name}:2: {section}.api_key"
    assert problems() == [f"{place}: must be one line of printable characters"]
