"""Seeded mutators: good input made bad in the ways strangers, bugs and attackers do."""

import random
import time
from collections.abc import Callable, Sequence

CANARY = "canary-5Zq81kWv"
"""Planted as a value; no error may ever repeat it."""

_NASTY_VALUES = (
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "-Infinity",
    "-0",
    "0",
    "-1",
    "1e999",
    "1e-999",
    "1.0e308",
    "1_0",
    "01",
    "1.",
    ".5",
    "+1",
    "0x10",
    "1e5",
    '"1e5"',
    '"1e400"',
    '"1_0"',
    '"１２"',
    '"١٢"',
    '"²"',
    '"Ⅷ"',
    '" 1"',
    '"1 "',
    '"+1"',
    '"-1"',
    '"NaN"',
    '"inf"',
    '"0x1"',
    '""',
    '" "',
    '"\\u0000"',
    '"a\\nb"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u202e"',
    '"\\u2028"',
    '"\\ufeff"',
    '"\x00"',
    '"\x1b[31m"',
    '"\x7f"',
    '"é"',
    '"ＡＡＰＬ"',
    '"AAPL\\u200b"',
    '"aapl"',
    '"../../etc"',
    '"%s%n{0}{}"',
    "[]",
    "{}",
    "[1]",
    "[null]",
    '{"a":1}',
    '{"a":{"b":1}}',
    '{"tp1":1,"tp1":2}',
    '{"tp3":1}',
    '{"stop":-1}',
    '{"tp1":null}',
    '{"a":NaN}',
    '{"a":true}',
    '{"a":[1]}',
    '{"":1}',
    '{"a":1e999}',
    '{"a":"\\u0000"}',
    '"2026-02-30T00:00:00Z"',
    '"2026-01-01T00:00:00"',
    '"2026-01-01"',
    '"2026-01-01T25:00:00Z"',
    '"2026-01-01T00:00:60Z"',
    '"2026-01-01T00:00:00+99:99"',
    '"9999-12-31T23:59:59Z"',
    '"0001-01-01T00:00:00Z"',
    '"２０２６-01-01T00:00:00Z"',
    '"2026-01-01T00:00:00.1234567890Z"',
    '"2026-W01-1T00:00:00Z"',
    "99999999999999999999",
    "1e18",
    "-1e18",
    "1e11",
    "99999999999",
    "9007199254740993",
    '"entry"',
    '"ENTRY"',
    '"tp1 "',
    '"sl"',
    '"close"',
    '"long"',
    '"short"',
    '"LONG"',
    '["entry"]',
)
_KEYS = (
    "type",
    "symbol",
    "id",
    "ts",
    "side",
    "price",
    "quantity",
    "trade_id",
    "account",
    "strategy",
    "source",
    "targets",
    "meta",
    "Type",
    "typе",
    "symbol ",
    "",
    "__proto__",
    "constructor",
    "body",
    "tp1",
    "stop",
    "ts\\u0000",
    "\\u0074ype",
    "secret",
    "$ref",
)
_BYTES = (
    b"\x00",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80\xa8",
    b"\r\n",
    b"\t",
    b'"',
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"//",
    b"/*",
    b"'",
    b"e",
    b"-",
    b"1",
    b"\x1b",
    b"\x85",
    b"\xa0",
)


