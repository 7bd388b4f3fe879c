"""The layers: which file is found, which layer wins, and what each refuses."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.events import EventType
from daemon.settings import Press, Settings, When, load

CANARY = "canary-5f1e-canary"
CONTRACT = """\
mode: practice              # practice | live
state_dir: ~/.local/state/deskhand
http: {host: 127.0.0.1, port: 8790}
mqtt: {host: null, port: 1883, username: null, tls: false, topic: deskhand/events, client_id: deskhand}
events:
  max_age_s: {entry: 10, tp1: 30, tp2: 30, sl: 300, close: 300}
  exits_without_journal: fire
hotkeys:
  targets: {main: practice}
  preset: classic
  sequences: {}
  frame: "{action}"
  gap_ms: 100
  connect: warm
  step_timeout_s: 2
  repeatable: [cancel_all, break_even, sell_all_bid]
  keep_when_superseded: [cancel_all]
  guard: strict
  allow_add: false
  overtake: [sl, close]
routes: []
hummingbot: {url: null}
polymaker: {url: null, enabled: true, timeout_s: 10}
schedules: {polymaker_metrics: 30s, polymaker_markets: 60s}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    return work


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def read(environ: Mapping[str, str] | None = None, *overrides: str) -> Settings:
    return load(None, None, overrides, environ or {})


def problems(environ: Mapping[str, str] | None = None, *overrides: str, env_file: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(None, env_file, overrides, environ or {})
    assert CANARY not in str(caught.value)
    return list(caught.value.problems)


def test_the_defaults_are_those_of_the_contract(folder: Path) -> None:
    bare = read()
    assert bare.origin.file is None
    write(folder / "deskhand.yaml", CONTRACT)
    assert read().model_dump() == bare.model_dump() == Settings().model_dump()
    assert bare.state_dir == Path(os.environ["HOME"], ".local/state/deskhand")
    assert (bare.stop_timeout_s, bare.mqtt.keepalive_s, bare.mqtt.version) == (15, 10, "5")
    assert (bare.journal.retention_days, bare.journal.max_mb) == (30, 512)
    assert bare.schedules.polymaker_markets == 60
    assert [bare.events.max_age_s.of(kind) for kind in EventType] == [10, 30, 30, 300, 300]


def test_a_file_is_found_where_the_contract_says(folder: Path, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path / "home")}
    home = write(tmp_path / "home/.config/deskhand/deskhand.yaml", "http: {port: 1}")
    assert (read(environ).origin.file, read(environ).http.port) == (home, 1)
    write(folder / "deskhand.yaml", "http: {port: 2}")
    assert read(environ).http.port == 2
    named = write(tmp_path / "named.yaml", "http: {port: 3}")
    assert read(environ | {"DESKHAND_CONFIG": str(named)}).http.port == 3
    write(folder / ".env", f"DESKHAND_CONFIG={named}")
    assert read(environ).http.port == 3
    asked = write(tmp_path / "asked.yaml", "http: {port: 4}")
    assert load(asked, None, (), environ | {"DESKHAND_CONFIG": str(named)}).http.port == 4


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    assert problems({"DESKHAND_CONFIG": str(tmp_path / "none.yaml")}) == [f"{tmp_path}/none.yaml: does not exist"]
    assert problems({"DESKHAND_CONFIG": str(tmp_path)}) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert problems(env_file=tmp_path / "none") == [f"{tmp_path}/none: does not exist"]


def test_each_layer_lies_over_the_one_below(folder: Path) -> None:
    assert read().http.port == 8790
    write(folder / "deskhand.yaml", "http: {port: 1}\nhotkeys: {targets: {main: practice, das: 'ws://das:1'}}")
    assert read().http.port == 1
    write(folder / ".env", "DESKHAND_HTTP__PORT=2\nHOTKEY_SERVER_URL=ws://main:2")
    assert read().http.port == 2
    assert read({"DESKHAND_HTTP__PORT": "3"}).http.port == 3
    assert read({"DESKHAND_HTTP__PORT": "3"}, "http.port=4").http.port == 4
    assert read().hotkeys.targets == {"main": "ws://main:2", "das": "ws://das:1"}
    assert read({"HOTKEY_SERVER_URL": ""}).hotkeys.targets["main"] == "ws://main:2"  # empty is unset
    assert read({"HOTKEY_SERVER_URL": "ws://main:3"}, "hotkeys.targets.main=ws://main:4").hotkeys.targets == {
        "main": "ws://main:4",
        "das": "ws://das:1",
    }


