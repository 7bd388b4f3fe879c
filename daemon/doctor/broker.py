"""The MQTT broker: name, TCP, TLS, login, subscription, and whether an event would come through."""

from daemon.doctor.check import Check, fail, milliseconds, ok, warn
from daemon.doctor.remedies import unreachable
from daemon.egress.address import addresses
from daemon.errors import UnreachableError
from daemon.settings import MqttSettings
from daemon.sources.mqtt_probe import RefusedError, Visit, visit

_NAME = "mqtt"


async def look(settings: MqttSettings, limit_s: float) -> list[Check]:
    """Visit the broker as one more client; the daemon's own session is not touched."""
    if settings.host is None:
        return [ok(_NAME, "off: mqtt.host is not set")]
    where = settings.host, settings.port
    try:
        problem = UnreachableError("no address")
        for address in (await addresses(*where, limit_s))[:2]:  # a name with two addresses, such as localhost
            try:
                return [_told(settings, await visit(settings, address, limit_s))]
            except RefusedError:
                raise
            except UnreachableError as error:
                problem = error
        raise problem
    except RefusedError as error:
        return [_refused(settings, error)]
    except UnreachableError as error:
        other = "set mqtt.version to 3.1.1" if settings.version == "5" else "set mqtt.version to 5"
        closed = f"does it want TLS (mqtt.tls: true), or another MQTT version ({other})?"
        return [unreachable(_NAME, where, str(error), plain="set mqtt.tls to false", closed=closed)]


def _told(settings: MqttSettings, found: Visit) -> Check:
    where, topic = f"{settings.host}:{settings.port}", f"{settings.topic}/#"
    who = settings.username or "this user"
    if found.qos < 1:
        text = f"{where} grants {topic} without acknowledgements (QoS 0): events can be lost"
        return warn(_NAME, text, "let the broker grant QoS 1")
    if found.delivered:
        return ok(
            _NAME,
            f"{where}, MQTT {settings.version}: login, {topic} and a message in {milliseconds(found.round_trip_s)}",
        )
    rules = f"in mosquitto's acl_file, below `user {who}`: topic readwrite {topic}"
    if found.published:
        return fail(
            _NAME, f"{where} grants {topic} and then delivers nothing: its rules keep {who} from reading", rules
        )
    text = f"{where} grants {topic}, but whether events come through could not be tried: {who} may not publish there"
    if found.published is None:
        text = f"{where} grants {topic}, but a message to it did not come back: may {who} read and write there?"
    return warn(_NAME, text, f"only if no event arrives: {rules}")


def _refused(settings: MqttSettings, error: RefusedError) -> Check:
    where = f"{settings.host}:{settings.port}"
    if error.what == "login":
        if settings.username is None:
            text = f"{where} wants a login, and none is set ({error})"
            return fail(_NAME, text, "set DESKHAND_MQTT__USERNAME and DESKHAND_MQTT__PASSWORD in .env")
        text = f"{where} refused the login of {settings.username} ({error})"
        return fail(_NAME, text, "correct DESKHAND_MQTT__PASSWORD in .env, or set it there: mosquitto_passwd")
    if error.what == "version":
        other = "3.1.1" if settings.version == "5" else "5"
        return fail(_NAME, f"{where} does not speak MQTT {settings.version} ({error})", f"set mqtt.version to {other}")
    if error.what == "subscription":
        text = f"{where} refused the subscription to {settings.topic}/# ({error})"
        return fail(
            _NAME, text, f"let {settings.username or 'this user'} read {settings.topic}/# in the broker's rules"
        )
    return fail(_NAME, f"{where} hung up: {error}", "see the broker's log")
