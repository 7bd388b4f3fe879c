"""What to do about a peer that could not be reached, by the words in which that is told."""

from daemon.doctor.check import Check, fail

_REMEDIES = (
    ("host name not resolved", "check the spelling of {host}, or write its address: getent hosts {host}"),
    ("no answer from the name server", "check this machine's network and /etc/resolv.conf"),
    ("Connection refused", "nothing listens on port {port} there: start the server, or correct the port"),
    ("No route to host", "is {host} switched on and on this network? ping {host}"),
    ("Network is unreachable", "this machine has no way to that network: ip route"),
    (
        "no answer to the handshake",
        "something listens on port {port} but does not speak: restart the server, or correct the port",
    ),
    (
        "no answer",
        "{host} is off or hangs, or a firewall or the unit's IPAddressDeny= drops packets: systemctl cat deskhand",
    ),
    ("certificate refused", "install the issuer's certificate on this machine, or use a name that the certificate has"),
    *(
        (f"TLS failed: {why}", "this port does not speak TLS: {plain}")
        for why in ("wrong version number", "record layer failure", "the server hung up", "the broker hung up")
    ),
    ("TLS failed", "look at it: openssl s_client -connect {host}:{port}"),
    ("HTTP ", "this is a web server; correct the address or the port"),
    ("not a WebSocket server", "something else listens on port {port}; correct the address"),
    (
        "not an MQTT broker",
        "something else listens on port {port}; an MQTT broker is usually on 1883, with TLS on 8883",
    ),
    ("not an HTTP server", "something else listens on port {port}; correct the address"),
    ("closed the connection", "{closed}"),
    ("without an answer", "{closed}"),
)


def unreachable(name: str, where: tuple[str, int], why: str, *, plain: str, closed: str = "") -> Check:
    """A peer that cannot be reached at host and port, and why.

    `plain` says how to use no TLS there, `closed` what it may mean that the peer hangs up.
    """
    host, port = where
    words = {"host": host, "port": str(port), "plain": plain, "closed": closed or "see the log of the peer"}
    remedy = next((text for begin, text in _REMEDIES if begin in why), "see the log of the peer")
    for word, value in words.items():
        remedy = remedy.replace(f"{{{word}}}", value)
    return fail(name, f"{_shown(host, port)}: {why}", remedy)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
