"""A web page in a browser on the same machine: raw requests that carry what a browser sends. All of them refused."""

import pytest

from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from tests.http.stub import TOKEN, StubDesk, exchange

BODY = '{"type":"entry","symbol":"AAPL"}'
AGENT = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36\r\n"
# Even one that has stolen the token is refused; so it is never the token alone that stands against a page.
STOLEN = f"Authorization: Bearer {TOKEN}\r\n"


def request(line: str, host: str, *headers: str, body: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    extra = "".join(f"{header}\r\n" for header in headers)
    return f"{line} HTTP/1.1\r\nHost: {host}\r\n{AGENT}{extra}{length}Connection: close\r\n\r\n{body}".encode()


FORM = "Content-Type: text/plain;charset=UTF-8"
CROSS = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: empty")
PAGES = {
    "simple_post": ("POST /events", "127.0.0.1:{port}", ("Origin: https://evil.example", FORM, *CROSS), BODY),
    "form_post": (
        "POST /halt", "localhost:{port}",
        ("Origin: https://evil.example", "Content-Type: application/x-www-form-urlencoded", *CROSS), "level=all",
    ),
    "sandboxed_frame": ("POST /events", "127.0.0.1:{port}", ("Origin: null", FORM, *CROSS), BODY),
    "local_file": ("POST /events", "127.0.0.1:{port}", ("Origin: null", FORM), BODY),
    "other_port": ("POST /events", "127.0.0.1:{port}", ("Origin: http://127.0.0.1:8080", FORM), BODY),
    "same_site": ("POST /events", "localhost:{port}", (FORM, "Sec-Fetch-Site: same-site"), BODY),
    "image": ("GET /status", "127.0.0.1:{port}", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image"), ""),
    "link": ("GET /status", "127.0.0.1:{port}", ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), ""),
    "preflight": (
        "OPTIONS /events", "127.0.0.1:{port}",
        ("Origin: https://evil.example", "Access-Control-Request-Method: POST",
         "Access-Control-Request-Headers: authorization,content-type", "Access-Control-Request-Private-Network: true"),
        "",
    ),
    "rebound": (
        "POST /events", "rebound.evil.example:{port}",
        ("Origin: http://rebound.evil.example:{port}", "Sec-Fetch-Site: same-origin", "Content-Type: application/json"),
        BODY,
    ),
    "rebound_get": ("GET /status", "rebound.evil.example:{port}", ("Sec-Fetch-Site: none",), ""),
    "rebound_to_a_look_alike": ("GET /status", "127.0.0.1.evil.example:{port}", (), ""),
    "websocket": (
        "GET /ws", "127.0.0.1:{port}",
        ("Origin: https://evil.example", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("stolen", [False, True])
@pytest.mark.parametrize("page", PAGES)
async def test_pages_are_refused(port: int, desk: StubDesk, page: str, stolen: bool) -> None:
    line, host, headers, body = PAGES[page]
    raw = request(
        line, host.format(port=port), *(each.format(port=port) for each in headers),
        *([STOLEN.strip()] if stolen else []), body=body,
    )  # fmt: skip
    if page == "websocket":
        raw = raw.replace(b"Connection: close", b"Connection: Upgrade")
    answer = await exchange(port, raw)
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 403 ")
    assert b"access-control" not in head
    assert b'"status":"forbidden"' in answer
    assert not desk.intake.seen
    assert desk.level == "none"


async def test_what_is_open_says_nothing_to_a_page(port: int) -> None:
    raw = request("OPTIONS /health/live", f"127.0.0.1:{port}", "Origin: https://evil.example")
    answer = await exchange(port, raw)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("desk.example", 200), ("DESK.example.:{port}", 200), ("203.0.113.9", 200), ("[fd00::1]:8790", 200),
        ("sub.desk.example", 403), ("desk.example.evil.example", 403), ("203.0.113.8", 403), ("*", 403),
    ],
)  # fmt: skip
async def test_names_that_a_tunnel_uses(server: LocalServer, host: str, code: int) -> None:
    settings = HttpSettings(port=0, allowed_hosts=("Desk.Example", "203.0.113.9", "fd00::1"))
    server.prepare(settings, TOKEN)()
    raw = request("GET /status", host.format(port=server.bound_port), STOLEN.strip())
    assert int((await exchange(server.bound_port, raw)).split(b" ", 2)[1]) == code


async def test_a_page_of_our_own_name_is_ours(server: LocalServer) -> None:
    server.prepare(HttpSettings(port=0, allowed_hosts=("desk.example",)), TOKEN)()
    raw = request(
        "GET /status", "desk.example", STOLEN.strip(), "Origin: https://desk.example", "Sec-Fetch-Site: same-origin"
    )
    assert b" 200 " in (await exchange(server.bound_port, raw))[:20]
