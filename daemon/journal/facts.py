"""Facts of one kind, as somebody keeps them who need not know that there is a journal."""

from daemon.journal.db import Journal


class Facts:
    """The facts whose names begin with `prefix`, by the rest of their names. Every method raises JournalError."""

    def __init__(self, journal: Journal, prefix: str) -> None:
        self._journal = journal
        self._prefix = prefix

    def get(self, name: str) -> str | None:
        """One of them, or None."""
        return self.list().get(name)

    def put(self, name: str, value: str) -> None:
        """Keep one; it survives a killed process when this returns."""
        self._write(name, value)

    def list(self) -> dict[str, str]:
        """All of them."""
        return self._journal.facts(self._prefix)

    def remove(self, name: str) -> None:
        """Forget one."""
        self._write(name, None)

    def _write(self, name: str, value: str | None) -> None:
        self._journal.put_fact(f"{self._prefix}{name}", value)
        self._journal.commit()
