"""The search finds what is there: each form, planted into a copy of what is searched, makes the campaign fail."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from tests.canary.search import Canary, hits, lower_escapes, plant

WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "cut off": lambda value: value[:6],
    "in json": json.dumps,
    "repr": repr,
    "hex": lambda value: value.encode().hex(),
    "hex, upper": lambda value: value.encode().hex().upper(),
    "hex, cut off": lambda value: value[:6].encode().hex(),
    "url": lambda value: quote(value, safe=""),
    "url, lower": lambda value: lower_escapes(quote(value, safe="")),
    "url, plus": quote_plus,
    "upper": str.upper,
    **{
        f"base64 of it behind {before!r}": lambda value, before=before: base64.b64encode(  # type: ignore[misc]
            before + value.encode() + b" and more"
        ).decode()
        for before in (b"", b"x", b"u:", b"user:")
    },
    "urlsafe base64": lambda value: base64.urlsafe_b64encode(b"?" + value.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mark", ["", "/+=", '"\\', " é&"])
def test_a_planted_hit_is_found(way: str, mark: str) -> None:
    canary, other = plant("secret", mark), plant("other", mark)
    text = f"2026-11-21 INFO something {WAYS[way](canary.value)} went wrong\n".encode() * 3
    haystacks = {"log": text, "clean": b"nothing here " * 1000, "own": text}
    found = hits(haystacks, [canary, other], {"secret": ["own"]})
    assert [each.partition(" (")[0] for each in found] == ["log: secret"]


def test_its_own_place_is_no_hit_and_any_other_is() -> None:
    canary = Canary("mqtt.password", plant("x").value)
    haystacks = {"broker/connect": canary.value.encode(), "broker/topics": canary.value.encode()}
    assert hits(haystacks, [canary], {"mqtt.password": ["broker/connect"]}) == [
        "broker/topics: mqtt.password (plain, whole)"
    ]


def test_what_is_not_there_is_not_found() -> None:
    canaries = [plant(str(number)) for number in range(50)]
    noise = json.dumps([plant("noise").value for _ in range(2000)]).encode()
    assert hits({"noise": noise}, canaries, {}) == []
