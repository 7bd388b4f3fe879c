"""Any configuration file is settings or a ConfigError that names lines and keys, never values."""

import math
from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.settings import Press, load
from tests.fuzz.memory import COUNT, SEED, steady
from tests.fuzz.mutate import CANARY, Mutator

_GOOD = f"""\
mode: live
state_dir: /var/lib/deskhand
stop_timeout_s: 15
log_level: INFO
http:
  host: 127.0.0.1
  port: 8790
mqtt:
  host: broker.lan
  port: 1883
  username: {CANARY}
  tls: false
  topic: deskhand/events
  client_id: desk
  version: "3.1.1"
events:
  max_age_s: {{entry: 10, tp1: 30, sl: 300}}
  exits_without_journal: fire
hotkeys:
  targets:
    main: ws://host:8765
    second: ws://{CANARY}:9
  preset: bracket
  sequences:
    sl: [cancel_all, sell_all_bid]
    short.entry: []
  frame: "{{action}} {{symbol}}"
  gap_ms: 100
  connect: warm
  step_timeout_s: 2
  repeatable: [cancel_all]
  guard: off
  overtake: []
routes:
  - when: {{type: [sl, close], symbol: AAPL, account: {CANARY}}}
    do:
      - hotkeys: second
        keys: [sell_all_bid]
  - when: {{side: short}}
    do: []
journal:
  retention_days: 30
  max_mb: 512
"""
_NASTY = (
    "",
    "~",
    "null",
    "off",
    "on",
    "yes",
    "true",
    "-1",
    "0",
    "1e999",
    ".nan",
    ".inf",
    "0x1F",
    "0o17",
    "1_000",
    "1:30",
    "１２",
    "9" * 400,
    "[]",
    "{}",
    "[[[[[[[[",
    "{{{{{{{{",
    "[" * 500,
    "- " * 300,
    "&a [*a]",
    "*a",
    "&x 1",
    "<<: *x",
    "!!python/object/apply:os.system [ls]",
    "!!binary aGk=",
    "!!int 5",
    "!x y",
    "|",
    ">",
    "|9",
    "'",
    '"',
    '"\\x00"',
    '"\\ud800"',
    '"\\u202e"',
    "---",
    "...",
    "--- x",
    "%YAML 9.9",
    "? a",
    ": b",
    "- c",
    "# only this",
    "\t",
    "\ta: b",
    "\u0085",
    "\u2028",
    "\x00",
    "\x07",
    "é",
    "😀",
    "x" * 5000,
    "ws://",
    "ws://:1",
    "practice",
    "live",
    "127.0.0.1",
    "0.0.0.0",
    "::1",
    "host:99999",
    "wss://h:1/p?q#f",
    "http://h",
    "{action}",
    "{nope}",
    "{action.__class__}",
    "{action!r}",
    "{{",
    "}",
    "$HOME",
    "~/x",
    "../..",
    "password: hunter2",
    "token",
    "mode",
    "http",
    "hotkeys",
    "routes",
    "__proto__",
    "1",
    "1.5",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    CANARY,
    f'"{CANARY}"',
    f"[{CANARY}]",
    f"{{a: {CANARY}}}",
)


def _names(raw: bytes) -> str:
    """What may stand for a key in these bytes: everything before a colon."""
    return " ".join(part[-80:] for part in raw.decode("utf-8", "replace").split(":")[:-1])


@pytest.mark.timeout(1800)
def test_any_file_is_settings_or_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env and no deskhand.yaml of the developer's
    mutator = Mutator(SEED + 2)
    path = tmp_path / "c.yaml"
    taken = refused = 0
    with steady(mebibytes=32) as settle:
        for number in range(COUNT):
            raw = mutator.lines(_GOOD, _NASTY)
            path.write_bytes(raw)
            try:
                settings = load(path, None, [], {"HOME": "/nonexistent"})
            except ConfigError as error:
                refused += 1
                problems = error.problems
            else:
                taken += 1
                problems = ()
                hotkeys = settings.hotkeys
                assert settings.state_dir.is_absolute()
                assert settings.http.host in ("127.0.0.1", "::1", "localhost") or settings.http.host.startswith("127.")
                assert 0 <= settings.http.port < 65536
                assert 0 < settings.mqtt.port < 65536
                assert settings.mode == "practice" or "practice" not in hotkeys.targets.values()
                assert "{action}" in hotkeys.frame
                assert math.isfinite(hotkeys.step_timeout_s)
                assert hotkeys.gap_ms >= 0
                assert all(math.isfinite(settings.events.max_age_s.of(kind)) for kind in ("entry", "tp1", "sl"))  # type: ignore[arg-type]
                assert all(
                    press.hotkeys in hotkeys.targets
                    for route in settings.routes
                    for press in route.do
                    if isinstance(press, Press)
                )
            assert CANARY not in "".join(problems) or CANARY in _names(raw), f"echoed a value: {raw!r}"
            assert all(0 < len(line) < 500 and line.isprintable() for line in problems), raw
            if number == COUNT // 10:
                settle()
    assert taken > COUNT // 100
    assert refused > COUNT // 4
