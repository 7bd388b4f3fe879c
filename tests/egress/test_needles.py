"""A secret is found in whatever form ordinary code gives it, wherever it stands, and ordinary text is let through."""

import base64
import json
import random
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daemon.egress.needles import Needles
from daemon.egress.shapes import shape
from daemon.ports import KnownSecret

SECRET = "pm_live-7Qx+Zk/9=é ü"
KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def known(*texts: str, purpose: str = "polymaker") -> Needles:
    return Needles(KnownSecret(f"secret.{number}", text, purpose) for number, text in enumerate(texts))


def b64(raw: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    return base64.b64encode(before + raw + after)


def unicode_escaped(text: str) -> bytes:
    units = text.encode("utf-16-be", "surrogatepass")
    return b"".join(b"\\u%04x" % int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))


def every_second(text: str) -> bytes:
    raw = text.encode()
    return b"".join(b"%%%02x" % byte if at % 2 else quote(bytes((byte,))).encode() for at, byte in enumerate(raw))


FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "base64 at 0": lambda s: b64(s.encode()),
    "base64 at 1": lambda s: b64(s.encode(), b"x"),
    "base64 at 2": lambda s: b64(s.encode(), b"xy"),
    "base64 inside": lambda s: b64(s.encode(), b'{"user": "', b'", "more": 1}'),
    "base64 without padding": lambda s: b64(s.encode()).rstrip(b"="),
    "base64 url-safe": lambda s: base64.urlsafe_b64encode(s.encode()),
    "base64 in lines": lambda s: base64.encodebytes(b"-" * 50 + s.encode() + b"-" * 50),
    "base64 in json": lambda s: json.dumps(base64.encodebytes(s.encode() * 3).decode()).replace("/", "\\/").encode(),
    "base64 in a url": lambda s: quote(b64(s.encode()), safe="").encode(),
    "hex": lambda s: s.encode().hex().encode(),
    "hex in capitals": lambda s: s.encode().hex().upper().encode(),
    "hex in both": lambda s: "".join(c.upper() if at % 3 else c for at, c in enumerate(s.encode().hex())).encode(),
    "quote": lambda s: quote(s).encode(),
    "quote all": lambda s: quote(s, safe="").encode(),
    "quote_plus": lambda s: quote_plus(s).encode(),
    "quote in small letters": lambda s: quote(s, safe="").lower().encode() if s.islower() else every_second(s),
    "every byte quoted": lambda s: b"".join(b"%%%02X" % byte for byte in s.encode()),
    "every second byte quoted": every_second,
    "quoted twice": lambda s: quote(quote(s, safe=""), safe="").encode(),
    "json": lambda s: json.dumps(s)[1:-1].encode(),
    "json in json": lambda s: json.dumps(json.dumps(s)).encode(),
    "json, all escaped": unicode_escaped,
    "latin-1": lambda s: s.encode("latin-1", "ignore") if s.isascii() or max(s) < "\u0100" else s.encode(),
    "python": lambda s: repr(s.encode())[2:-1].encode(),
    "base64 of hex": lambda s: b64(s.encode().hex().encode(), b"a"),
    "hex of base64": lambda s: b64(s.encode()).hex().encode(),
    "base64 of base64": lambda s: b64(b64(s.encode(), b"ab"), b"c"),
    "base64 of quoted": lambda s: b64(b"".join(b"%%%02x" % byte for byte in s.encode())),
}
SECRETS = [
    "hunter2-",
    "correct horse battery staple",
    SECRET,
    KEY,
    "0x" + KEY,
    "a\"b\\c/d'e%41+&=",
    "x" * 300,
    "\U0001f511" * 8,
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_every_form_is_found(form: str, secret: str) -> None:
    needles = known("another-secret", secret)
    written = FORMS[form](secret)
    for before in (b"", b'{"a": "', b"q", b"qr=", b"https://host/path?x="):
        assert needles.find(before + written + b'"}') == "secret.1", before
    assert not known("another-secret", "a third one").find(written)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=80),
    st.sampled_from(sorted(FORMS)),
    st.binary(max_size=40),
    st.binary(max_size=40),
)
@settings(max_examples=400, deadline=None)
def test_any_secret_in_any_form_at_any_place(secret: str, form: str, before: bytes, after: bytes) -> None:
    assume(len(secret.splitlines()) < 2)
    written = FORMS[form](secret)
    # What stands beside it must not change what it is: half an escape, or another digit of the same hexadecimal.
    before, after = before + b" ", b" " + after
    assert known(secret).find(before + written + after) == "secret.0"


