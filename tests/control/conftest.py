"""The same real server as the tests of `http` use."""

from tests.http.conftest import desk, port, server, socket_path

__all__ = ["desk", "port", "server", "socket_path"]
