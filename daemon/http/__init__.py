"""The one local server, over TCP and a unix socket; sources and control hang their routes on it."""