@given(st.binary(min_size=8, max_size=64), st.binary(max_size=7), st.binary(max_size=7), st.booleans())
def test_base64_of_a_secret_among_anything(raw: bytes, before: bytes, after: bytes, safe: bool) -> None:
    secret = raw.hex()[: len(raw)] + "kk"
    encoded = b64(secret.encode(), before, after)
    if safe:
        encoded = encoded.translate(bytes.maketrans(b"+/", b"-_"))
    assert known(secret).find(b"A" + encoded)


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz"])
def test_base64_needs_no_decoding(before: bytes) -> None:
    """Each of its three offsets is known beforehand, so that what is encoded once more is found by decoding once."""
    needles = known(SECRET)
    assert needles._search(b64(SECRET.encode(), before, b"..."), frozenset())
    assert needles.find(b64(b64(SECRET.encode(), before), b"a"))


@pytest.mark.parametrize("secret", [KEY, KEY.upper(), "0x" + KEY, "0X" + KEY.upper()])
@pytest.mark.parametrize(
    "written",
    [
        KEY.encode(),
        KEY.upper().encode(),
        b"0x" + KEY.encode(),
        b64(bytes.fromhex(KEY)),
        b64(bytes.fromhex(KEY), b"x"),
        KEY.encode().hex().encode(),
    ],
)
def test_a_key_in_hexadecimal_is_the_same_in_every_spelling(secret: str, written: bytes) -> None:
    assert known(secret).find(b"[" + written + b"]")


@pytest.mark.parametrize("written", ["ab+/cdefgh+/", "ab-_cdefgh-_", "ab+/cdefgh+/=="])
def test_a_key_in_base64_is_the_same_in_either_alphabet(written: str) -> None:
    assert known("ab-_cdefgh-_==").find(written.encode())


def test_every_line_of_a_secret_is_one() -> None:
    assert known("-----first\nsecond line\nshort").find(b"... second line")


def test_seven_characters_are_no_secret() -> None:
    assert not known("hunter2").find(b"hunter2")


def test_what_is_for_this_place_is_let_through_and_nothing_else() -> None:
    own, other = KnownSecret("a", "password-of-a", "a"), KnownSecret("b", "password-of-b", "b")
    needles = Needles([own, other])
    assert not needles.find(b"password-of-a", frozenset({"a"}))
    assert needles.find(b"password-of-a", frozenset({"b"})) == "a"
    assert needles.find(b"password-of-a password-of-b", frozenset({"a"})) == "b"


def test_whose_a_value_is_that_is_kept_in_two_places() -> None:
    """One password for two peers is for both; what a section has is that section's, though the vault has it too."""
    kept = [KnownSecret("KEY", "one-value", "vault"), KnownSecret("polymaker.api_key", "one-value", "polymaker")]
    assert Needles(kept).find(b"one-value", frozenset({"vault"}))
    assert not Needles(kept).find(b"one-value", frozenset({"polymaker"}))
    both = [KnownSecret("mqtt.password", "one-value", "mqtt"), KnownSecret("h.password", "one-value", "hummingbot")]
    for purpose in ("mqtt", "hummingbot"):
        assert not Needles(both).find(b"one-value", frozenset({purpose}))
    moved = [KnownSecret("BITMART", "one-value", "foreign"), KnownSecret("KEY", "one-value", "vault")]
    assert not Needles(moved).find(b"one-value", frozenset({"vault"}))
    assert Needles(moved[:1]).find(b"one-value", frozenset({"vault"}))
    part = [KnownSecret("mqtt.password", "password", "mqtt"), KnownSecret("h.password", "password123", "hummingbot")]
    assert not Needles(part).find(b"password123", frozenset({"hummingbot"}))
    assert Needles(part).find(b"password123") == "mqtt.password"


