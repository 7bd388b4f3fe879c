"""The certificate of the local server, from two files; read anew at a reload without dropping anybody."""

import os
import ssl
from pathlib import Path

from daemon.errors import ConfigError
from daemon.settings import HttpSettings

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good


def context(settings: HttpSettings, user: int | None = None) -> ssl.SSLContext | None:
    """TLS 1.2 and newer with the files of the settings; None if they name none. Raises ConfigError.

    `user` is whom the daemon runs as, if root asks for somebody else.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return None
    _check_key(key, os.geteuid() if user is None else user)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(_CIPHERS)
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    made.set_alpn_protocols(["http/1.1"])
    try:
        # An answer for a key with a passphrase, or OpenSSL would ask on the terminal.
        made.load_cert_chain(cert, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"http.tls_key: {key} is not the key of {cert}") from None
        raise ConfigError(
            f"http.tls_cert: {cert} and {key} are no certificate and key in PEM form without passphrase"
        ) from None
    except OSError as error:
        raise ConfigError(f"http.tls_cert: {cert} cannot be read: {error.strerror}") from None
    return made


def _check_key(path: Path, user: int) -> None:
    try:
        with path.open("rb") as file:  # a link is followed: tools that renew certificates keep them so
            about = os.fstat(file.fileno())
    except OSError as error:
        raise ConfigError(f"http.tls_key: {path} cannot be read: {error.strerror}") from None
    # A credential of systemd's shows the right of its one reader as that of root's group.
    others = 0o037 if about.st_gid == 0 else 0o077
    if about.st_mode & others:
        raise ConfigError(f"http.tls_key: others can read {path}; run: chmod 600 {path}")
    trusted = {user, 0} if user == os.geteuid() else {user}  # root's can be read by us, and not by somebody else
    if about.st_uid not in trusted:
        raise ConfigError(f"http.tls_key: {path} belongs to another user; run: chown {user} {path}")


class Tls:
    """What a listener shakes hands with: `outer` for as long as it listens, and in it whatever `inner` is now."""

    def __init__(self, inner: ssl.SSLContext) -> None:
        self.inner = inner
        self.outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.outer.minimum_version = ssl.TLSVersion.TLSv1_2
        self.outer.set_ciphers(_CIPHERS)
        self.outer.options |= inner.options
        self.outer.set_alpn_protocols(["http/1.1"])
        self.outer.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str, _outer: ssl.SSLContext) -> None:
        connection.context = self.inner
