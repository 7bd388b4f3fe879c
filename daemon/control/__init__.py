"""The reading and steering routes of the local API."""
