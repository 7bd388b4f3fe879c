"""The YAML reader: 1.2 words, lines for every key, and nothing that can blow up or hide."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.settings import yaml

GOOD = b"""\
mode: practice
hotkeys:
  sequences:
    sl: [cancel_all, sell_all_bid]
    short.entry:
      - sell_bid
routes:
  - when: {type: sl}
    do: []
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"), ("on", "on"), ("yes", "yes"), ("no", "no"), ("y", "y"),
        ("true", True), ("False", False), ("TRUE", True), ("tRUE", "tRUE"),
        ("null", None), ("~", None), ("", None), ("Null", None),
        ("8790", 8790), ("-3", -3), ("+3", 3), ("0o17", 15), ("0x1F", 31), ("017", 17), ("1_000", "1_000"),
        ("1:30", "1:30"), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("1.e+3", 1000.0),
        (".inf", float("inf")),
        ("2026-11-20", "2026-11-20"), ("30s", "30s"), ("'1'", "1"), ('"true"', "true"), ("1e99999", "1e99999"),
        ("\uff11", "\uff11"), ("9" * 5000, "9" * 5000), ("[1, off]", [1, "off"]), ("{a: 1}", {"a": 1}),
    ],
)  # fmt: skip
def test_a_value_is_read_by_the_core_schema(text: str, value: object) -> None:
    assert yaml.value(text) == value
    assert type(yaml.value(text)) is type(value)


def test_every_key_and_item_has_its_line() -> None:
    document = yaml.read(GOOD)
    assert document.problems == []
    assert document.lines == {
        ("mode",): 1,
        ("hotkeys",): 2,
        ("hotkeys", "sequences"): 3,
        ("hotkeys", "sequences", "sl"): 4,
        ("hotkeys", "sequences", "sl", 0): 4,
        ("hotkeys", "sequences", "sl", 1): 4,
        ("hotkeys", "sequences", "short.entry"): 5,
        ("hotkeys", "sequences", "short.entry", 0): 6,
        ("routes",): 7,
        ("routes", 0): 8,
        ("routes", 0, "when"): 8,
        ("routes", 0, "when", "type"): 8,
        ("routes", 0, "do"): 9,
    }


@pytest.mark.parametrize("raw", [b"", b"# nothing\n", b"---\n", b"---\n...\n", b"\xef\xbb\xbf", b"~\n"])
def test_an_empty_file_says_nothing(raw: bytes) -> None:
    document = yaml.read(raw)
    assert (document.tree, document.problems) == ({}, [])


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"a: 1\nb: \xff\n", (2, "", "is not UTF-8")),
        (b"a: \x00", (1, "", "is not valid YAML: holds a character that is not allowed")),
        (b"a:\n\tb: 1\n", (2, "", "is indented with a tab; YAML takes only spaces there")),
        (b"a" * (yaml.SIZE_LIMIT + 1), (1, "", "is larger than 1 MiB")),
        (b"a: " + b"[" * 500_000, (1, "", "is nested more than 32 deep")),
        (b"a: &x [*x]", (1, "", "anchors and aliases (& and *) are not supported; write the value out")),
        (b"a: 1\n\na: 2\n", (3, "a", "is given twice, first on line 1")),
        (b"a: {b: 1, b: 1}\n", (1, "a.b", "is given twice, first on line 1")),
        (b'a: 1\n"a": 2\n', (2, "a", "is given twice, first on line 1")),
        (b"!!map {a: 1}", (1, "", "tags (!) are not supported")),
    ],
)  # fmt: skip
def test_what_a_configuration_does_not_need_is_refused(raw: bytes, problem: tuple[int, str, str]) -> None:
    assert yaml.read(raw).problems == [problem]


def test_keys_are_shown_without_control_characters() -> None:
    assert yaml.dotted(("routes", 0, "a\x1b[31mb")) == "routes[0].a?[31mb"


@given(st.binary(max_size=200))
def test_no_bytes_get_out_as_an_exception(raw: bytes) -> None:
    document = yaml.read(raw)
    assert isinstance(document.tree, dict)


def test_a_damaged_file_is_a_problem_and_never_an_exception() -> None:
    rng = random.Random(20)
    for _ in range(2000):
        raw = bytearray(GOOD)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(raw))
            raw[at : at + rng.randint(0, 3)] = rng.choice(
                [b"{", b"[", b":", b"\t", b"\n", b"&a ", b"*a", b"\x00", b"'", b"- "]
            )
        document = yaml.read(bytes(raw))
        for line, _, problem in document.problems:
            assert 1 <= line <= raw.count(b"\n") + 2
            assert problem


def test_the_pure_python_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml as library

    fast = yaml.read(GOOD)
    monkeypatch.setattr(yaml, "_LOADER", library.SafeLoader)
    assert yaml.read(GOOD) == fast
