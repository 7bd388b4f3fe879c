"""`deskhand hummingbot` against the strict fake: as typed, piped and from the vault, and where a key must never be."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.test_vault import Person, at_terminal
from tests.fakes.hummingbot import HummingbotServer

KEY, SECRET, MEMO = "canary-key-81c2f0", "canary-secret-5e77aa", "canary-memo-c0ffee"
ADD = ("credential", "add", "master_account")


class Trader(Person):
    """Somebody with a Hummingbot API."""

    def __init__(self, home: Path, server: HummingbotServer) -> None:
        super().__init__(home)
        self.environ |= {
            "HUMMINGBOT_API_URL": server.url,
            "HUMMINGBOT_API_USERNAME": server.user,
            "HUMMINGBOT_API_PASSWORD": server.password,
        }

    async def says(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """Without a terminal: what it says, on both ways out."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "daemon", "hummingbot", *words, cwd=self.home, env=self.environ,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(child.communicate(stdin.encode()), 30)
        assert child.returncode == code, out.decode()
        return out.decode()

    async def types_at(self, *words: str, answers: Mapping[str, str]) -> tuple[int, str]:
        """At a terminal."""
        command = [sys.executable, "-m", "daemon", "hummingbot", *words]
        return await asyncio.to_thread(at_terminal, command, answers, self.home, self.environ)


@pytest.fixture
async def server() -> AsyncIterator[HummingbotServer]:
    async with HummingbotServer() as found:
        yield found


@pytest.fixture
def trader(tmp_path: Path, server: HummingbotServer) -> Iterator[Trader]:
    yield Trader(tmp_path, server)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"canary-" not in path.read_bytes(), path


def only_there(server: HummingbotServer, *values: str) -> None:
    """The values went out once, in the one request they are for."""
    server.clean()
    for asked in server.asked:
        whole = " ".join([asked.path, asked.query, *asked.headers.values()]) + asked.body.decode()
        if asked.path.startswith("/accounts/add-credential/"):
            whole = asked.path + asked.query
        assert not any(value in whole for value in values), asked.path


async def test_accounts(trader: Trader, server: HummingbotServer) -> None:
    assert await trader.says("account", "list") == "master_account\n"
    assert "desk_2 is made" in await trader.says("account", "add", "desk_2")
    assert json.loads(await trader.says("account", "list", "--json")) == ["master_account", "desk_2"]
    assert "already exists" in await trader.says("account", "add", "desk_2", code=1)
    assert "desk_2 is gone" in await trader.says("account", "rm", "desk_2")
    assert "HTTP 404" in await trader.says("account", "rm", "desk_2", code=1)
    assert "HTTP 400" in await trader.says("account", "rm", "master_account", code=1)
    assert "an account's name is" in await trader.says("account", "add", "../x", code=2)
    server.clean()


async def test_keys_at_hidden_prompts(trader: Trader, server: HummingbotServer) -> None:
    answers = {"bitmart_api_key: ": KEY, "bitmart_secret_key: ": SECRET, "bitmart_memo: ": MEMO}
    code, screen = await trader.types_at(*ADD, "bitmart", answers=answers)
    assert code == 0, screen
    assert "logging in at the exchange" in screen
    assert "canary" not in screen
    held = server.exchange.accounts["master_account"]["bitmart"]
    assert held == {"bitmart_api_key": KEY, "bitmart_secret_key": SECRET, "bitmart_memo": MEMO}
    only_there(server, KEY, SECRET, MEMO)
    assert "bitmart" in await trader.says("credential", "list", "master_account")
    assert "no keys for bitmart any more" in await trader.says("credential", "rm", "master_account", "bitmart")
    assert "has no keys for bitmart" in await trader.says("credential", "rm", "master_account", "bitmart", code=1)


async def test_choices_are_shown_and_kept_to(trader: Trader, server: HummingbotServer) -> None:
    answers = {
        "hyperliquid_perpetual_mode (arb_wallet, api_wallet): ": "api_wallet",
        "use_vault (true, false): ": "no",
        "hyperliquid_perpetual_address: ": KEY,
        "hyperliquid_perpetual_secret_key: ": SECRET,
    }
    code, screen = await trader.types_at(*ADD, "hyperliquid_perpetual", answers=answers)
    assert code == 0, screen
    assert "new keys" in screen
    held = server.exchange.accounts["master_account"]["hyperliquid_perpetual"]
    assert (held["hyperliquid_perpetual_mode"], held["use_vault"]) == ("api_wallet", False)
    answers["hyperliquid_perpetual_mode (arb_wallet, api_wallet): "] = "cold_wallet"
    code, screen = await trader.types_at(*ADD, "hyperliquid_perpetual", answers=answers)
    assert code == 1
    assert "must be one of arb_wallet, api_wallet" in screen
    assert "canary" not in screen


async def test_older_servers_tell_names_alone(trader: Trader, server: HummingbotServer) -> None:
    server.habits.config_map = "list"
    lines = f"binance_api_key={KEY}\nbinance_api_secret={SECRET}=\n"
    await trader.says(*ADD, "binance", stdin=lines)
    held = server.exchange.accounts["master_account"]["binance"]
    assert held == {"binance_api_key": KEY, "binance_api_secret": f"{SECRET}="}
    only_there(server, KEY, SECRET)


