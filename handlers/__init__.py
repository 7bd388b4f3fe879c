"""The handlers: one room per kind of peer. A new one is a copy of `_template.py` and a line here."""

HANDLERS: dict[str, str] = {
    "hotkeys": "handlers.hotkeys.client:HotkeyTarget",
    "hummingbot": "handlers.hummingbot.handler:Hummingbot",
    "polymaker": "handlers.polymaker.handler:Polymaker",
}
"""Handler name, as routes and the journal write it, to its class: a `daemon.ports.Peer` that performs
steps, a `Caller` that performs calls, or a `Postman` that tells of what happened."""
