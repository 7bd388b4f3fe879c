"""The configuration: frozen models, read from file, `.env`, environment and command line."""

from typing import Any

from daemon.settings.actions import Call, Press
from daemon.settings.load import Whereabouts, load, whereabouts
from daemon.settings.model import (
    BotBrokerSettings,
    EventSettings,
    HotkeySettings,
    HttpSettings,
    HummingbotSettings,
    JournalSettings,
    MaxAge,
    MqttSettings,
    PolymakerSettings,
    Route,
    ScheduleSettings,
    Settings,
    VaultUse,
    When,
)
from daemon.settings.references import Unlock

__all__ = [
    "BotBrokerSettings",
    "Call",
    "EventSettings",
    "HotkeySettings",
    "HttpSettings",
    "HummingbotSettings",
    "JournalSettings",
    "MaxAge",
    "MqttSettings",
    "PolymakerSettings",
    "Press",
    "Route",
    "ScheduleSettings",
    "Settings",
    "Unlock",
    "VaultUse",
    "When",
    "Whereabouts",
    "load",
    "schema",
    "whereabouts",
]


_REFERENCE = {
    "anyOf": [{"type": "string", "pattern": r"^vault:[A-Za-z0-9_.-]{1,64}$"}, {"type": "null"}],
    "default": None,
    "description": "A secret's name in the vault; the secret itself goes into the vault, .env or the environment.",
}


def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file; of a secret only its name in the vault belongs there."""
    found = Settings.model_json_schema()
    for section in (found, *found["$defs"].values()):
        properties = section.get("properties", {})
        for name in [name for name, item in properties.items() if "writeOnly" in str(item)]:
            properties[name] = _REFERENCE
        for item in properties.values():
            if "$ref" in item:
                item.pop("default", None)  # the section's own keys have theirs
    return found | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
