"""Secrets are hidden in every form somebody may write them in, and nothing else is."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.redaction import HIDDEN, Redactor
from daemon.redaction.forms import looks_random

KEY = 'q7Rz+/x "\\é3Kd9?w~Vb1&=/p'
PLAIN = "q7RzT5xK3d9wVb1p"
WORDS = "correct horse battery staple"


def redactor(*secrets: str, own: bool = True) -> Redactor:
    found = Redactor()
    found.add(secrets, own=own)
    return found


def written(secret: str) -> Iterator[str]:
    """As anything may write it; what stands around it differs with the place."""
    raw = secret.encode()
    yield from (secret, secret.upper(), secret.lower(), repr(secret), repr(raw), repr({"a": secret}))
    yield from (json.dumps(secret), json.dumps(secret, ensure_ascii=False), json.dumps(json.dumps(secret)))
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield re.sub("%..", lambda found: found[0].lower(), quote(secret, safe=""))
    yield from (raw.hex(), raw.hex().upper())
    for before in (b"", b"u:", b"user:", b"x"):
        for after in (b"", b".", b", and more"):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                found = encode(before + raw + after).decode()
                yield from (found, found.rstrip("="))


@pytest.mark.parametrize("secret", [KEY, PLAIN, WORDS, "pässwörter überall", "0x" + "3f9a77bc01de" * 5])
def test_every_form_anywhere(secret: str) -> None:
    redact = redactor(secret, "another-secret-9K2m")
    random = looks_random(secret)
    forms = [form for form in written(secret) if random or form.lower() != secret.lower() or form == secret]
    assert len(forms) > 30
    for form in forms:
        for text in (form, f"say {form} now", f'{{"a": "{form}", "b": 1}}', f"a={form}&b=c", f"\x1b[31m{form}é\ud800"):
            hidden = redact(text)
            assert HIDDEN in hidden, text
            for other in written(secret):
                assert other not in hidden, (text, hidden)
            for start in range(len(form) - 9 if random else 0):
                assert form[start + 3 : start + 9] not in hidden, (text, hidden)


@given(before=st.binary(max_size=7), after=st.binary(max_size=7), length=st.integers(6, len(PLAIN)))
def test_a_key_that_was_cut_off_is_hidden_from_six_characters_on(before: bytes, after: bytes, length: int) -> None:
    redact, cut = redactor(PLAIN), PLAIN[:length]
    for text in (cut, f"{cut}...", f"x {cut}", f"'{cut}'", cut.encode().hex(), f"k={cut}&more=1"):
        assert PLAIN[:6] not in redact(text)
        assert HIDDEN in redact(text)
    encoded = base64.b64encode(before + cut.encode() + after).decode()
    assert HIDDEN in redact(f"Basic: {encoded}")


def test_a_guess_at_the_next_letter_tells_nothing() -> None:
    redact = redactor(PLAIN)
    told = {redact(f"a {PLAIN[:8]}{letter} b") for letter in "abcXYZ0123"}
    assert told == {f"a {HIDDEN} b"}


@pytest.mark.parametrize(
    "value",
    [
        "deskhand-mqtt", "password123!", "192.168.1.20:8765", "http://192.168.1.2:8000/api", "2024-01-01T00:00:00",
        "BTC-USDT", "ESZ25.CME", WORDS, "/home/alice/desk/x1", "hummingbot-broker-01", "12345678", "practice",
    ],
)  # fmt: skip
def test_what_reads_like_words_is_hidden_as_a_whole_only(value: str) -> None:
    redact = redactor(value)
    assert redact(f"a {value}.") == f"a {HIDDEN}."
    assert redact(f"a {value[:-1]} b") == f"a {value[:-1]} b"
    assert not looks_random(value)


@pytest.mark.parametrize("key", [PLAIN, "0x3f9a77bc01", "sk-ant-api03-AbX9Zq12Kd", "8f14e45f-ceea-467f-ab33-2b1c9d0e"])
def test_what_reads_like_a_key(key: str) -> None:
    assert looks_random(key)


def test_a_private_key_is_the_same_without_0x() -> None:
    bare = "3f9a77bc01de" * 5 + "4a2b"
    redact = redactor("0x" + bare, own=False)
    for text in (bare, bare.upper(), f"key {bare}", f"0X{bare}", base64.b64encode(bare.encode()).decode()):
        for hidden in (redact(text), redact.sure(text)):
            assert HIDDEN in hidden
            assert bare[8:20] not in hidden.lower()


def test_a_seed_phrase_is_hidden_in_data_too() -> None:
    seed = "abandon ability able about above absent absorb abstract absurd abuse access accident"
    redact = redactor(seed, WORDS, own=False)
    assert redact.scrub({"note": f"my seed: {seed}", "more": WORDS}) == {"note": f"my seed: {HIDDEN}", "more": WORDS}


def test_too_short_is_left_alone() -> None:
    assert redactor("short", "1234567")("short 1234567") == "short 1234567"


def test_a_key_of_many_lines_is_hidden_line_by_line() -> None:
    lines = [f"MIIE{number}q7Rz{number}T5xK3d9wVb{number}" for number in range(30)]
    redact = redactor("\n".join(lines))
    assert redact("\n".join(lines)) == HIDDEN
    for line in lines:
        assert redact(f"| {line} |") == f"| {HIDDEN} |"


def test_overlapping_secrets_are_hidden_once() -> None:
    redact = redactor("first-half second-half", "second-half third-part", "second-half")
    assert redact("<first-half second-half third-part>") == f"<{HIDDEN}>"


def test_a_foreign_value_that_is_no_key_stays_in_data_but_not_in_text() -> None:
    redact = redactor("BTC-USDT", PLAIN, own=False)
    assert redact("BTC-USDT was refused") == f"{HIDDEN} was refused"
    assert redact.scrub({"symbol": "BTC-USDT", "reason": f"said {PLAIN}"}) == {
        "symbol": "BTC-USDT",
        "reason": f"said {HIDDEN}",
    }
    redact.add(["BTC-USDT"])
    assert redact.scrub(["BTC-USDT"]) == [HIDDEN], "now it is one of our own"
    redact.add(["BTC-USDT"], own=False)
    assert redact.scrub(["BTC-USDT"]) == [HIDDEN], "and stays it"


def test_data_stays_data() -> None:
    redact = redactor(PLAIN, "12345678", "practice", "deliveries")
    data = {"mode": "practice", "deliveries": [{"n": 12345678, "p": 1.5, "ok": True, "none": None, PLAIN: (PLAIN,)}]}
    assert redact.scrub(data) == {
        "mode": "practice",
        "deliveries": [{"n": HIDDEN, "p": 1.5, "ok": True, "none": None, HIDDEN: [HIDDEN]}],
    }


def test_a_credential_that_nobody_told_us_is_hidden_by_its_shape() -> None:
    redact = redactor("something-else")
    assert redact("< Authorization: Bearer x9QmZt44LpB0aa") == f"< Authorization: Bearer {HIDDEN}"
    assert redact("authorization: basic dXNlcjpwYXNz") == f"authorization: basic {HIDDEN}"
    assert redact(f"token dh_{'aB3' * 14}x.") == f"token {HIDDEN}."
    assert redact.known(f"dh_{'aB3' * 14}x") == f"dh_{'aB3' * 14}x"
    for text in ("send the header `Authorization: Bearer TOKEN`", "basic authentication", "bearer credentials"):
        assert redact(text) == text


def test_nothing_known_nothing_hidden() -> None:
    redact = Redactor()
    redact.add([])
    redact.add(["short"])
    assert redact("short text") == "short text"
    assert redact.forms == ()


def test_thousands_of_secrets_are_no_trouble() -> None:
    redact = redactor(*(f"Zq{number}x7Rz{number}T5xK" for number in range(5000)), own=False)
    assert redact("all is well") == "all is well"
    assert redact("a Zq4711x7Rz4711T5xK b") == f"a {HIDDEN} b"


def test_a_line_without_a_secret_costs_next_to_nothing() -> None:
    line = "2026-11-21 10:00:00.000 INFO     entry AAPL e-1 at main: done, first byte after 0.9 ms · ok"
    few, many = redactor("one-secret-only"), redactor(*(f"Zq{n}x7Rz{n}T5xK{n}aB" for n in range(40)))

    def cost(call: Callable[[str], str]) -> float:
        best = 1.0
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(2000):
                call(line)
            best = min(best, time.perf_counter() - started)
        return best * 500

    assert cost(many) < cost(few) + 2, "microseconds; about 0.5 on an idle machine"
