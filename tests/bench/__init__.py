"""Deskhand against a bare forwarder, in one interleaved run: `python -m tests.bench`."""
