"""`deskhand hummingbot`: accounts at the Hummingbot API, and their keys for exchanges.

It talks to the API itself, not to the daemon. Keys come from the vault, a hidden prompt or stdin, go to loopback or
private addresses alone, and are nowhere afterwards.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from daemon.cli import FAILED, OK
from daemon.cli.options import add_config, settings_of_service
from daemon.cli.secret import prompt
from daemon.cli.terminal import show, show_json
from daemon.clock import Clock
from daemon.errors import ConfigError, DeskhandError, UnreachableError, VaultError
from daemon.hygiene import seal
from daemon.settings import Settings
from daemon.vault import NAME, NAME_WORDS, VALUE_LIMIT

if TYPE_CHECKING:
    from pydantic import SecretStr

    from handlers.hummingbot.answers import Result
    from handlers.hummingbot.client import HummingbotApi
    from handlers.hummingbot.models import ConfigField

_T = TypeVar("_T")
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_CONNECTOR = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_RESOLVE_S = 5.0
_TICK_S = 10.0
_YES, _NO = ("true", "yes", "y"), ("false", "no", "n")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs below this one, and their arguments."""
    whats = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    account = whats.add_parser("account", help="the API's accounts, each with keys of its own")
    accounts = account.add_subparsers(dest="does", metavar="VERB", required=True)
    credential = whats.add_parser("credential", help="an account's keys for exchanges")
    credentials = credential.add_subparsers(dest="does", metavar="VERB", required=True)
    made = accounts.add_parser("add", help="make an account")
    listed = accounts.add_parser("list", help="the accounts")
    removed = accounts.add_parser("rm", help="remove an account, and its keys with it")
    given = credentials.add_parser("add", help="give an account its keys for an exchange, which logs in there")
    held = credentials.add_parser("list", help="the connectors that an account has keys for")
    taken = credentials.add_parser("rm", help="remove an account's keys for an exchange")
    for verb in (made, removed, given, held, taken):
        verb.add_argument("account", type=_account, metavar="NAME" if verb in (made, removed) else "ACCOUNT")
    for verb in (given, taken):
        verb.add_argument("connector", type=_connector, metavar="CONNECTOR", help="such as hyperliquid_perpetual")
    given.add_argument(
        "--from-vault", type=_reference, action="append", default=[], metavar="FIELD=NAME", dest="references",
        help="a field's value is the vault's secret of that name; others are asked for, or read as FIELD=VALUE lines",
    )  # fmt: skip
    for verb in (listed, held):
        verb.add_argument("--json", action="store_true", help="print JSON")
    for verb in (account, credential, made, listed, removed, given, held, taken):
        verb.allow_abbrev = False
    for verb in (made, listed, removed, given, held, taken):
        add_config(verb)


def _account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):  # the server crashes over any other
        raise argparse.ArgumentTypeError("an account's name is 1 to 64 of A-Z a-z 0-9 _ -")
    return text


def _connector(text: str) -> str:
    if not _CONNECTOR.fullmatch(text):
        raise argparse.ArgumentTypeError("a connector's name is like binance or hyperliquid_perpetual")
    return text


def _reference(text: str) -> tuple[str, str]:
    field, equals, name = text.partition("=")
    if not equals or not _FIELD.fullmatch(field) or not NAME.fullmatch(name):  # never the text: it may be a value
        raise argparse.ArgumentTypeError(f"is FIELD=NAME, the name of a secret in the vault; {NAME_WORDS}")
    return field, name


def run(args: argparse.Namespace) -> int:
    """Do it; 1 when Hummingbot refuses, 69 when it does not answer."""
    seal()
    settings = settings_of_service(args)
    if settings.hummingbot.url is None:
        raise ConfigError("Hummingbot is off: set HUMMINGBOT_API_URL, HUMMINGBOT_API_USERNAME, HUMMINGBOT_API_PASSWORD")
    does: dict[tuple[str, str], Callable[[argparse.Namespace, Settings, HummingbotApi], Coroutine[Any, Any, int]]] = {
        ("account", "add"): _account_add,
        ("account", "list"): _account_list,
        ("account", "rm"): _account_rm,
        ("credential", "add"): _credential_add,
        ("credential", "list"): _credential_list,
        ("credential", "rm"): _credential_rm,
    }
    return asyncio.run(_with_api(args, settings, does[args.what, args.does]))


