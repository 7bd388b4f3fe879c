"""Names instead of what is private: each host, symbol, account or trade has one, the same throughout the file."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w.]*\w)")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,10}://[^\s'\"<>]*[^\s'\"<>:.,;)]")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_HEX = re.compile(r"\b0x[0-9A-Fa-f]{16,}\b|\b[0-9A-Fa-f]{32,}\b")
_HOME = re.compile(r"/(?:home|Users)/[^/\s'\":,;]+|/root(?=/|\b)")
_LOCAL_NAMES = {"localhost", "localhost.", "practice"}


class Masks:
    """Gives out names, and finds in text what has one."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._pattern: re.Pattern[str] | None = None

    def name(self, kind: str, value: str) -> str:
        """`symbol-1` for the first symbol, and so on."""
        if not value:
            return ""
        if value not in self._names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[value] = f"{kind}-{self._counts[kind]}"
            self._pattern = None
        return self._names[value]

    def hide(self, values: Iterable[str], word: str) -> None:
        """Let these be `word` wherever they stand in a text."""
        for value in values:
            if len(value) > 1 and value not in self._names:
                self._names[value] = word
                self._pattern = None

    def host(self, host: str) -> str:
        """A host name or address; this machine's own inside stays, because it says nothing."""
        bare = host.strip("[]")
        if bare.lower() in _LOCAL_NAMES:
            return host
        try:
            found = ipaddress.ip_address(bare)
        except ValueError:
            return self.name("host", bare)
        return host if found.is_loopback or found.is_unspecified else self.name("host", bare)

    def url(self, url: str) -> str:
        """Scheme, host and port; a path, if there is one, is only said to be there."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return "(address)"
        path = "/..." if parts.path.strip("/") or parts.query or parts.fragment else ""
        shown = self.host(host)
        return f"{parts.scheme}://{f'[{shown}]' if ':' in shown else shown}{f':{port}' if port else ''}{path}"

    def text(self, text: str) -> str:
        """A text for people, with names in the place of what is known to be private or looks like it."""
        text = _URL.sub(lambda found: self.url(found[0]), text)
        text = _MAIL.sub("(mail address)", text)
        text = _HEX.sub("(hex)", text)
        text = self._known(text)
        text = _HOME.sub("~", text)
        return _ADDRESS.sub(lambda found: self._address(found[0]), text)

    def _known(self, text: str) -> str:
        if self._pattern is None:
            longest_first = sorted(self._names, key=len, reverse=True)
            self._pattern = re.compile(
                rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})(?![A-Za-z0-9])"
            )
        return self._pattern.sub(lambda found: self._names[found[0]], text)

    def _address(self, found: str) -> str:
        try:
            ipaddress.ip_address(found)
        except ValueError:  # a time of day
            return found
        return self.host(found)
