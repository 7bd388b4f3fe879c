"""What can be set, with its bounds and defaults. Frozen: a reload makes a new one."""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic import model_validator as model_check
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from daemon.events import EventType
from daemon.ports import Guard, KnownSecret, Mode
from daemon.settings import fields as f
from daemon.settings.actions import Action, Call

LAN_WORDS = (
    "others on the network could reach it: set http.tls_cert and http.tls_key, "
    "or http.allow_plaintext_lan: true to let them read what is sent, tokens too"
)
"""What an address that is not loopback still needs."""
LAN_TOKEN = 16
"""Shortest `http.token`, in characters, on such an address."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class HttpSettings(_Section):
    """The local server. Port 0 takes any free port. An address that others on the network reach needs a token, and TLS
    or the explicit word that it goes without. `allowed_hosts`: names that a tunnel or proxy in front uses, exactly.
    """

    host: f.Listen = "127.0.0.1"
    port: Annotated[int, f.Within(0, 65535)] = 8790
    token: f.Token | None = None
    tls_cert: f.File | None = None
    tls_key: f.File | None = None
    allow_plaintext_lan: f.Flag = False
    allowed_hosts: Annotated[tuple[f.Host, ...], Field(max_length=32)] = ()

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    @property
    def sealed(self) -> bool:
        """Whether others on the network may reach it: what is said is encrypted, or the user said it need not be."""
        return self.tls_cert is not None or self.allow_plaintext_lan


class MqttSettings(_Section):
    """The MQTT broker; off until `host` is set. `keepalive_s` in seconds."""

    host: f.Host | None = None
    port: Annotated[int, f.Within(1, 65535)] = 1883
    username: f.Text | None = None
    password: SecretStr | None = None
    tls: f.Flag = False
    topic: f.Topic = "deskhand/events"
    client_id: f.KeyName = "deskhand"
    version: f.MqttVersion = "5"
    keepalive_s: Annotated[int, f.Within(1, 60, "seconds")] = 10


class MaxAge(_Section):
    """How old an event may be and still act, in seconds, for each type."""

    entry: Annotated[float, f.Within(0.1, 86400, "seconds")] = 10.0
    tp1: Annotated[float, f.Within(0.1, 86400, "seconds")] = 30.0
    tp2: Annotated[float, f.Within(0.1, 86400, "seconds")] = 30.0
    sl: Annotated[float, f.Within(0.1, 86400, "seconds")] = 300.0
    close: Annotated[float, f.Within(0.1, 86400, "seconds")] = 300.0

    def of(self, kind: EventType) -> float:
        """The age limit of events of this type, in seconds."""
        return float(getattr(self, kind))


class EventSettings(_Section):
    """Age limits, and what exits do while the journal cannot be written."""

    max_age_s: MaxAge = MaxAge()
    exits_without_journal: Literal["fire", "refuse"] = "fire"


class HotkeySettings(_Section):
    """Hotkey targets and how keys are pressed there. `gap_ms` in milliseconds, `step_timeout_s` in seconds."""

    targets: dict[f.KeyName, f.TargetUrl] = {"main": "practice"}
    preset: Literal["classic", "bracket"] = "classic"
    sequences: dict[f.SequenceName, f.Keys] = {}
    frame: f.Frame = "{action}"
    gap_ms: Annotated[int, f.Within(0, 10_000, "milliseconds")] = 100
    connect: Literal["warm", "persistent", "per_action"] = "warm"
    step_timeout_s: Annotated[float, f.Within(0.05, 60, "seconds")] = 2.0
    repeatable: f.Keys = ("cancel_all", "break_even", "sell_all_bid")
    keep_when_superseded: f.Keys = ("cancel_all",)
    guard: Guard = "strict"
    allow_add: f.Flag = False
    overtake: tuple[Literal["sl", "close"], ...] = ("sl", "close")


_TYPES = {"enum": [str(kind) for kind in EventType]}
_TEXT = {"type": "string"}
_INSTANCE = {"type": "string", "pattern": "^[A-Za-z0-9_*?-]{1,128}$"}


class When(_Section):
    """Which events a route is for; a field left out matches all, a list matches any of its items."""

    type: Annotated[tuple[EventType, ...] | None, f.OneOrMany, f.one_or_many(_TYPES)] = None
    symbol: Annotated[tuple[f.Symbol, ...] | None, f.OneOrMany, f.one_or_many(_TEXT)] = None
    account: Annotated[tuple[f.Label, ...] | None, f.OneOrMany, f.one_or_many(_TEXT)] = None
    strategy: Annotated[tuple[f.Label, ...] | None, f.OneOrMany, f.one_or_many(_TEXT)] = None
    source: Annotated[tuple[f.Label, ...] | None, f.OneOrMany, f.one_or_many(_TEXT)] = None
    side: Annotated[
        tuple[Literal["long", "short"], ...] | None, f.OneOrMany, f.one_or_many({"enum": ["long", "short"]})
    ] = None


class Route(_Section):
    """A rule: what to `do` with the events that `when` describes; the first that matches wins."""

    when: When = When()
    do: Annotated[tuple[Action, ...], Field(max_length=16)]


class JournalSettings(_Section):
    """How long and how large the journal may grow: days, megabytes."""

    retention_days: Annotated[int, f.Within(1, 3650, "days")] = 30
    max_mb: Annotated[int, f.Within(1, 65536, "megabytes")] = 512


class BotBrokerSettings(_Section):
    """The broker that Hummingbot's own bots publish to; off until `host` is set. Only what the bots in `instances` say
    counts: names, with `*` for the time that every deploy adds; none until some are given.
    """

    host: f.Host | None = None
    port: Annotated[int, f.Within(1, 65535)] = 1883
    username: f.Text | None = None
    password: SecretStr | None = None
    tls: f.Flag = False
    instances: Annotated[tuple[f.Instance, ...], Field(max_length=64), f.OneOrMany, f.one_or_many(_INSTANCE)] = ()


class HummingbotSettings(_Section):
    """The Hummingbot API; off until `url` is set. `mqtt` hears the bots' fills."""

    url: f.HttpUrl | None = None
    username: f.Text | None = None
    password: SecretStr | None = None
    api_key: f.ApiKey | None = None
    mqtt: BotBrokerSettings = BotBrokerSettings()


