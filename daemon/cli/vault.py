"""`deskhand vault`: secrets in one encrypted file. Values come from stdin or a hidden prompt, never from arguments."""

import argparse
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli import OK, USAGE
from daemon.cli.options import add_config, as_service, unlocking
from daemon.cli.secret import new_passphrase, value
from daemon.cli.terminal import clock, show, show_json, span, table
from daemon.clock import Clock
from daemon.errors import DeskhandError
from daemon.settings import Whereabouts, whereabouts
from daemon.vault import NAME, NAME_WORDS, KeyFile, Keyring, Listed, Master, Vault, create, new_key, open_vault
from daemon.vault import new_passphrase as master_of

if TYPE_CHECKING:
    from daemon.service.credential import Credential


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs below this one, and their arguments."""
    verbs = parser.add_subparsers(dest="does", metavar="VERB", required=True)
    made = verbs.add_parser("init", help="make an empty vault, and a key file for it")
    changed = verbs.add_parser("set", help="put a value there, from stdin or a hidden prompt")
    got = verbs.add_parser("get", help="show that a secret is there; with --reveal the value too")
    listed = verbs.add_parser("list", help="the names, and when each was set")
    removed = verbs.add_parser("rm", help="take a secret out")
    verbs.add_parser("rotate", help="encrypt everything with a new key; what opens the vault stays")
    rekeyed = verbs.add_parser("rekey", help="let another key or passphrase open it; a new key file by default")
    verified = verbs.add_parser("verify", help="open the vault and its backup, and say how they are")
    exported = verbs.add_parser("export", help="write an encrypted copy, which the same key opens")
    for verb in (changed, got, removed):
        verb.add_argument("name", type=_name, metavar="NAME")
    # Whoever gives a value here must not read it again in an error message.
    changed.add_argument("extra", nargs="*", help=argparse.SUPPRESS)
    got.add_argument("--reveal", action="store_true", help="print the value")
    got.add_argument("--force", action="store_true", help="print it even into a file or another program")
    exported.add_argument("--to", type=Path, metavar="FILE", required=True, help="the file to write, which must be new")
    for verb in (made, rekeyed):
        how = verb.add_mutually_exclusive_group()
        how.add_argument("--passphrase", action="store_true", help="open it with a passphrase instead")
        how.add_argument(
            "--credential",
            action="store_true",
            help="keep the key encrypted for this machine's service",
        )
    for verb in (got, listed, verified):
        verb.add_argument("--json", action="store_true", help="print JSON")
    for verb in verbs.choices.values():
        verb.allow_abbrev = False
        add_config(verb)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(NAME_WORDS)  # without the text: it may be a value given by mistake
    return text


def run(args: argparse.Namespace) -> int:
    """Do it; 1 when there is no such secret, 78 when the vault does not open."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # no value in a dump
    if args.does == "set" and args.extra:
        print(
            "a value is never given on the command line: others can read it there, and your shell remembers it."
            " Give it on stdin or at the prompt; if this one was real, it is no secret any more",
            file=sys.stderr,
        )
        return USAGE
    environ, env_file = as_service(args)
    at = whereabouts(args.config, env_file, args.overrides, environ)
    if args.does == "init":
        return _init(args, at)
    unlock = unlocking(args)
    vault = open_vault(
        at.state_dir, at.environ, config=at.config, passphrase=unlock.passphrase, credential=unlock.credential
    )
    if args.does == "rekey":
        return _rekey(args, at, vault)
    if args.does in ("get", "list", "verify"):
        return {"get": _get, "list": _list, "verify": _verify}[args.does](args, vault)
    return _change(args, vault)


def _change(args: argparse.Namespace, vault: Vault) -> int:
    now = Clock().now()
    if args.does == "set":
        vault.set(args.name, value(args.name), now)
        show(f"{args.name} is set; a daemon that runs takes it over with: deskhand reload")
    elif args.does == "rm":
        vault.rm(args.name, now)
        show(f"{args.name} is gone; until the next change {vault.backup} still has it, encrypted")
    elif args.does == "rotate":
        vault.rotate(now)
        show(f"{vault.path} is encrypted anew; what opens it is as before")
    else:
        vault.export(args.to)
        show(f"{args.to} is written; the key that opens the vault now opens it too")
    return OK


