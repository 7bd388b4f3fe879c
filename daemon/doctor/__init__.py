"""`deskhand doctor`: looks at everything the daemon needs, changes nothing, and says what to do about what is wrong."""

from daemon.doctor.check import Check
from daemon.doctor.examination import LIMIT_S, Outside, Press, examine

__all__ = ["LIMIT_S", "Check", "Outside", "Press", "examine"]