async def test_keys_from_the_vault(trader: Trader, server: HummingbotServer) -> None:
    await asyncio.to_thread(trader.types, "init")
    await asyncio.to_thread(lambda: trader.types("set", "bkey", stdin=KEY))
    await asyncio.to_thread(lambda: trader.types("set", "hb", stdin=server.password))
    trader.environ["HUMMINGBOT_API_PASSWORD"] = "vault:hb"
    field = ("--from-vault", "binance_api_key=bkey")
    said = await trader.says(*ADD, "binance", *field, stdin=f"binance_api_secret={SECRET}\n")
    assert "the exchange took them" in said
    assert server.exchange.accounts["master_account"]["binance"]["binance_api_key"] == KEY
    only_there(server, KEY, SECRET)
    for name, words in (("nothing", "the vault holds no nothing"), ("hb", "what a setting of Deskhand's uses")):
        assert words in await trader.says(*ADD, "binance", "--from-vault", f"binance_api_key={name}", code=1)
    said = await trader.says(*ADD, "binance", "--from-vault", "api_key=bkey", code=1)
    assert "binance has no field api_key; it has binance_api_key, binance_api_secret" in said


async def test_a_value_on_the_command_line_is_not_taken_and_not_repeated(trader: Trader) -> None:
    for words in ([KEY], ["--from-vault", f"binance_api_key={KEY} x"], ["--from-vault", KEY], [f"--api-key={KEY}"]):
        assert "canary" not in await trader.says(*ADD, "binance", *words, code=2)


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        (f"binance_api_key={KEY}\n", "binance_api_secret is needed"),
        (f"binance_api_key={KEY}\n{SECRET}\n", "lines of FIELD=VALUE"),
        (f"binance_api_key={KEY}\nbinance_api_secret={SECRET}\ncanary_x={MEMO}\n", "not all of the fields"),
        ("", "binance_api_key is needed"),
    ],
)
async def test_what_is_not_right_on_stdin(trader: Trader, server: HummingbotServer, stdin: str, words: str) -> None:
    said = await trader.says(*ADD, "binance", stdin=stdin, code=1)
    assert words in said
    assert "canary" not in said
    assert server.count("POST /accounts/add-credential/{account}/{connector}") == 0


async def test_what_hummingbot_refuses_is_told_in_words(trader: Trader, server: HummingbotServer) -> None:
    lines = f"binance_api_key={KEY}\nbinance_api_secret={SECRET}\n"
    server.habits.login_refused = f"Invalid API-key, IP, or permissions: {KEY} and {SECRET[:18]}..."
    said = await trader.says(*ADD, "binance", stdin=lines, code=1)
    assert "Invalid API-key" in said
    assert KEY not in said
    server.habits.login_refused = ""
    said = await trader.says("credential", "add", "nobody", "binance", stdin=lines, code=1)
    assert "no account nobody; there are master_account" in said
    said = await trader.says(*ADD, "binanse", stdin=lines, code=1)
    assert "no connector binanse; did you mean binance?" in said
    trader.environ["HUMMINGBOT_API_PASSWORD"] = "wrong-wrong"
    assert "correct HUMMINGBOT_API_USERNAME" in await trader.says("account", "list", code=1)
    del trader.environ["HUMMINGBOT_API_URL"]
    assert "set HUMMINGBOT_API_URL" in await trader.says("account", "list", code=78)
    trader.environ["HUMMINGBOT_API_URL"] = "http://127.0.0.1:1"
    assert "Connection refused" in await trader.says("account", "list", code=69)
    only_there(server, KEY, SECRET)


async def test_a_broken_login_is_uncertain(trader: Trader, server: HummingbotServer) -> None:
    server.habits.reset["POST", "/accounts/add-credential/{account}/{connector}"] = "done"
    lines = f"binance_api_key={KEY}\nbinance_api_secret={SECRET}\n"
    said = await trader.says(*ADD, "binance", stdin=lines, code=1)
    assert "look with: deskhand hummingbot credential list master_account" in said
    assert server.count("POST /accounts/add-credential/{account}/{connector}") == 1


def arguments(home: Path) -> int:
    """How many processes give keys from this home now; none anywhere shows one in its arguments."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            seen = (process / "cmdline").read_bytes()
            assert b"canary-" not in seen
            found += b"credential\0add\0master_account\0binance" in seen and (process / "cwd").samefile(home)
    return found


async def test_a_slow_exchange_is_waited_for_and_the_arguments_hold_no_key(
    trader: Trader, server: HummingbotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.habits.login_s = 12.0
    begun, wait = asyncio.Event(), server.state.wait

    async def waits(seconds: float) -> None:
        if seconds == server.habits.login_s:
            begun.set()
        await wait(seconds)

    monkeypatch.setattr(server.state, "wait", waits)
    lines = f"binance_api_key={KEY}\nbinance_api_secret={SECRET}\n"
    began = time.monotonic()
    adding = asyncio.create_task(trader.says(*ADD, "binance", stdin=lines), name="adding")
    await asyncio.wait_for(begun.wait(), 10)
    assert await asyncio.to_thread(arguments, trader.home) == 1
    said = await adding
    assert "still waiting, 10 s" in said
    assert time.monotonic() - began > 11


async def test_keys_go_to_private_addresses_alone(trader: Trader) -> None:
    trader.environ["HUMMINGBOT_API_URL"] = "http://8.8.8.8:8000"
    lines = f"binance_api_key={KEY}\nbinance_api_secret={SECRET}\n"
    said = await trader.says(*ADD, "binance", stdin=lines, code=1)
    assert "neither this machine nor in a private network" in said
