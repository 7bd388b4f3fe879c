"""A real mosquitto with a configuration, port and folder of its own, that tests can stop, kill and restart."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

BINARY = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_port(port: int, limit_s: float = 10.0) -> None:
    """Until something accepts connections at this port. Raises TimeoutError."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {port} after {limit_s} s")


class Mosquitto:
    """One broker; `start` it, and `stop` it at the end. Sessions and queues are written at every change."""

    def __init__(self, folder: Path, *, password: str | None = None, acl: str | None = None, tls: Path | None = None):
        """`password` makes the broker demand user `desk` with it; `acl` is the text of an ACL file; `tls` a folder
        with `server.pem` and `server.key`.
        """
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"persistence_location {folder}/",
            "persistence true",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 0",
            "log_dest stderr",
            "log_type all",
        ]
        if os.geteuid() == 0:
            lines.append("user root")
        if password is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / "passwords"
            passwords.write_text(f"desk:{password}\n")
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        if acl is not None:
            (folder / "acl").write_text(acl)
            lines.append(f"acl_file {folder}/acl")
        if tls is not None:
            lines += [f"certfile {tls}/server.pem", f"keyfile {tls}/server.key"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Mosquitto":
        """Start it and wait until it accepts connections."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([BINARY, "-c", str(self._config)], stdout=log, stderr=log)
        wait_port(self.port)
        return self

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def stop(self) -> None:
        """An orderly stop, as at a reboot."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in order and start again on the same port and folder."""
        self.stop()
        self.start()

    def signal(self, number: int) -> None:
        """Send it a signal (SIGSTOP makes a broker that accepts and never answers)."""
        assert self._process is not None
        self._process.send_signal(number)

    def log(self) -> str:
        """What it has logged so far."""
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None
