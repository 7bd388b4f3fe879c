"""Other readings of bytes that are about to leave: without escapes, and with what is encoded in them decoded."""

import binascii
import re
import string
from collections.abc import Iterator


def _class(letters: str) -> bytes:
    return bytes(ord("x") if chr(code) in letters else ord(" ") for code in range(256))


BASE64 = _class(string.ascii_letters + string.digits + "+/_-")
"""For `bytes.translate`: `x` for what may stand in base64 of either alphabet, a space for all else."""
HEX = _class(string.hexdigits)
"""As BASE64, for hexadecimal digits."""

_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})")
_ESCAPE = re.compile(
    rb"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})"
    rb"|([\\/\"'nrtbf]))"
)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_ENCODED = 14
"""So long is what eight characters become when they are encoded twice."""
_AS_BASE64 = bytes(
    {ord("-"): ord("+"), ord("_"): ord("/")}.get(code, code if kind == ord("x") else ord("A"))
    for code, kind in enumerate(BASE64)
)
_AS_HEX = bytes(code if kind == ord("x") else ord("0") for code, kind in enumerate(HEX))


def readings(data: bytes, *, spaces: bool = False, rounds: int = 3) -> list[bytes]:
    """The bytes, and what they say without percent encoding, backslashes and line breaks, so many times over at most.

    `spaces` reads a plus sign as one, too, as forms do.
    """
    found, last = {data: None}, [data]
    for _ in range(rounds):
        last = [new for old in last for new in _plainer(old, spaces=spaces) if new not in found]
        found.update(dict.fromkeys(last))
        if not last:
            break
    return list(found)


def _plainer(data: bytes, *, spaces: bool) -> Iterator[bytes]:
    if b"%" in data:
        yield _PERCENT.sub(lambda found: bytes((int(found[1], 16),)), data)
    if b"\\" in data:
        yield _ESCAPE.sub(_unescaped, data)
    if b"\n" in data:
        yield data.translate(None, b"\r\n")
    if spaces and b"+" in data:
        yield data.replace(b"+", b" ")


def _unescaped(found: re.Match[bytes]) -> bytes:
    high, low, unit, byte, letter = found.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00)).encode()
    if unit:
        return chr(int(unit, 16)).encode(errors="surrogatepass")
    return bytes((int(byte, 16),)) if byte else _LETTERS.get(letter, letter)


def decoded(data: bytes) -> Iterator[bytes]:
    """What its longer runs hold when read as base64 and as hexadecimal.

    All of it is decoded at once, from each place where a group of characters may begin; what is no such character
    becomes one that is. So around what was encoded there is chaff, which hurts nobody.
    """
    if b"x" * _ENCODED not in data.translate(BASE64):
        return
    text = data.translate(_AS_BASE64)
    for begin in range(4):
        yield binascii.a2b_base64(text[begin:] + b"A" * (-len(text[begin:]) % 4))
    if b"x" * _ENCODED in data.translate(HEX):
        text = data.translate(_AS_HEX)
        for begin in range(2):
            yield binascii.unhexlify(text[begin:] + b"0" * (len(text[begin:]) % 2))
