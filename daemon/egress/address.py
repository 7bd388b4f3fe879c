"""From a peer's name to the addresses that are connected to, in bounded time."""

import asyncio
import ipaddress
import socket
from contextlib import suppress

from daemon.apart import apart
from daemon.errors import UnreachableError

_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            *("127.0.0.0/8", "::1/128"),  # this machine
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),  # a network of one's own
            *("169.254.0.0/16", "fe80::/10"),  # one cable
            "100.64.0.0/10",  # a VPN such as Tailscale
        ),
    )
)


def private(address: str) -> bool:
    """Whether an address is this machine's or of a private network; False for what is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in _PRIVATE)


async def addresses(host: str, port: int, limit_s: float) -> list[tuple[str, int]]:
    """Every address of a host, preferred one first. Raises UnreachableError; `limit_s` in seconds."""
    with suppress(ValueError):
        return [(str(ipaddress.ip_address(host)), port)]
    try:
        async with asyncio.timeout(limit_s):
            rows = await apart(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), "resolve")
    except TimeoutError:
        raise UnreachableError(f"no answer from the name server within {limit_s:g} s") from None
    except (OSError, UnicodeError):
        raise UnreachableError("host name not resolved") from None
    return [(address, port) for address in dict.fromkeys(str(row[4][0]) for row in rows)]
