"""Deskhand: a local trading daemon that hears trade events and acts on them at once."""
