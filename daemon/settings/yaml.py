"""Configuration YAML: the 1.2 core schema read from parser events, so that every key keeps its line.

`off`, `on`, `yes` and `no` are plain text. Duplicate keys, anchors, aliases, tags, further documents, deep nesting
and large files are refused: nothing in a configuration needs them, and each can hide or blow up something.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from daemon.events import safe_name

KeyPath = tuple[str | int, ...]
"""Where a value is: `("routes", 0, "do")`."""

SIZE_LIMIT = 1024 * 1024
"""Largest file read, in bytes."""
_TAB = re.compile(rb"[ ]*\t")
DEPTH_LIMIT = 32
"""Deepest nesting of lists and mappings."""

# libyaml's parser, where the wheel has it, is twenty times faster; both only yield events, iteratively.
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{f"{sign}.{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")},
}
_INT = re.compile(r"[-+]?[0-9]{1,64}", re.ASCII)
_BASED = re.compile(r"0o[0-7]{1,64}|0x[0-9a-fA-F]{1,64}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,64}|[0-9]{1,64}(?:\.[0-9]{0,64})?)(?:[eE][-+]?[0-9]{1,4})?", re.ASCII)


class _RefusedError(Exception):
    """Reading cannot go on: line (from 1) and problem."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


def _line(event: Event) -> int:
    """The line of an event, from 1."""
    return event.start_mark.line + 1 if event.start_mark else 1


@dataclass(slots=True)
class Document:
    """What a file says: its mapping, the line of each key (from 1), and what is wrong as (line, key, problem)."""

    tree: dict[str, object] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, str, str]] = field(default_factory=list)


def dotted(path: KeyPath) -> str:
    """A key path for people: `routes[0].do`; safe to show."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{safe_name(part)}" for part in path)
    return text.removeprefix(".")


def plain(text: str) -> object:
    """What an unquoted scalar means in the core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Reader:
    def __init__(self, events: Iterator[Event], document: Document) -> None:
        self.events = events
        self.document = document

    def value(self, event: Event, path: KeyPath) -> object:
        line = _line(event)
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise _RefusedError(line, "anchors and aliases (& and *) are not supported; write the value out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise _RefusedError(line, "tags (!) are not supported")
        if isinstance(event, ScalarEvent):
            return plain(event.value) if event.implicit[0] else event.value
        if len(path) >= DEPTH_LIMIT:
            raise _RefusedError(line, f"is nested more than {DEPTH_LIMIT} deep")
        return self.mapping(path) if isinstance(event, MappingStartEvent) else self.sequence(event, path)

    def mapping(self, path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                break
            line = _line(event)
            self.value(event, path) if isinstance(event, ScalarEvent) else None
            if not isinstance(event, ScalarEvent):
                raise _RefusedError(line, "keys must be plain words")
            here = (*path, event.value)
            value = self.value(next(self.events), here)
            if event.value in found:
                first = self.document.lines[here]
                self.document.problems.append((line, dotted(here), f"is given twice, first on line {first}"))
                continue
            self.document.lines[here] = line
            found[event.value] = value
        return found

    def sequence(self, event: Event, path: KeyPath) -> list[object]:
        if not isinstance(event, SequenceStartEvent):  # nothing else is left; a new kind of event would be our mistake
            raise _RefusedError(_line(event), "is not understood")
        found: list[object] = []
        for item in self.events:
            if isinstance(item, SequenceEndEvent):
                break
            here = (*path, len(found))
            self.document.lines[here] = _line(item)
            found.append(self.value(item, here))
        return found


def _read(text: str, document: Document) -> object:
    events = iter(yaml.parse(text, Loader=_LOADER))
    result: object = None
    seen = False
    for event in events:
        if not isinstance(event, DocumentStartEvent):
            continue
        if seen:
            raise _RefusedError(_line(event), "a second document (---) is not supported")
        seen = True
        result = _Reader(events, document).value(next(events), ())
    return result


def read(raw: bytes) -> Document:
    """Read a configuration file's bytes; what is wrong is in `problems`, never an exception."""
    document = Document()
    if len(raw) > SIZE_LIMIT:
        document.problems.append((1, "", "is larger than 1 MiB"))
        return document
    try:
        tree = _read(raw.decode("utf-8-sig"), document)
        if tree is not None and not isinstance(tree, dict):
            raise _RefusedError(1, "must be a mapping: key: value")
        document.tree = tree or {}
    except UnicodeDecodeError as error:
        document.problems.append((raw.count(b"\n", 0, error.start) + 1, "", "is not UTF-8"))
    except _RefusedError as error:
        document.problems.append((error.line, "", error.problem))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        words = f"is not valid YAML: {safe_name(error.problem or 'unreadable')}"
        if _TAB.match(b"".join(raw.split(b"\n")[line - 1 : line])):
            words = "is indented with a tab; YAML takes only spaces there"
        document.problems.append((line, "", words))
    except yaml.YAMLError:
        document.problems.append((1, "", "is not valid YAML: holds a character that is not allowed"))
    return document


def value(text: str) -> object:
    """One value from a variable or the command line, read like one in the file. Raises ValueError with the problem."""
    try:
        document = Document()
        found = _read(text, document)
    except _RefusedError as error:
        raise ValueError(error.problem) from None
    except yaml.YAMLError:
        raise ValueError("is not valid YAML") from None
    if document.problems:
        raise ValueError("holds a key twice")
    return found
