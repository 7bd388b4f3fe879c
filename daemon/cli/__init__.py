"""The command line: one verb, one file, imported only when it is asked for.

A verb's module has `add(parser)`, which declares its arguments, and `run(args) -> int`, which returns the exit code.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import NoReturn

from daemon import version
from daemon.errors import ConfigError, DeskhandError, UnreachableError
from daemon.redaction import redact

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 69
CONFIG = 78
"""The exit codes of CONTRACT: done, the thing asked for failed, usage, daemon or peer unreachable, configuration."""

VERBS = {
    "run": "run the daemon in the foreground",
    "emit": "send a trade event to the running daemon",
    "check": "validate the configuration without starting",
    "doctor": "look at everything it needs, and say what to do about what is wrong",
    "status": "show what the daemon is doing",
    "events": "list what happened",
    "show": "show one event and its deliveries",
    "halt": "stop entries, or everything (the kill switch)",
    "resume": "undo a halt",
    "reload": "read the configuration anew, all or nothing",
    "book": "show or correct what the guard believes is open",
    "polymaker": "show what the Command Center is told, and its runs",
    "bots": "make, start, stop and look at the bots at Hummingbot",
    "hummingbot": "make accounts at the Hummingbot API, and give them keys for exchanges",
    "practice": "run a practice hotkey server that shows the keys pressed",
    "vault": "keep secrets in one encrypted file, and settings free of them",
    "token": "make, list or remove the tokens of the local API",
    "support": "write a file for whoever helps, safe to post in public",
    "service": "install, update, remove or show Deskhand as a systemd service",
    "schema": "print the JSON Schema of an event or of the configuration",
}
"""Each verb and its line in `deskhand --help`."""


_ECHO = re.compile(r"(ignored explicit argument|invalid [a-zA-Z_ ]+):? (['\"]).*\2(?= \(choose from |$)", re.DOTALL)


class _Parser(argparse.ArgumentParser):
    """Never says back what it was given: who types `--passphrase=...` or `vault --value ... set` has typed a secret."""

    def error(self, message: str) -> NoReturn:
        """As argparse's, without that."""
        super().error(_ECHO.sub(r"\1", message))


class _Version(argparse.Action):
    """Looks the version up only when asked: the lookup costs more than the rest of the parser."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"deskhand {version()}")
        parser.exit()


def parser(verb: str | None) -> argparse.ArgumentParser:
    """The whole parser; only `verb` has its arguments, because only its module is imported."""
    top = _Parser(
        prog="deskhand", description="Hears trade events and presses the keys for them, at once.", allow_abbrev=False
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, line in VERBS.items():
        sub = verbs.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.", allow_abbrev=False)
        if name == verb:
            import_module(f"daemon.cli.{name}").add(sub)
    return top


def _complain(error: DeskhandError) -> None:
    print(redact(str(error)), file=sys.stderr)


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A mistake of ours in a verb: as Python shows it, but for the secrets that were read."""
    import traceback  # noqa: PLC0415  # hardly ever needed

    print(redact("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; configuration problems and dead peers are told on stderr."""
    sys.excepthook = _crash
    os.environ.pop("SSLKEYLOGFILE", None)  # set for a browser: the keys of our connections would be written there too
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = words[0] if words and words[0] in VERBS else None
    try:
        top = parser(chosen)
        args, unknown = top.parse_known_args(words)
        if unknown:  # options without what they were set to, words not at all: any of it may be a secret
            options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            others = len(unknown) - len(options)
            top.error(f"unrecognized arguments: {', '.join([*options, *([f'{others} more'] if others else [])])}")
        code: int = import_module(f"daemon.cli.{args.verb}").run(args)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse's own way out, with 0 or 2
        return stop.code if isinstance(stop.code, int) else USAGE
    except ConfigError as error:
        _complain(error)
        return CONFIG
    except UnreachableError as error:
        _complain(error)
        return UNREACHABLE
    except DeskhandError as error:
        _complain(error)
        return FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (`deskhand events | head`). Python would complain again at exit, so stdout goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    return code