class PolymakerSettings(_Section):
    """The PolyMaker Command Center; off until `url` is set. `timeout_s`, `resume_within`: seconds; `bankroll`: USDC.

    `config_id` is for a Center that names none; `report_practice` reports practice trades too, as a dry run;
    `resume_within` is how long a run may lie still and still be gone on with; `resend_uncertain` sends again what may
    have arrived.
    """

    url: f.HttpUrl | None = None
    api_key: f.ApiKey | None = None
    enabled: f.Flag = True
    timeout_s: Annotated[float, f.Within(0.1, 300, "seconds")] = 10.0
    config_id: Annotated[int, f.Within(1, 2**31 - 1)] | None = None
    bankroll: Annotated[float, f.Within(0, 1e12)] | None = None
    report_practice: f.Flag = False
    resume_within: f.Duration = 600.0
    resend_uncertain: f.Flag = False


class ScheduleSettings(_Section):
    """How often each job runs; seconds once read, `30s` when written, null for never."""

    clock: f.Duration | None = 60.0
    hummingbot_observe: f.Duration | None = 15.0
    hummingbot_reconcile: f.Duration | None = 60.0
    polymaker_metrics: f.Duration | None = 30.0
    polymaker_markets: f.Duration | None = 60.0
    polymaker_config: f.Duration | None = 30.0


def state_folder(value: object) -> Path:
    """The folder that `state_dir` means. Raises PydanticCustomError for what is none."""
    if not isinstance(value, (str, Path)) or not str(value) or not str(value).isprintable():
        f.refuse("must be a folder")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        f.refuse("there is no home folder here; give an absolute folder, or run under systemd with StateDirectory=")