class Mutator:
    """Endless bad input of one seed; the same seed gives the same input, but for the times in it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def event(self) -> bytes:
        """A trade event that is wrong in some way, and now and then right."""
        r = self.random
        if r.random() < 0.004:
            return self._huge()
        raw = self._fields().encode("utf-8", "surrogatepass")
        if r.random() < 0.5:
            raw = self.damage(raw, r.randint(1, 3))
        return raw

    def _huge(self) -> bytes:
        r = self.random
        kind = r.randrange(6)
        size = r.choice((1000, 30_000, 65_000, 66_000, 200_000))
        if kind == 0:
            return b"[" * size
        if kind == 1:
            return b'{"meta":' * (size // 8) + b"1" + b"}" * (size // 8)
        if kind == 2:
            return b'{"type":"entry","symbol":"AAPL","price":' + b"9" * size + b"}"
        if kind == 3:
            return b'{"type":"entry","symbol":"AAPL","price":"' + b"9" * size + b'"}'
        if kind == 4:
            return b"{" + b",".join(b'"k%d":1' % n for n in range(size // 10)) + b"}"
        return b'{"type":"entry","symbol":"AAPL","meta":{"a":"' + b"x" * size + b'"}}'

    def _fields(self) -> str:
        r = self.random
        pairs = self._good()
        for _ in range(r.choice((0, 1, 1, 1, 2, 3))):
            kind = r.randrange(8)
            at = r.randrange(len(pairs)) if pairs else 0
            if kind <= 3 and pairs:
                pairs[at] = (pairs[at][0], r.choice(_NASTY_VALUES))
            elif kind == 4 and pairs:
                del pairs[at]
            elif kind == 5 and pairs:
                pairs.insert(at, (pairs[at][0], r.choice((pairs[at][1], r.choice(_NASTY_VALUES)))))
            elif kind == 6:
                pairs.insert(at, (r.choice(_KEYS), r.choice(_NASTY_VALUES)))
            elif pairs:
                pairs[at] = (r.choice(_KEYS), pairs[at][1])
        r.shuffle(pairs)
        space = r.choice(("", "", " ", "\n", "\t "))
        body = ("," + space).join(f'"{key}":{space}{value}' for key, value in pairs)
        return space + "{" + body + "}" + space

    def _good(self) -> list[tuple[str, str]]:
        r = self.random
        now = time.time()
        stamp = r.choice((f"{now:.3f}", f"{now * 1000:.0f}", f'"{now:.3f}"', self._iso(now)))
        pairs = [
            ("type", f'"{r.choice(("entry", "tp1", "tp2", "sl", "close"))}"'),
            ("symbol", f'"{r.choice(("AAPL", "brk.b", "BTC-USD", "ES_F:1/2"))}"'),
            ("ts", stamp),
        ]
        more = [
            ("id", f'"{CANARY}-{r.getrandbits(40)}"'),
            ("side", r.choice(('"long"', '"short"'))),
            ("price", r.choice(("189.20", '"189.20"', "1e2", '"0.0001"'))),
            ("quantity", r.choice(("100", '"1"', "0.5"))),
            ("trade_id", f'"{CANARY}"'),
            ("account", f'"{CANARY}"'),
            ("strategy", '"orb"'),
            ("source", f'"{CANARY}"'),
            ("targets", '{"tp1":190,"tp2":"191.5","stop":188}'),
            ("meta", f'{{"note":"{CANARY}","score":0.7,"n":-3}}'),
        ]
        return pairs + r.sample(more, r.randint(0, len(more)))

    def _iso(self, now: float) -> str:
        offset = self.random.choice(("Z", "+00:00", "+0000", "z"))
        return time.strftime(f'"%Y-%m-%dT%H:%M:%S{offset}"', time.gmtime(now))

    def damage(self, raw: bytes, times: int) -> bytes:
        """Bytes flipped, cut out, doubled, moved, inserted or truncated."""
        r = self.random
        for _ in range(times):
            if not raw:
                return r.choice(_BYTES)
            at = r.randrange(len(raw))
            end = min(len(raw), at + r.choice((1, 1, 2, 5, 20)))
            kind = r.randrange(7)
            if kind == 0:
                raw = raw[:at] + bytes((raw[at] ^ (1 << r.randrange(8)),)) + raw[at + 1 :]
            elif kind == 1:
                raw = raw[:at] + raw[end:]
            elif kind == 2:
                raw = raw[:end] + raw[at:]
            elif kind == 3:
                raw = raw[:at] + r.choice(_BYTES) + raw[at:]
            elif kind == 4:
                raw = raw[:at]
            elif kind == 5:
                piece = raw[at:end]
                rest = raw[:at] + raw[end:]
                to = r.randrange(len(rest) + 1)
                raw = rest[:to] + piece + rest[to:]
            else:
                raw = raw[:at] + r.randbytes(r.randint(1, 4)) + raw[at:]
        return raw

    def lines(self, document: str, nasty: Sequence[str]) -> bytes:
        """A document of lines, some doubled, swapped, indented, replaced; some tokens exchanged for nasty ones."""
        r = self.random
        rows = document.splitlines()
        actions: tuple[Callable[[int], None], ...] = (
            lambda at: rows.insert(at, rows[at]),
            lambda at: rows.insert(r.randrange(len(rows)), rows.pop(at)),
            lambda at: rows.__setitem__(at, " " * r.randint(1, 3) + rows[at]),
            lambda at: rows.__setitem__(at, rows[at].partition(":")[0] + ": " + r.choice(nasty)),
            lambda at: rows.__setitem__(at, rows[at].partition(":")[0] + ": " + r.choice(nasty)),
            lambda at: rows.insert(at, r.choice(nasty)),
            lambda at: rows.insert(at, f"{r.choice(nasty)}: {r.choice(nasty)}"),
        )
        for _ in range(r.choice((0, 1, 1, 2, 3))):
            r.choice(actions)(r.randrange(len(rows)))
        raw = "\n".join(rows).encode("utf-8", "surrogatepass")
        if r.random() < 0.4:
            raw = self.damage(raw, r.randint(1, 3))
        return raw
