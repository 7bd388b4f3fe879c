"""Hotkeys: key sequences pressed on a trading platform, through its hotkey server."""