async def _with_api(
    args: argparse.Namespace,
    settings: Settings,
    work: "Callable[[argparse.Namespace, Settings, HummingbotApi], Coroutine[Any, Any, int]]",
) -> int:
    from daemon.egress import Guard  # noqa: PLC0415  # an HTTP client, which other verbs do without
    from handlers.hummingbot.client import HummingbotApi  # noqa: PLC0415  # see above

    guard = Guard(Clock(), lambda _: None)
    guard.know(settings.known_secrets())
    async with HummingbotApi(settings.hummingbot, guard) as api:
        return await work(args, settings, api)


def _value(found: "Result[_T]", unsure: str = "") -> _T:
    """What an answer holds. Raises DeskhandError with what it says instead; `unsure` is how to find out."""
    from handlers.hummingbot.answers import Ok, Refused, Unavailable, Why  # noqa: PLC0415  # loaded by now

    if isinstance(found, Ok):
        return found.value
    if isinstance(found, Unavailable):
        raise UnreachableError(f"Hummingbot: {found.words}")
    if not isinstance(found, Refused):
        raise DeskhandError(f"Hummingbot: {found.words}; it may have been done all the same, look with: {unsure}")
    words = found.words
    if found.why is Why.LOGIN:
        words += "; correct HUMMINGBOT_API_USERNAME and HUMMINGBOT_API_PASSWORD"
    raise DeskhandError(f"Hummingbot: {words}")


# -- accounts ----------------------------------------------------------------------------------------------------------


async def _account_add(args: argparse.Namespace, _: Settings, api: "HummingbotApi") -> int:
    from handlers.hummingbot.requests import AccountQuery  # noqa: PLC0415  # loaded by now

    _value(await api.add_account(AccountQuery(account_name=args.account)), "deskhand hummingbot account list")
    show(f"{args.account} is made; next: deskhand hummingbot credential add {args.account} CONNECTOR")
    return OK


async def _account_list(args: argparse.Namespace, _: Settings, api: "HummingbotApi") -> int:
    names = _value(await api.accounts())
    if args.json:
        show_json(list(names))
    else:
        show(*names or ["no accounts"])
    return OK


async def _account_rm(args: argparse.Namespace, _: Settings, api: "HummingbotApi") -> int:
    from handlers.hummingbot.requests import AccountQuery  # noqa: PLC0415  # loaded by now

    _value(await api.delete_account(AccountQuery(account_name=args.account)), "deskhand hummingbot account list")
    show(f"{args.account} is gone, and its keys with it")
    return OK


# -- credentials -------------------------------------------------------------------------------------------------------


async def _held(args: argparse.Namespace, api: "HummingbotApi") -> tuple[str, ...]:
    """The connectors that the account has keys for. Raises DeskhandError, with the accounts there are."""
    from handlers.hummingbot.answers import Ok, Refused, Why  # noqa: PLC0415  # loaded by now

    found = await api.credentials(args.account)
    if isinstance(found, Refused) and found.why is Why.NOT_FOUND:
        names = await api.accounts()
        there = f"; there are {', '.join(names.value)}" if isinstance(names, Ok) and names.value else ""
        raise DeskhandError(f"Hummingbot has no account {args.account}{there}")
    return _value(found)


async def _credential_list(args: argparse.Namespace, _: Settings, api: "HummingbotApi") -> int:
    names = await _held(args, api)
    if args.json:
        show_json(list(names))
    else:
        show(*names or [f"{args.account} has no keys"])
    return OK


async def _credential_rm(args: argparse.Namespace, _: Settings, api: "HummingbotApi") -> int:
    if args.connector not in await _held(args, api):  # the server says that it is done then, too
        show(f"{args.account} has no keys for {args.connector}")
        return FAILED
    look = f"deskhand hummingbot credential list {args.account}"
    _value(await api.delete_credential(args.account, args.connector), look)
    show(f"{args.account} has no keys for {args.connector} any more; at the exchange they are as valid as before")
    return OK


async def _credential_add(args: argparse.Namespace, settings: Settings, api: "HummingbotApi") -> int:
    from handlers.hummingbot.account_calls import LOGIN_S, credential_body  # noqa: PLC0415  # loaded by now

    await _near(settings)
    had = args.connector in await _held(args, api)
    fields = await _fields(args.connector, api)
    body = credential_body(_given(args, settings, fields))
    print(f"{args.connector}: logging in at the exchange, which may take {LOGIN_S:.0f} s", file=sys.stderr, flush=True)
    ticking = asyncio.create_task(_tick(), name="progress")
    try:
        found = await api.add_credential(args.account, args.connector, body)
    finally:
        ticking.cancel()
    _value(found, f"deskhand hummingbot credential list {args.account}")
    show(f"{args.account} has {'new ' if had else ''}keys for {args.connector}; the exchange took them")
    return OK