def test_sections_whose_keys_are_commented_out_have_their_defaults(folder: Path) -> None:
    write(folder / "deskhand.yaml", "http:\n  # port: 1\nhotkeys:\n  targets:\n  gap_ms: 5\nroutes:\n")
    assert read().hotkeys.gap_ms == 5
    assert read().hotkeys.targets == {"main": "practice"}
    write(folder / "deskhand.yaml", "hotkeys:\n  targets: {}\n")
    assert problems() == ["deskhand.yaml:2: hotkeys.targets: must name at least one target"]


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("DESKHAND_MODE", "practice", "mode", "practice"),
        ("DESKHAND_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("DESKHAND_STATE_DIR", "/srv/x", "state_dir", Path("/srv/x")),
        ("DESKHAND_MQTT__USERNAME", "0123", "mqtt.username", "0123"),
        ("DESKHAND_MQTT__HOST", "null", "mqtt.host", None),
        ("DESKHAND_MQTT__TLS", "true", "mqtt.tls", True),
        ("DESKHAND_MQTT__VERSION", "5", "mqtt.version", "5"),
        ("DESKHAND_EVENTS__MAX_AGE_S__SL", "1.5", "events.max_age_s.sl", 1.5),
        ("DESKHAND_HOTKEYS__FRAME", "{action}", "hotkeys.frame", "{action}"),
        ("DESKHAND_HOTKEYS__GUARD", "off", "hotkeys.guard", "off"),
        ("DESKHAND_HOTKEYS__TARGETS__MAIN", "ws://a:1", "hotkeys.targets", {"main": "ws://a:1"}),
        ("DESKHAND_HOTKEYS__TARGETS", "{main: practice, b: 'ws://b:1'}", "hotkeys.targets", {"main": "practice", "b": "ws://b:1"}),
        ("DESKHAND_HOTKEYS__OVERTAKE", "[]", "hotkeys.overtake", ()),
        ("DESKHAND_SCHEDULES__POLYMAKER_METRICS", "5m", "schedules.polymaker_metrics", 300.0),
        ("DESKHAND_SCHEDULES__CLOCK", "null", "schedules.clock", None),
        ("HUMMINGBOT_API_URL", "http://h:8000/", "hummingbot.url", "http://h:8000"),
        ("HUMMINGBOT_API_USERNAME", "admin", "hummingbot.username", "admin"),
        ("POLYMAKER_URL", "https://p", "polymaker.url", "https://p"),
        ("POLYMAKER_ENABLED", "TRUE", "polymaker.enabled", True),
        ("POLYMAKER_ENABLED", "1", "polymaker.enabled", False),
        ("POLYMAKER_ENABLED", "yes", "polymaker.enabled", False),
        ("POLYMAKER_TIMEOUT", "7", "polymaker.timeout_s", 7.0),
    ],
)  # fmt: skip
def test_a_variable_sets_its_key(name: str, text: str, path: str, value: object) -> None:
    found: object = read({name: text})
    for word in path.split("."):
        found = getattr(found, word)
    assert found == value


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("http.port=0", "http.port", 0),
        ("hotkeys.sequences.short.entry=[sell_bid]", "hotkeys.sequences", {"short.entry": ("sell_bid",)}),
        ("hotkeys.frame={action} {symbol}", "hotkeys.frame", "{action} {symbol}"),
        ("mqtt.host=null", "mqtt.host", None),
        ("mqtt.client_id=7", "mqtt.client_id", "7"),
        ("journal={max_mb: 9}", "journal.max_mb", 9),
    ],
)
def test_the_command_line_sets_a_key(override: str, path: str, value: object) -> None:
    found: object = read({}, override)
    for word in path.split("."):
        found = getattr(found, word)
    assert found == value


