"""`deskhand support`: one file that tells a stranger what is wrong here, and nothing about the trader.

What goes in is chosen, never left out: a setting or a field that nobody put on the list does not get in.
"""

from daemon.support.bundle import INSIDE, Seen, bundle
from daemon.support.masks import Masks

__all__ = ["INSIDE", "Masks", "Seen", "bundle"]
