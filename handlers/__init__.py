"""The handlers: one room per kind of peer. A new one is a copy of `_template.py` and a line here."""

HANDLERS: dict[str, str] = {
    "hotkeys": "handlers.hotkeys.client:HotkeyTarget",
}
"""Handler name, as routes and the journal write it, to the class that performs its steps (a `daemon.ports.Peer`)."""