def test_what_the_command_line_cannot_mean_is_refused() -> None:
    secret = f"mqtt={{password: {CANARY}}}"
    assert problems({}, "x", "=1", "http.prot=1", f"http.token={CANARY}", "http.port=[", secret) == [
        "--set: must be key=value",
        "--set: must be key=value",
        "--set http.prot: is not a known key; did you mean http.port?",
        (
            "--set http.token: is a secret and does not belong here; set DESKHAND_HTTP_TOKEN in the environment or in"
            " .env, or write vault:NAME"
        ),
        "--set http.port: is not valid YAML",
        (
            "--set mqtt: mqtt.password is a secret and does not belong here; set DESKHAND_MQTT__PASSWORD in the"
            " environment or in .env, or write vault:NAME"
        ),
    ]
    assert problems({}, "http.port=x") == ["--set http.port: must be a whole number from 0 to 65535"]
    assert problems({}, "routes=[{when: {type: x}, do: []}]") == [
        "--set routes: routes[0].when.type[0]: must be entry, tp1, tp2, sl or close"
    ]


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    assert problems({"DESKHAND_HTTP__PORT": CANARY, "DESKHAND_HTP__PORT": "1", "DESKHAND_X": "1", "PATH": "/bin"}) == [
        "environment: DESKHAND_HTP__PORT: is not a known variable; did you mean DESKHAND_HTTP__PORT?",
        "environment: DESKHAND_X: is not a known variable",
        "environment: DESKHAND_HTTP__PORT: must be a whole number from 0 to 65535",
    ]
    assert problems({"HOTKEY_SERVER_URL": f"ws://u:{CANARY}@h"}) == [
        "environment: HOTKEY_SERVER_URL: must hold no user, password, query or fragment"
    ]
    assert problems({"DESKHAND_HTTP_TOKEN": "short"}) == [
        "environment: DESKHAND_HTTP_TOKEN: must be 8 to 512 printable ASCII characters without spaces"
    ]


def test_everything_wrong_is_told_at_once(folder: Path) -> None:
    write(
        folder / "deskhand.yaml",
        f"http: {{port: x}}\nmqtt: {{password: {CANARY}}}\nroutes: [{{do: [{{hotkeys: z}}]}}]\n",
    )
    write(folder / ".env", "DESKHAND_Y=1\nnot a line\n")
    assert problems({"DESKHAND_X": "1"}, "x") == [
        ".env:2: is not NAME=value",
        ".env:1: DESKHAND_Y: is not a known variable",
        "environment: DESKHAND_X: is not a known variable",
        "--set: must be key=value",
        (
            "deskhand.yaml:2: mqtt.password: is a secret and does not belong here; set DESKHAND_MQTT__PASSWORD in the"
            " environment or in .env, or write vault:NAME"
        ),
        "deskhand.yaml:1: http.port: must be a whole number from 0 to 65535",
        "deskhand.yaml:3: routes[0].do[0].hotkeys: is not one of hotkeys.targets",
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_an_env_file_that_others_can_read_is_refused_with_the_remedy(folder: Path, mode: int) -> None:
    write(folder / ".env", f"PK={CANARY}\n", mode)
    assert problems() == [".env: others can read it, and it holds secrets; run: chmod 600 '.env'"]


def test_an_env_file_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / ".env", f"PK={CANARY}\n")
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert problems() == [f".env: belongs to another user; run: chown {me + 1} '.env'"]


def test_a_pipe_in_place_of_an_env_file_does_not_hold_the_start_up(folder: Path) -> None:
    os.mkfifo(folder / ".env", 0o600)
    started = time.monotonic()
    assert problems() == [".env: is not a file"]
    assert time.monotonic() - started < 5


def test_a_mistake_in_the_env_file_has_its_line(folder: Path, tmp_path: Path) -> None:
    write(folder / ".env", "# ours\nexport DESKHAND_HTTP__PORT='x'\nHUMMINGBOT_API_URL=http://${HOST}\n")
    assert problems() == [
        ".env:3: HUMMINGBOT_API_URL: ${...} is not expanded here; write the value out",
        ".env:2: DESKHAND_HTTP__PORT: must be a whole number from 0 to 65535",
    ]
    (folder / ".env").unlink()
    other = write(tmp_path / "other.env", "DESKHAND_HTTP__PORT=x")
    assert problems(env_file=other) == [f"{other}:1: DESKHAND_HTTP__PORT: must be a whole number from 0 to 65535"]
    other.write_bytes(b"A=\xff")
    assert problems(env_file=other) == [f"{other}: is not UTF-8"]


def test_secrets_are_known_and_never_shown(folder: Path) -> None:
    write(
        folder / ".env",
        "PK=0xfeedfeedfeed\nAPI_SECRET='with space'\nEMPTY=\nSHORT=abc\nHUMMINGBOT_API_PASSWORD=hb-password\n"
        "DESKHAND_MQTT__PASSWORD=mqtt-password\nPOLYMAKER_API_KEY=pm-api-key\nHUMMINGBOT_API_USERNAME=administrator\n",
    )
    settings = read({"DESKHAND_HTTP_TOKEN": "token-token"})
    secrets = {"0xfeedfeedfeed", "with space", "hb-password", "mqtt-password", "pm-api-key", "token-token"}
    assert set(settings.secrets()) == secrets
    assert settings.secrets() == sorted(settings.secrets(), key=len, reverse=True)
    shown = f"{settings!r} {settings} {settings.model_dump_json()}"
    assert not [secret for secret in secrets if secret in shown]


