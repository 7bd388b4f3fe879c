"""Hummingbot: its API, spoken so that what was accepted is never taken for what was observed."""
