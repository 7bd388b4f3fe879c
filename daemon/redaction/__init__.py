"""Known secrets, and hiding them: whatever leaves the process as text passes `redact`.

Each way out has one place where it does so: the sink of the log, `dump` of the local server's JSON, the metrics'
labels, MQTT's messages, the status line for the service manager, the journal's reasons, the terminal. Nobody has to
think of it where a text is made.
"""

from daemon.redaction.forms import SECRET_FROM, escape
from daemon.redaction.redactor import HIDDEN, Redactor

__all__ = ["HIDDEN", "SECRET_FROM", "Redactor", "escape", "redact"]

redact = Redactor()
"""The secrets of this process: `load` tells it each one the moment it is read."""