def _init(args: argparse.Namespace, at: Whereabouts) -> int:
    master, keep = _master(args, at)
    path = create(at.state_dir, master, Clock().now())
    show(f"made {path}", *keep, *_hand_over(args), "next: deskhand vault set NAME")
    return OK


def _rekey(args: argparse.Namespace, at: Whereabouts, vault: Vault) -> int:
    master, keep = _master(args, at, again=True)
    vault.rekey(master, Clock().now())
    show(f"{vault.path} has another key; copies made before open with the one before", *keep, *_hand_over(args))
    return OK


def _master(args: argparse.Namespace, at: Whereabouts, *, again: bool = False) -> tuple[Master, list[str]]:
    """What is to open the vault, and what to tell about it."""
    if args.passphrase:
        lost = "nobody can open it without the passphrase: remember it, or write it down where it is safe"
        return master_of(new_passphrase(from_stdin=args.passphrase_stdin)), [lost]
    if args.credential:
        holder = _credential()
        copy = f"keep a copy elsewhere: systemd-creds decrypt --name=deskhand.key {holder.place} -"
        return new_key(holder), [f"its key is in {holder.place}, which this machine alone can read", copy]
    file = KeyFile(Keyring(at.environ, at.config).file(), _owner(at))
    keep = f"its key is in {file.place}: keep a copy of that file elsewhere; without it nobody can read the vault"
    there = [key for key, staged in file.read() if not staged]
    if there and not again:  # somebody brought the key before the vault, or has another vault
        return Master(there[0]), [keep]
    return new_key(file), [keep]


def _owner(at: Whereabouts) -> tuple[int, int]:
    """Whose the state folder is: root makes a service's key file, and the service reads it."""
    try:
        about = at.state_dir.stat()
    except FileNotFoundError:
        return os.geteuid(), os.getegid()
    return about.st_uid, about.st_gid


def _credential() -> "Credential":
    from daemon import service  # noqa: PLC0415  # most do without
    from daemon.service import credential  # noqa: PLC0415  # see above

    credential.needed(service.system(), service.Runner(os.environ))
    return credential.Credential()


def _hand_over(args: argparse.Namespace) -> list[str]:
    if not args.credential:
        return []
    from daemon import service  # noqa: PLC0415  # most do without
    from daemon.service import credential  # noqa: PLC0415  # see above

    drop_in = credential.hand_over(service.system(), service.Runner(os.environ))
    return [f"wrote {drop_in}", "the service gets the key at its next start: systemctl restart deskhand"]


def _get(args: argparse.Namespace, vault: Vault) -> int:
    if args.reveal and not args.force and not sys.stdout.isatty():
        print("stdout is no terminal; --force prints the value all the same", file=sys.stderr)
        return USAGE
    found = next((each for each in vault.listed() if each.name == args.name), None)
    if found is None:
        raise DeskhandError(f"the vault holds no {args.name}")
    revealed = vault.get(args.name) if args.reveal else None
    if args.json:
        show_json(_row(found) | ({"value": revealed} if revealed is not None else {}))
    elif revealed is not None:
        print(revealed)
    else:
        show(f"{found.name} is there, set {_age(found)} ago ({clock(found.since)}), fingerprint {found.fingerprint}")
    return OK


def _list(args: argparse.Namespace, vault: Vault) -> int:
    found = vault.listed()
    if args.json:
        show_json([_row(each) for each in found])
    elif found:
        show(*table([("NAME", "SET", "FINGERPRINT"), *((e.name, f"{_age(e)} ago", e.fingerprint) for e in found)]))
    else:
        show("the vault is empty")
    return OK


def _verify(args: argparse.Namespace, vault: Vault) -> int:
    found = vault.verify()
    if args.json:
        show_json({"ok": True, "vault": str(vault.path), "secrets": found.count, "opened_by": found.opened_by,
                   "backup": found.backup})  # fmt: skip
    else:
        count = "1 secret" if found.count == 1 else f"{found.count} secrets"
        show(f"{vault.path}: good, {count}, opened by {found.opened_by}", f"{vault.backup}: {found.backup}")
    return OK


def _row(found: Listed) -> dict[str, object]:
    return {"name": found.name, "set": found.since, "fingerprint": found.fingerprint}


def _age(found: Listed) -> str:
    return span(Clock().now() - found.since)
