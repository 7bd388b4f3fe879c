"""What a line may hold: no control character that forges another line, and no secret."""

import json
import re
from collections.abc import Iterable

from daemon.settings.model import SECRET_FROM

HIDDEN = "[hidden]"
"""What stands where a secret was."""

# C0, DEL, C1, the Unicode line ends, and the marks that turn the direction of writing. Tabs and newlines are handled
# by who calls: a traceback keeps them, a message does not.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    """The text on one line, with every character that steers a terminal or a log spelled out."""
    if text.isascii() and text.isprintable():  # nearly every line, at a tenth of the price
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


class Redaction:
    """The secrets known so far; it never forgets one, because a line about it may still be under way."""

    def __init__(self) -> None:
        self.secrets: tuple[str, ...] = ()
        """Longest first; another tuple whenever one is added."""

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these too, as they are and as escaping writes them; too short ones would tear other words apart."""
        known = set(self.secrets)
        for secret in secrets:
            for part in {secret, *secret.splitlines()}:  # a traceback breaks a key of many lines into its lines
                if len(part) >= SECRET_FROM:
                    forms = {part, escape(part), repr(part)[1:-1]}
                    known |= forms | {json.dumps(form)[1:-1] for form in forms}
        self.secrets = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text