def test_folders_follow_systemd_and_the_session() -> None:
    home_state = Path(os.environ["HOME"], ".local/state/deskhand")
    assert read({"STATE_DIRECTORY": "/var/lib/deskhand:/var/lib/x"}).state_dir == Path("/var/lib/deskhand")
    assert read({"STATE_DIRECTORY": "/var/lib/deskhand"}, "state_dir=~/s").state_dir == Path(os.environ["HOME"], "s")
    assert read().runtime_dir() == home_state
    assert read({"XDG_RUNTIME_DIR": "/run/user/7"}).runtime_dir() == Path("/run/user/7/deskhand")
    both = {"XDG_RUNTIME_DIR": "/run/user/7", "RUNTIME_DIRECTORY": "/run/deskhand:/run/x"}
    assert read(both).runtime_dir() == Path("/run/deskhand")


def test_routes_are_read_with_lists_of_one_written_bare(folder: Path) -> None:
    write(
        folder / "deskhand.yaml",
        "hotkeys: {targets: {main: practice, das: practice}}\nroutes:\n"
        "  - when: {symbol: [aapl, Brk.b], type: sl, side: short, account: a, strategy: [s, t]}\n"
        "    do: [{hotkeys: das, keys: [cancel_all]}, {hotkeys: main}]\n  - do: []\n",
    )
    first, second = read().routes
    assert first.when == When(
        type=(EventType.SL,), symbol=("AAPL", "BRK.B"), side=("short",), account=("a",), strategy=("s", "t")
    )
    assert first.do == (Press(hotkeys="das", keys=("cancel_all",)), Press(hotkeys="main"))
    assert (second.when, second.do) == (When(), ())


def test_live_needs_a_real_target() -> None:
    assert problems({"DESKHAND_MODE": "live"}) == [
        "hotkeys.targets.main: live mode needs an address like ws://host:8765, not practice"
    ]
    settings = read({"DESKHAND_MODE": "live", "HOTKEY_SERVER_URL": "wss://host/path"})
    assert (settings.mode, settings.hotkeys.targets) == ("live", {"main": "wss://host/path"})


def test_a_password_without_a_user_is_no_mqtt_3() -> None:
    environ = {"DESKHAND_MQTT__PASSWORD": CANARY, "DESKHAND_MQTT__VERSION": "3.1.1"}
    assert problems(environ) == ["mqtt.username: is required with a password in MQTT 3.1.1"]
    assert read(environ | {"DESKHAND_MQTT__USERNAME": "u"}).mqtt.version == "3.1.1"


def test_the_bots_broker_has_a_login_and_a_secret_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"hummingbot.mqtt.username\n  is required with a password"):
        Settings(hummingbot={"mqtt": {"host": "h", "password": CANARY}})
    settings = Settings(hummingbot={"mqtt": {"host": "h", "username": "u", "password": CANARY, "instances": "pmm-*"}})
    assert settings.hummingbot.mqtt.instances == ("pmm-*",)
    (known,) = settings.known_secrets()
    assert (known.name, known.purpose) == ("hummingbot.mqtt.password", "mqtt")


def test_settings_are_frozen_and_ignore_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "live")
    monkeypatch.setenv("HTTP", "{}")
    settings = Settings()
    assert settings.mode == "practice"
    with pytest.raises(ValueError, match="frozen"):
        settings.mode = "live"  # type: ignore[misc]  # the very thing that must fail


def test_a_service_names_its_files_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deskhand.yaml").write_text("mode: maybe\n")
    for environ, name in (({}, "deskhand.yaml"), ({"RUNTIME_DIRECTORY": "/run/x"}, str(tmp_path / "deskhand.yaml"))):
        with pytest.raises(ConfigError) as caught:
            load(None, None, (), {"HOME": str(tmp_path)} | environ)
        assert str(caught.value).startswith(f"{name}:1: mode: must be")


def test_a_state_folder_that_is_no_path_at_all_is_left_to_who_uses_it() -> None:
    assert load(None, None, [f"state_dir=/tmp/{'x' * 300}"], {"HOME": "/nowhere"}).state_dir.name == "x" * 300
