"""What came back, as a value."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}|[0-9a-fA-F:.]{2,45}")
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered; the names of `headers` are in lower case. Its text never stands in a `repr`."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """What the body says, fractions as Decimal; None if it is no JSON, or null."""
        try:
            return json.loads(self.body, parse_float=Decimal)
        except (ValueError, RecursionError, ArithmeticError):
            return None

    def text(self) -> str:
        """The body as text, whatever it is; for logs it still has to be escaped and cut."""
        return self.body.decode("utf-8", "replace")

    @property
    def redirect(self) -> str:
        """Where it would send us, in words; "" if it does not. It is never followed."""
        if self.status not in _REDIRECTS:
            return ""
        try:
            parts = urlsplit(self.headers.get("location", ""))
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return "it sends us to an address that makes no sense, which is not followed"
        if not host:
            return "it sends us to another path of its own, which is not followed"
        if parts.scheme not in ("", "http", "https") or not _HOST.fullmatch(host):
            return "it sends us to an address that makes no sense, which is not followed"
        shown = f"[{host}]" if ":" in host else host
        scheme, port_text = f"{parts.scheme}://" if parts.scheme else "", f":{port}" if port else ""
        return f"it sends us to {scheme}{shown}{port_text}, which is not followed"
