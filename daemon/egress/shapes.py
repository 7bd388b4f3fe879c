"""What looks like a wallet address or a private key is stopped even if nobody knows it."""

import re

from daemon.egress.views import HEX, readings

_SHAPES = re.compile(
    rb"(?P<wallet>0[xX][0-9a-fA-F]{40}(?![0-9a-fA-F]))"
    # Longer ones hold an address or a key with something around it.
    rb"|(?P<key>0[xX][0-9a-fA-F]{41,}"
    # A key is often written without 0x; so is the digest that names a container image.
    rb"|(?<![0-9a-zA-Z])(?<!sha256:)[0-9a-fA-F]{64}(?![0-9a-zA-Z]))"
    rb"|(?P<pem>-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY-----)"
)
_WORDS = {
    "wallet": "what looks like a wallet address",
    "key": "what looks like a private key",
    "pem": "a private key",
}


def shape(data: bytes) -> str:
    """What the bytes hold that must not leave, in words, or ""."""
    for view in readings(data):
        if b"x" * 40 in view.translate(HEX) or b"PRIVATE KEY" in view:
            found = _SHAPES.search(view)
            if found and found.lastgroup:
                return _WORDS[found.lastgroup]
    return ""
