"""The way to peers over HTTP: one host, no detours, bounded in time and size. What can go wrong is in tests/doctor."""

import asyncio
import time

import pytest

from daemon.egress import MOST_BYTES, Egress
from daemon.errors import UnreachableError
from tests.doctor.support import bytes_server, said, web


async def test_what_goes_out_and_what_comes_back() -> None:
    async with web({"/base/x": said({"a": 1}, date="then")}) as server:
        base = f"http://127.0.0.1:{server.port}/base/"
        async with Egress(base, 2.0, headers={"X-Api-Key": "k"}, login=("desk", "secret")) as egress:
            answer = await egress.get("/x")
        assert (answer.status, answer.body, answer.headers["date"]) == (200, b'{"a": 1}', "then")
        ((path, headers),) = server.asked
        assert path == "/base/x"
        assert headers["x-api-key"] == "k"
        assert headers["authorization"].startswith("Basic ")
        assert headers["user-agent"] == "deskhand"
        assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("path", ["x", "//elsewhere.example/x", "@elsewhere.example/", ".elsewhere.example/", ":1/x"])
async def test_no_path_leads_to_another_host(path: str) -> None:
    async with web({}) as server, Egress(f"http://127.0.0.1:{server.port}", 1.0) as egress:
        try:
            await egress.get(path)
        except (ValueError, UnreachableError):
            assert server.asked == []
        else:
            assert [asked for asked, _ in server.asked] == [path], "a path all the same, at our own peer"


async def test_redirects_are_told_and_not_followed() -> None:
    async with web({}) as other, web({"/": (302, b"", {"Location": f"http://127.0.0.1:{other.port}/"})}) as server:
        async with Egress(f"http://127.0.0.1:{server.port}", 1.0) as egress:
            assert (await egress.get("/")).status == 302
        assert other.asked == []


async def test_cookies_are_not_kept() -> None:
    async with web({"/": (200, b"{}", {"Set-Cookie": "a=b"})}) as server:
        async with Egress(f"http://127.0.0.1:{server.port}", 1.0) as egress:
            await egress.get("/")
            await egress.get("/")
        assert all("cookie" not in headers for _, headers in server.asked)


async def test_an_answer_of_the_largest_size() -> None:
    answers: dict[str, tuple[int, bytes, dict[str, str]]] = {
        "/": (200, bytes(MOST_BYTES), {}),
        "/more": (200, bytes(MOST_BYTES + 1), {}),
    }
    async with web(answers) as server, Egress(f"http://127.0.0.1:{server.port}", 5.0) as egress:
        assert len((await egress.get("/")).body) == MOST_BYTES
        with pytest.raises(UnreachableError, match="longer than 1 MiB"):
            await egress.get("/more")


async def test_a_server_that_drips_is_given_up_in_time() -> None:
    """Each byte comes within the time of a read; the whole answer must not take longer than that."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1024)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        async with Egress(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 0.3) as egress:
            began = time.monotonic()
            with pytest.raises(UnreachableError, match=r"no answer within 0.3 s"):
                await egress.get("/")
        assert time.monotonic() - began < 2


async def test_nothing_of_an_answer_is_quoted() -> None:
    async with bytes_server(b"canary canary\r\n\r\n") as port, Egress(f"http://127.0.0.1:{port}", 1.0) as egress:
        with pytest.raises(UnreachableError) as told:
            await egress.get("/")
    assert str(told.value) == "not an HTTP server"