@dataclass(frozen=True)
class VaultUse:
    """The vault as `load` found it: how many it holds, the names that settings refer to, the others, and why it
    could not be opened where no setting needed it.
    """

    count: int = 0
    used: tuple[str, ...] = ()
    unused: tuple[KnownSecret, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Origin:
    """Where settings came from: the files read, the runtime folder (and whether it is systemd's: `service`), the
    secrets of others in `.env`, the vault if there is one, and `place`, which leads a key by the line or variable that
    set it.
    """

    file: Path | None = None
    env_file: Path | None = None
    runtime: Path | None = None
    service: bool = False
    foreign: tuple[KnownSecret, ...] = ()
    vault: VaultUse | None = None
    place: Callable[[tuple[int | str, ...]], str] = lambda path: ".".join(map(str, path))


class Settings(BaseSettings):
    """The whole configuration. `stop_timeout_s` in seconds."""

    model_config = SettingsConfigDict(
        title="Deskhand configuration",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
    )
    mode: Mode = "practice"
    state_dir: Annotated[Path, BeforeValidator(state_folder)] = Path("~/.local/state/deskhand")
    stop_timeout_s: Annotated[float, f.Within(1, 300, "seconds")] = 15.0
    log_level: f.Level = "INFO"
    log_format: Literal["auto", "human", "json"] = "auto"
    http: HttpSettings = HttpSettings()
    mqtt: MqttSettings = MqttSettings()
    events: EventSettings = EventSettings()
    hotkeys: HotkeySettings = HotkeySettings()
    routes: Annotated[tuple[Route, ...], Field(max_length=1000)] = ()
    journal: JournalSettings = JournalSettings()
    hummingbot: HummingbotSettings = HummingbotSettings()
    polymaker: PolymakerSettings = PolymakerSettings()
    schedules: ScheduleSettings = ScheduleSettings()
    _origin: Origin = PrivateAttr(default_factory=Origin)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_: object,
        **__: object,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: `load` reads files and environment itself, so that it can name the line at fault."""
        return (init_settings,)

    @model_check(mode="after")
    def _across(self) -> Self:
        """What no field can see alone; all of it at once."""
        problems = [*self._target_problems(), *self._route_problems(), *self._http_problems()]
        if self.mqtt.version == "3.1.1" and self.mqtt.password and not self.mqtt.username:
            problems.append((("mqtt", "username"), "is required with a password in MQTT 3.1.1"))
        if self.hummingbot.mqtt.password and not self.hummingbot.mqtt.username:
            problems.append((("hummingbot", "mqtt", "username"), "is required with a password in MQTT 3.1.1"))
        if problems:
            raise ValidationError.from_exception_data(
                "Settings",
                [
                    InitErrorDetails(type=PydanticCustomError("deskhand", text), loc=at, input=None)
                    for at, text in problems
                ],
            )
        return self

    def _target_problems(self) -> Iterator[tuple[tuple[int | str, ...], str]]:
        targets = self.hotkeys.targets
        if not targets:
            yield ("hotkeys", "targets"), "must name at least one target"
        elif len(targets) > 1 and "main" not in targets:
            yield ("hotkeys", "targets"), "one of several must be called main: it gets the events without a route"
        if self.mode == "live":
            for name, url in targets.items():
                if url == "practice":
                    yield ("hotkeys", "targets", name), "live mode needs an address like ws://host:8765, not practice"

    def _route_problems(self) -> Iterator[tuple[tuple[int | str, ...], str]]:
        for number, route in enumerate(self.routes):
            reports = route.when.source is not None and "hummingbot" in route.when.source
            for part, step in enumerate(route.do):
                place = ("routes", number, "do", part)
                if not isinstance(step, Call):
                    if step.hotkeys not in self.hotkeys.targets:
                        yield (*place, "hotkeys"), "is not one of hotkeys.targets"
                elif self.hummingbot.url is None:
                    yield (*place, "hummingbot"), "needs hummingbot.url"
                elif reports:
                    yield (*place, "hummingbot"), "would answer Hummingbot's own fills; only hotkeys may"

    def _http_problems(self) -> Iterator[tuple[tuple[int | str, ...], str]]:
        http = self.http
        for this, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
            if getattr(http, this) is not None and getattr(http, other) is None:
                yield ("http", this), f"needs http.{other} beside it"
        if http.loopback:
            return
        if not http.sealed:
            yield ("http", "host"), LAN_WORDS
        if http.token is not None and len(http.token.get_secret_value()) < LAN_TOKEN:
            yield ("http", "token"), f"must have {LAN_TOKEN} characters or more, where others on the network can guess"

    @property
    def origin(self) -> Origin:
        """Where these came from."""
        return self._origin

    def came_from(self, origin: Origin) -> None:
        """Told once, by `load`."""
        self._origin = origin

    def runtime_dir(self) -> Path:
        """Where the unix socket goes: systemd's or the session's runtime folder, else the state folder."""
        return self._origin.runtime or self.state_dir

    def known_secrets(self) -> Iterator[KnownSecret]:
        """Every secret known here, with what it is for; a value that a section has is not `foreign` or `vault` too."""
        told: set[str] = set()
        sections: dict[str, BaseModel] = {
            name: getattr(self, name) for name in ("http", "mqtt", "hummingbot", "polymaker")
        }
        # The bots' broker is not the API: its password has no business in a request there.
        for name, section in (sections | {"hummingbot.mqtt": self.hummingbot.mqtt}).items():
            for key, value in section:
                if isinstance(value, SecretStr) and value.get_secret_value():
                    told.add(value.get_secret_value())
                    yield KnownSecret(f"{name}.{key}", value.get_secret_value(), name.rpartition(".")[2])
        unused = self._origin.vault.unused if self._origin.vault else ()
        yield from (secret for secret in (*self._origin.foreign, *unused) if secret.value not in told)

    def secrets(self) -> list[str]:
        """Every secret value known here, longest first, for redaction."""
        return sorted({secret.value for secret in self.known_secrets()}, key=len, reverse=True)
