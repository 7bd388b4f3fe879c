"""The durable record of events, deliveries and outcomes. The only room that knows SQL."""

from daemon.journal.db import Journal

__all__ = ["Journal"]
