"""The configuration: frozen models, read from file, `.env`, environment and command line."""

from typing import Any

from daemon.settings.load import load
from daemon.settings.model import (
    EventSettings,
    HotkeySettings,
    HttpSettings,
    HummingbotSettings,
    JournalSettings,
    MaxAge,
    MqttSettings,
    PolymakerSettings,
    Press,
    Route,
    ScheduleSettings,
    Settings,
    When,
)

__all__ = [
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
    "When",
    "load",
    "schema",
]


def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file; secrets are left out, because they do not belong there."""
    found = Settings.model_json_schema()
    for section in (found, *found["$defs"].values()):
        properties = section.get("properties", {})
        for name in [name for name, item in properties.items() if "writeOnly" in str(item)]:
            del properties[name]
        for item in properties.values():
            if "$ref" in item:
                item.pop("default", None)  # the section's own keys have theirs
    return found | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
