"""Machines to test on; every test here is skipped, with the reason, where none can be booted."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from daemon.errors import DeskhandError
from daemon.service.python import candidates, find
from daemon.service.runner import Runner
from tests.acceptance.desk import ROOT, Json
from tests.systemd.machine import Machine, why_not
from tests.systemd.service import Keys, Service

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Asked only when there is something to run here: it mounts and unmounts."""
    ours = [item for item in items if HERE in item.path.parents]
    reason = why_not() if ours else None
    if reason is not None:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=f"no systemd can be booted here: {reason}"))


@pytest.fixture(scope="session")
def python() -> str:
    """A Python that a service can reach, outside every home."""
    try:
        return str(find(Runner(os.environ), candidates(user=False), user=False).path)
    except DeskhandError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def wheelhouse(python: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every wheel of the lock for that Python, from the machine's package index; kept until the lock changes."""
    lock = ROOT / "requirements.lock"
    version = subprocess.run([python, "--version"], capture_output=True, check=True).stdout
    key = hashlib.sha256(lock.read_bytes() + version).hexdigest()[:16]
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("wheelhouse") / key
    if not kept.exists():
        work = tmp_path_factory.mktemp("wheels")
        subprocess.run([python, "-m", "venv", work / "venv"], check=True)
        pip = (work / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
        wheel = ("wheel", "--require-hashes", "--no-deps", "--requirement", lock, "--wheel-dir", work / "wheels")
        built = subprocess.run([*pip, *wheel], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        shutil.rmtree(kept.parent)  # those of earlier locks
        kept.parent.mkdir()
        (work / "wheels").rename(kept)
    return kept


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a fresh clone has it, with what is changed but not committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to it is not known")
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folder = tmp_path_factory.mktemp("clone")
    for name in names.split("\0")[:-1]:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def boot(python: str, wheelhouse: Path, clone: Path) -> Callable[[], Machine]:
    """Makes machines, not started, with a clone and a wheelhouse inside and no other way to a package."""
    return lambda: Machine({wheelhouse: "/srv/wheelhouse", clone: "/srv/clone"}, python=python)


@pytest.fixture(scope="session")
def running(boot: Callable[[], Machine]) -> Iterator[tuple[Service, Keys, Json]]:
    """A machine on which the service runs live, beside a hotkey server."""
    with boot() as machine:
        keys = Keys(machine).start()
        hotkeys = {"targets": {"main": keys.url}, "frame": "{action} {id}", "gap_ms": 2, "guard": "off"}
        live: Json = {"mode": "live", "hotkeys": hotkeys}
        service = Service(machine)
        service.install(live)
        yield service, keys, live


@pytest.fixture
def live(running: tuple[Service, Keys, Json]) -> Json:
    """The configuration with which each test begins."""
    return running[2]


@pytest.fixture
def keys(running: tuple[Service, Keys, Json]) -> Keys:
    """The hotkey server."""
    return running[1]


@pytest.fixture
def service(running: tuple[Service, Keys, Json]) -> Service:
    """The service, just started, whatever the test before has left."""
    service, _, live = running
    service.configure(**live)
    service.systemctl("stop", check=False)
    service.systemctl("reset-failed", check=False)
    service.start()
    return service
