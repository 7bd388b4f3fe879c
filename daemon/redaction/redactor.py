"""Finds known secrets in text and hides them; on the way of every log line, so looking is quick."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from daemon.redaction.forms import SECRET_FROM, Form, forms, looks_random

HIDDEN = "[hidden]"
"""What stands where a secret was."""
LINES = 64
"""Of a secret with many lines the whole is hidden, and so many of its lines, each by itself."""
_FILTER = 24  # characters of a form that are looked for; whether all of it is there is seen after that
_SURE_FROM = 16
_TOKEN = re.compile(r"[A-Za-z0-9+/=_%-]*")
# Credentials that nobody told us, like a wrong password, or a token of ours, of which only the hash is kept.
_CREDENTIAL = re.compile(r"\b((?i:bearer|basic)(?: +|%20|\+))(?=[a-z.-]*[A-Z0-9_~+/=])[A-Za-z0-9._~+/=-]{8,}")
_TOKEN_SHAPE = re.compile(r"\bdh_[A-Za-z0-9_-]{16,}")
_SHAPES = r"(?i:bearer|basic)(?: |%20|\+)|dh_[A-Za-z0-9_-]{16}"
# A wallet's private key or address is the same one without its 0x; a seed phrase is certainly no ordinary text.
_HEX = re.compile(r"0[xX]([0-9a-fA-F]{40,})")
_SEED = re.compile(r"[a-z]{3,8}(?: [a-z]{3,8}){11,23}")
# A word by itself says nothing, and programs go by it: {"mode": "practice"}.
_WORD = re.compile(r"[a-z_]{1,20}")


class _Known(NamedTuple):
    form: Form
    sure: bool


class Redactor:
    """The secrets known so far; it never forgets one, because a line about it may still be under way."""

    def __init__(self) -> None:
        self.forms: tuple[_Known, ...]
        """Another tuple whenever a secret is added; any thread may read it."""
        self.forget()

    def forget(self) -> None:
        """Know none; for tests, which share a process."""
        self.forms = ()
        self._secrets: dict[str, bool] = {}
        self._may_hold: Callable[[str], bool] = _filter(())

    def add(self, secrets: Iterable[str], *, own: bool = True) -> None:
        """Hide these too. Not `own` are those that merely stand in a shared `.env`: not all of them are secrets."""
        fresh = {secret: own for secret in secrets if own > self._secrets.get(secret, -1)}
        if not any(len(secret) >= SECRET_FROM for secret in fresh):
            return
        own_first = dict(sorted((self._secrets | fresh).items(), key=lambda item: not item[1]))
        known: dict[Form, _Known] = {}
        for secret, is_own in own_first.items():
            # A traceback breaks a key of many lines into its lines.
            bare = _HEX.fullmatch(secret)
            for part in dict.fromkeys([secret, *secret.splitlines()[:LINES], *(bare.groups() if bare else ())]):
                if len(part) < SECRET_FROM:
                    continue
                sure = is_own or (len(part) >= _SURE_FROM and looks_random(part)) or bool(_SEED.fullmatch(part))
                for form in forms(part):
                    known.setdefault(form, _Known(form, sure))
        self._secrets = own_first
        # What is looked for first, then what says what it is: whoever comes in between only looks in vain.
        found = tuple(known.values())
        self._may_hold, self.forms = _filter(found), found

    def __call__(self, text: str) -> str:
        """The text without them, and without what has the shape of a credential."""
        if not self._may_hold(text):
            return text
        return _TOKEN_SHAPE.sub(HIDDEN, _CREDENTIAL.sub(rf"\1{HIDDEN}", self.known(text)))

    def known(self, text: str) -> str:
        """The text without them, and no more: for the terminal, where a new token is shown on purpose."""
        if not self._may_hold(text):
            return text
        return _without(text, self._spans(text))

    def sure(self, text: str) -> str:
        """The text without those that are certainly secrets: our own, tokens too, and of others what looks like a key.

        For data that programs go by: the `BTC-USDT` of somebody's `.env` stays.
        """
        if not self._may_hold(text):
            return text
        return _TOKEN_SHAPE.sub(HIDDEN, _without(text, self._spans(text, sure=True)))

    def holds(self, text: str) -> bool:
        """Whether there may be a secret in it; never says no when there is one."""
        return self._may_hold(text)

    def scrub(self, value: Any) -> Any:
        """JSON-ready data without those that are certainly secrets: texts, names, and numbers that are one as a whole.

        The very same object when there is nothing to hide.
        """
        if isinstance(value, str):
            return value if _WORD.fullmatch(value) else self.sure(value)
        if isinstance(value, dict):
            return {self.scrub(name): self.scrub(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.scrub(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return HIDDEN if self._secrets.get(str(value)) and len(str(value)) >= SECRET_FROM else value
        return value

    def dumps(self, value: Any, **options: Any) -> str:
        """`json.dumps` of the data, scrubbed."""
        text = json.dumps(value, **options)
        return json.dumps(self.scrub(value), **options) if self._may_hold(text) else text

    def _spans(self, text: str, *, sure: bool = False) -> Iterator[tuple[int, int]]:
        for known in self.forms:
            if sure and not known.sure:
                continue
            form = known.form
            at = text.find(form.head)
            while at >= 0:
                yield at, _end(text, at, form)
                at = text.find(form.head, at + 1)


def _end(text: str, at: int, form: Form) -> int:
    """Where the secret that begins here ends."""
    end, whole = at + len(form.head), form.whole
    if not form.cut:
        return end
    while end < len(text) and end - at < len(whole) and text[end] == whole[end - at]:
        end += 1
    # Whatever follows without a break goes too: half a character of base64, or a guess at the next letter, which would
    # tell by what is left of it whether it was right.
    found = _TOKEN.match(text, end)
    return found.end() if found else end


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts, at = [], 0
    for start, end in sorted(spans):
        if start >= at:
            parts += [text[at:start], HIDDEN]
        elif end <= at:
            continue
        at = max(at, end)
    return "".join([*parts, text[at:]]) if parts else text


class _Filter:
    """Says of nearly every text that nothing is in it, in a fraction of a microsecond for any number of secrets.

    The engine is pydantic's, Rust's `regex`: it looks for all of them at once. Python's own takes them one by one.
    """

    def __init__(self, pattern: str) -> None:
        from pydantic_core import SchemaValidator, core_schema  # noqa: PLC0415  # quick verbs have nothing to hide

        schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True)
        self._matches: Callable[[str], bool] = SchemaValidator(schema).isinstance_python

    def __call__(self, text: str) -> bool:
        # Half a surrogate pair cannot be handed over, and would count as no match.
        return self._matches(text if text.isascii() else text.encode("utf-8", "replace").decode())


def _filter(known: Iterable[_Known]) -> Callable[[str], bool]:
    # Spelled out by number: what Python's `re` escapes is not what Rust's takes.
    heads = sorted({"".join(f"\\x{{{ord(c):x}}}" for c in each.form.head[:_FILTER]) for each in known})
    if not heads:
        return lambda _: False
    from pydantic_core import SchemaError  # noqa: PLC0415  # see above

    try:
        return _Filter("|".join([*heads, _SHAPES]))
    except SchemaError:  # more than the engine takes: then every text is looked through in full
        return lambda _: True
