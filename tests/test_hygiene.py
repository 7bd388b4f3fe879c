"""Nobody else reads the process's memory, and nothing of it lands on the disk."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.desk import ROOT, Desk, KeyServer

PROBE = """
import ctypes, os, resource
from daemon.hygiene import seal
seal()
files = len(os.listdir('/proc/self/fd'))
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE), files > 0)
"""


def test_no_core_and_not_dumpable() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0 (0, 0) True\n", "and it can still count its own files"


def test_a_limit_that_may_not_be_set_is_no_error() -> None:
    code = "import resource\ndef no(*_): raise PermissionError\nresource.setrlimit = no\n" + PROBE
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("0 (")


def test_keys_of_connections_are_written_nowhere(tmp_path: Path) -> None:
    """With that file whoever recorded the traffic reads the broker's password in it."""
    code = (
        "import ssl\nfrom daemon.cli import main\n"
        "main(['schema', 'event'])\nprint(ssl.create_default_context().keylog_filename)"
    )
    environ = {**os.environ, "SSLKEYLOGFILE": str(tmp_path / "keys")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\nNone\n")
    assert not (tmp_path / "keys").exists()


def test_the_daemon_is_sealed(tmp_path: Path) -> None:
    keys = KeyServer(tmp_path).start()
    try:
        with Desk(tmp_path, {"main": keys}) as desk:
            assert desk.process is not None
            pid = desk.process.pid
            assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
            assert Path(f"/proc/{pid}/environ").stat().st_uid == 0, "root's, whoever runs the daemon"
            assert desk.metrics()["process_open_fds"] > 3
            assert "Umask:\t0077\n" in Path(f"/proc/{pid}/status").read_text()
            files = [path for path in desk.state.rglob("*") if path.is_file()]
            assert files
            assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    finally:
        keys.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process is needed")
def test_another_process_of_the_same_user_reads_nothing(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from daemon.hygiene import seal
os.setgid(65534); os.setuid(65534)
ready, go = os.pipe()
child = os.fork()
if child == 0:
    seal()
    os.write(go, b'x')
    time.sleep(30)
os.read(ready, 1)
for name in ('environ', 'mem', 'maps', 'fd'):
    try:
        (os.listdir if name == 'fd' else lambda path: open(path, 'rb').read(1))(f'/proc/{{child}}/{{name}}')
        print(name, 'readable')
    except OSError as error:
        print(name, error.strerror)
os.kill(child, 9)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{name} Permission denied" for name in ("environ", "mem", "maps", "fd")]
