"""What nobody may see: a passphrase or a value, from a hidden prompt or from stdin, never from the command line."""

import getpass
import os
import sys
import warnings

from daemon.errors import DeskhandError, VaultError
from daemon.vault import VALUE_LIMIT

_LINE = 4096


class Passphrase:
    """The vault's passphrase: asked for, or with `from_stdin` read from the first line, once and when it is needed."""

    def __init__(self, *, from_stdin: bool) -> None:
        self._from_stdin = from_stdin
        self._known: str | None = None
        self.silent = False
        """Ask nobody any more: a daemon that runs has no business at a terminal."""

    def __call__(self) -> str:
        """What was given. Raises VaultError when there is nobody to ask."""
        if self._known is None:
            self._known = self._given()
        return self._known

    def _given(self) -> str:
        if self._from_stdin and not self.silent:
            return line()
        if self.silent or not has_terminal():
            raise VaultError(
                "the vault opens with a passphrase, and there is no terminal to ask for it; use --passphrase-stdin, or"
                " give it a key file: deskhand vault rekey"
            )
        return prompt("passphrase of the vault: ")


def has_terminal() -> bool:
    """Whether a person can be asked without others seeing the answer."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def prompt(text: str) -> str:
    """What a person types, unseen. Raises DeskhandError at its end (Ctrl-D)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # rather nothing than a prompt that shows what is typed
            return getpass.getpass(text)
    except (EOFError, getpass.GetPassWarning):
        raise DeskhandError("nothing was typed; nothing was changed") from None


def twice(text: str) -> str:
    """What a person types, the same two times. Raises DeskhandError."""
    first = prompt(f"{text}: ")
    if prompt(f"{text}, again: ") != first:
        raise DeskhandError("the two differ; nothing was changed")
    return first


def line() -> str:
    """The next line of stdin. Raises VaultError for one that cannot be a passphrase."""
    raw = sys.stdin.buffer.readline(_LINE + 1)
    if not raw.strip() or len(raw) > _LINE:
        raise VaultError("--passphrase-stdin: stdin has no line that could be a passphrase")
    return _text(raw)


def new_passphrase(*, from_stdin: bool) -> str:
    """A passphrase to be. Raises DeskhandError."""
    if not from_stdin and not has_terminal():
        raise DeskhandError("there is no terminal to ask for the new passphrase; use --passphrase-stdin")
    return line() if from_stdin else twice("new passphrase")


def value(name: str) -> str:
    """A value: from a hidden prompt, twice, when stdin is a terminal, else all of stdin without its last line end."""
    if sys.stdin.isatty():
        return twice(f"value of {name}")
    return _text(sys.stdin.buffer.read(VALUE_LIMIT + 3))


def _text(raw: bytes) -> str:
    raw = raw.removesuffix(b"\n")
    try:
        return raw.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise DeskhandError("what stdin holds is not UTF-8") from None  # the cause would hold it
