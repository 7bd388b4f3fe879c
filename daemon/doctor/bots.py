"""The broker of Hummingbot's bots: name, TCP, TLS, login and subscription. Nothing is published there."""

from daemon.doctor.check import Check, fail, ok, warn
from daemon.doctor.remedies import unreachable
from daemon.errors import UnreachableError
from daemon.settings import BotBrokerSettings
from daemon.sources.mqtt_hummingbot import visit
from daemon.sources.mqtt_wire import BrokerError

_NAME = "hummingbot:mqtt"


async def look(settings: BotBrokerSettings, limit_s: float) -> list[Check]:
    """Listen for a moment, as one more client; nothing to tell where it is off, as it is for most."""
    if settings.host is None:
        return []
    where = settings.host, settings.port
    shown = f"{settings.host}:{settings.port}"
    try:
        await visit(settings, limit_s)
    except BrokerError as error:
        if error.stubborn and "login" in str(error):
            keys = "DESKHAND_HUMMINGBOT__MQTT__USERNAME and DESKHAND_HUMMINGBOT__MQTT__PASSWORD"
            return [fail(_NAME, f"{shown}: {error}", f"correct {keys} in .env")]
        return [fail(_NAME, f"{shown}: {error}", "see the broker's log; does it want TLS (hummingbot.mqtt.tls: true)?")]
    except UnreachableError as error:
        plain, closed = "set hummingbot.mqtt.tls to false", "does it want TLS (hummingbot.mqtt.tls: true)?"
        return [unreachable(_NAME, where, str(error), plain=plain, closed=closed)]
    if not settings.instances:
        return [warn(_NAME, f"{shown} lets us listen, and no bot counts", "name them in hummingbot.mqtt.instances")]
    if settings.username is None:
        text = f"{shown} lets anybody in: whoever reaches it can forge a fill"
        return [warn(_NAME, text, "give the broker users and passwords before a route presses keys for fills")]
    return [ok(_NAME, f"{shown}: login, and the bots' topics")]