ORDINARY = [
    b'{"runId":17,"totalPnl":-12.5,"winCount":3,"hedgeAnalytics":{"one_sided_fills":[1,2]},"walletBalance":null}',
    b'{"account_name":"master_account","connector_name":"hyperliquid_perpetual","trading_pair":"BTC-USD","amount":"0.5"}',
    b'{"tokenId":"71321045679252212594626385532706912750332728571942532289631379312455583992563","window":"15m"}',
    b'{"bot_name":"desk-20261121-010203","script_config":"v2_funding_rate_arb.yml","headless":true}',
    b'{"id":"b7c1a5e2-52a1-4c8e-9d57-8d2f1f6f1a11","cloid":"0x1234567890abcdef1234567890abcdef"}',
    b'{"commit":"da39a3ee5e6b4b0d3255bfef95601890afd80709","image":"hummingbot/hummingbot:latest"}',
    b'{"image":"hummingbot/hummingbot@sha256:' + KEY.encode() + b'"}',
    b"/trading/master_account/bitmart/orders/HBOT-B-BTC-1763700000-ab12cd34/cancel?limit=100&cursor=2026-11-21T01:02:03Z",
    b'{"content":"def main():\\n    x = 0xDEADBEEF\\n    return f\'{x:>40}\'\\n"}',
    '{"note":"Grüße, 100 % sicher, C:\\\\new\\\\table"}'.encode(),
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_payloads_pass(text: bytes) -> None:
    chance = random.Random(4)
    secrets = [chance.randbytes(size).hex() for size in range(4, 40)] + ["hunter2hunter2", "correct horse battery"]
    assert not known(*secrets).find(text)
    assert not shape(text)


ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (ADDRESS, "wallet address"),
        (ADDRESS.lower(), "wallet address"),
        (f'{{"to":"{ADDRESS}"}}', "wallet address"),
        (f"?to={quote(ADDRESS)}".replace("0x", "0%78"), "wallet address"),
        (f"?to={quote(ADDRESS)}".replace("0x", "%252530x"), "wallet address"),
        (unicode_escaped(ADDRESS).decode(), "wallet address"),
        ("0x" + KEY, "private key"),
        ("0X" + KEY.upper(), "private key"),
        (KEY, "private key"),
        (f"key={KEY}&", "private key"),
        (f'"{KEY}"', "private key"),
        (ADDRESS + "a", "private key"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHc", "private key"),
        ("-----BEGIN PRIVATE KEY-----", "private key"),
    ],
)
def test_shapes_are_found_though_nobody_knows_them(text: str, what: str) -> None:
    assert what in shape(text.encode())


def test_large_bodies_take_milliseconds() -> None:
    chance = random.Random(4)
    secrets = known(*(chance.randbytes(20).hex() for _ in range(50)))
    rows = [
        {"runId": number, "asset": "BTC", "price": chance.random(), "note": "quick brown fox"}
        for number in range(20_000)
    ]
    body = json.dumps(rows).encode()[: 1024 * 1024]
    took = []
    for _ in range(3):
        began = time.thread_time()
        assert not secrets.find(body)
        assert not shape(body)
        took.append(time.thread_time() - began)
    print(f"{len(body)} bytes, 50 secrets: {min(took) * 1000:.1f} ms")
    assert min(took) < 0.5, "of the processor's time: a hundred times what it takes"
