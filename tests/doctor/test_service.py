"""The doctor of an installed service sees what the service sees: its `.env`, its state folder, its socket."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import cli, service
from daemon.service.places import Places


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    found = Places(
        home=tmp_path / "opt",
        config=tmp_path / "etc",
        state=tmp_path / "var",
        runtime=tmp_path / "run",
        units=tmp_path / "units",
        command=tmp_path / "bin",
        manager=tmp_path / "no-systemd-here",
        account="deskhand",
    )
    for folder in (found.config, found.units, tmp_path / "elsewhere"):
        folder.mkdir()
    found.unit.touch()
    (found.config / "deskhand.yaml").write_text("http: {port: 0}\n")
    monkeypatch.setattr(service, "system", lambda: found)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "STATE_DIRECTORY", "DESKHAND_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return found


@pytest.fixture
def checks(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, str]]:
    def run(*words: str) -> dict[str, str]:
        cli.main(["doctor", "--json", *words])
        return {check["name"]: check["text"] for check in json.loads(capsys.readouterr().out)["checks"]}

    return run


def test_it_looks_where_the_service_does(places: Places, checks: Callable[..., dict[str, str]]) -> None:
    env = places.config / ".env"
    env.write_text("DESKHAND_HTTP_TOKEN=a-good-token-of-ours\n")
    env.chmod(0o600)
    found = checks("--config", str(places.config / "deskhand.yaml"))
    assert found["state folder"] == f"{places.state}, made at the first start"
    assert found["unix socket"] == f"{places.runtime}/deskhand.sock, made at the start"
    assert found[".env"].startswith(str(env))
    assert found["http token"] == "from the configuration"
    assert found["service"] == f"{places.unit} is there, but systemd does not answer"


def test_another_configuration_is_nobodys_service(
    places: Places, checks: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    own = tmp_path / "elsewhere" / "deskhand.yaml"
    own.write_text("http: {port: 0}\n")
    assert places.unit.exists()
    found = checks()
    assert found["state folder"].startswith(str(tmp_path / "home"))
    assert found[".env"] == "none"
