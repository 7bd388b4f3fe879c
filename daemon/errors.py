"""The exception tree; every error a user can see is a value of one of these.

* DeskhandError
    * ConfigError       the configuration cannot be used; exit 78
    * EgressError       a request was stopped before its first byte; names where and which secret, never the value
    * EventError        an incoming event is malformed; names the field, never the value
    * JournalError      the journal cannot be read or written
    * LockedError       another daemon owns the state folder; exit 78
    * VaultError        the vault cannot be opened or changed; exit 78
    * UnreachableError  the daemon or a peer does not answer; exit 69
"""


class DeskhandError(Exception):
    """Base of all errors raised on purpose; its text is safe to log and to show."""


class ConfigError(DeskhandError):
    """A configuration problem, one line per mistake with file, line and key; never a secret."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EventError(DeskhandError):
    """A malformed event: `field` names what is wrong, `problem` how; the value is never echoed."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class JournalError(DeskhandError):
    """The journal cannot be written or read now; `str()` says why (disk full, read-only, ...)."""


class LockedError(ConfigError):
    """Another daemon already owns the state folder."""


class VaultError(ConfigError):
    """The vault cannot be opened, read or changed; says what to do, never a value."""


class UnreachableError(DeskhandError):
    """The daemon or a peer could not be reached, or did not answer; `sent` says that a request may have got there."""

    def __init__(self, problem: str, *, sent: bool = False) -> None:
        super().__init__(problem)
        self.sent = sent


class EgressError(DeskhandError):
    """A request that did not leave: it held what may not go to that peer, or its parts cannot be sent."""

    sent = False
    """As of UnreachableError: nothing of it reached anybody."""