async def _tick() -> None:
    waited = 0.0
    while True:
        await asyncio.sleep(_TICK_S)
        waited += _TICK_S
        print(f"still waiting, {waited:.0f} s", file=sys.stderr, flush=True)


async def _near(settings: Settings) -> None:
    """Before anybody is asked for a key: may it go there? Raises DeskhandError."""
    from daemon.egress.address import addresses, private  # noqa: PLC0415  # other verbs do without

    parts = urlsplit(settings.hummingbot.url or "")
    found = await addresses(parts.hostname or "", parts.port or 80, _RESOLVE_S)
    if not all(private(address) for address, _ in found):
        raise DeskhandError(
            f"{parts.hostname} is neither this machine nor in a private network, and keys go nowhere else; run this on"
            " Hummingbot's own machine, or reach it through a tunnel or VPN"
        )


async def _fields(connector: str, api: "HummingbotApi") -> "Mapping[str, ConfigField]":
    """What the connector wants. Raises DeskhandError."""
    from daemon.settings.layers import suggestion  # noqa: PLC0415  # other verbs do without

    there = _value(await api.connectors())
    if connector not in there:
        raise DeskhandError(f"Hummingbot has no connector {connector}{suggestion(connector, there)}")
    fields = _value(await api.config_map(connector))
    if not fields or not all(map(_FIELD.fullmatch, fields)):
        raise DeskhandError(f"{connector} takes no keys that this version can give it")
    return fields


def _given(
    args: argparse.Namespace, settings: Settings, fields: "Mapping[str, ConfigField]"
) -> "dict[str, SecretStr | bool]":
    """Each field's value: from the vault, from stdin, or asked for. Raises DeskhandError, which never holds one."""
    from pydantic import SecretStr  # noqa: PLC0415  # loaded by now

    found = {field: _from_vault(settings, name) for field, name in args.references}
    left = [name for name in fields if name not in found]
    if left and not sys.stdin.isatty():
        found |= _from_stdin()
    strange = sorted(found.keys() - fields.keys())
    if strange:  # from stdin even a name may be a value
        many = [name for name, _ in args.references if name in strange]
        told = f"no field {', '.join(many)}" if many else "not all of the fields that stdin gives"
        raise DeskhandError(f"{args.connector} has {told}; it has {', '.join(fields)}")
    given: dict[str, SecretStr | bool] = {}
    for name, about in fields.items():
        text = found[name] if name in found else _asked(name, about) if sys.stdin.isatty() else ""
        if not text and about.required:
            raise DeskhandError(f"{name} is needed and was not given; nothing was sent")
        if text:
            given[name] = _fit(name, text, about)
    return given


def _from_vault(settings: Settings, name: str) -> str:
    vault = settings.origin.vault
    if vault is None:
        raise VaultError("there is no vault; run: deskhand vault init")
    if vault.problem:
        raise VaultError(vault.problem)
    if name in vault.used:
        raise DeskhandError(f"the vault's {name} is what a setting of Deskhand's uses, and no key for an exchange")
    value = next((secret.value for secret in vault.unused if secret.name == name), None)
    if value is None:
        raise DeskhandError(f"the vault holds no {name}; run: deskhand vault set {name}")
    return value


def _from_stdin() -> dict[str, str]:
    """Lines of FIELD=VALUE."""
    raw = sys.stdin.buffer.read(VALUE_LIMIT + 1)
    try:
        lines = [line.partition("=") for line in raw.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DeskhandError("what stdin holds is not UTF-8") from None  # the cause would hold it
    if len(raw) > VALUE_LIMIT or not all(equals and _FIELD.fullmatch(name) for name, equals, _ in lines):
        raise DeskhandError("stdin must hold lines of FIELD=VALUE")
    return {name: value for name, _, value in lines}


def _asked(name: str, about: "ConfigField") -> str:
    choices = about.allowed_values or (("true", "false") if about.type == "bool" else ())
    optional = "" if about.required else ", or nothing"
    if not choices:
        return prompt(f"{name}{optional}: ")
    try:  # a choice among words that everybody knows is no secret
        return input(f"{name} ({', '.join(choices)}{optional}): ").strip()
    except EOFError:
        raise DeskhandError("nothing was typed; nothing was sent") from None


def _fit(name: str, text: str, about: "ConfigField") -> "SecretStr | bool":
    from pydantic import SecretStr  # noqa: PLC0415  # loaded by now

    if about.allowed_values and text not in about.allowed_values:
        raise DeskhandError(f"{name} must be one of {', '.join(about.allowed_values)}")
    if about.type == "bool":
        if text.lower() not in (*_YES, *_NO):
            raise DeskhandError(f"{name} must be true or false")
        return text.lower() in _YES
    return SecretStr(text)
