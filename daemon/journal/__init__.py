"""The durable record of events, deliveries and outcomes. The only room that knows SQL."""

from daemon.journal.db import Journal
from daemon.journal.reading import Records
from daemon.journal.rows import Entry

__all__ = ["Entry", "Journal", "Records"]
