"""Rules about the source itself; each failure names the file and line."""

import ast
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from inspect import iscoroutinefunction
from sys import stdlib_module_names
from typing import get_args

import pytest

from daemon.settings import ScheduleSettings, Settings
from handlers import HANDLERS
from schedules import SCHEDULES
from tests.house.code import ROOMS, ROOT, Module, dotted, imports, modules

CODE = modules(*ROOMS)

CLOCKS = {
    *(f"time.{name}{ns}" for name in ("time", "monotonic", "perf_counter", "process_time") for ns in ("", "_ns")),
    *("time.clock_gettime", "time.clock_gettime_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
}
ENVIRONMENT = ("daemon/cli/", "daemon/settings/load.py", "daemon/logs/")
"""logs asks one thing that is no setting: whether stderr is journald's ($JOURNAL_STREAM)."""
WIRES = {
    "socket": (
        *("daemon/http/", "daemon/sources/mqtt", "daemon/cli/client.py", "daemon/lifecycle.py", "daemon/logs/"),
        *("daemon/egress/client.py", "daemon/egress/address.py", "handlers/"),
    ),
    "ssl": ("daemon/http/", "daemon/sources/mqtt", "daemon/egress/client.py", "handlers/"),
    "websockets": ("handlers/",),
    "paho": ("daemon/sources/mqtt",),
    "uvicorn": ("daemon/http/",),
    "http.client": ("daemon/cli/client.py",),
    **dict.fromkeys(
        ("httpx", "httpx2", "aiohttp", "requests", "urllib3", "urllib.request"), ("daemon/egress/client.py",)
    ),
    "apscheduler": ("daemon/scheduling/timetable.py",),  # no wire, but one door all the same
    **dict.fromkeys(("smtplib", "ftplib", "telnetlib", "xmlrpc"), ()),
    "subprocess": ("daemon/service/",),
}
"""Who may talk to the outside, and over what; everybody else hands it to them. The service's installer runs pip and
systemctl; the daemon itself never starts a program."""
DIALLING = {"open_connection", "open_unix_connection", "create_connection", "create_unix_connection"}


def report(problems: Iterator[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found)


def test_no_file_is_longer_than_400_lines() -> None:
    files = [
        path for folder in (*ROOMS, "tests") for end in ("py", "sql") for path in (ROOT / folder).rglob(f"*.{end}")
    ]
    lengths = {path: len(path.read_text().splitlines()) for path in files}
    report(f"{path}: {length} lines" for path, length in lengths.items() if length > 400)


def test_every_public_name_has_a_docstring() -> None:
    report(
        f"{module.at(node)}: {name or 'the module'} has no docstring"
        for module in CODE
        for name, node in module.public()
        if not ast.get_docstring(node) and not _overloaded(node)
    )


def _overloaded(node: ast.AST) -> bool:
    return any(dotted(d).endswith(("overload", ".setter")) for d in getattr(node, "decorator_list", ()))


def test_a_broad_except_names_the_promise_it_keeps() -> None:
    report(
        f"{module.at(node)}: a broad except without a comment that names its promise"
        for module in CODE
        for node in module.nodes()
        if isinstance(node, ast.ExceptHandler) and _broad(node) and not _reraises(node) and not _commented(module, node)
    )


def _broad(node: ast.ExceptHandler) -> bool:
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(kind is None or dotted(kind) in ("Exception", "BaseException") for kind in kinds)


def _reraises(node: ast.ExceptHandler) -> bool:
    """Cleaning up and raising on swallows nothing."""
    last = node.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _commented(module: Module, node: ast.ExceptHandler) -> bool:
    return any("# " in line for line in module.lines[node.lineno - 1 : node.body[0].lineno])


def test_time_comes_from_the_clock() -> None:
    report(
        f"{module.at(node)}: {dotted(node)} outside clock.py"
        for module in CODE
        if module.name != "daemon/clock.py"
        for node in module.nodes()
        if isinstance(node, ast.Attribute)
        and (dotted(node) in CLOCKS or dotted(node).removeprefix("datetime.") in CLOCKS)
    )
    report(
        f"{module.at(node)}: {name} imported by name: use the clock"
        for module in CODE
        for node, name in imports(module)
        if name in CLOCKS
    )


def test_the_environment_is_read_in_one_place() -> None:
    report(
        f"{module.at(node)}: {dotted(node)} belongs to settings or the command line"
        for module in CODE
        if not module.name.startswith(ENVIRONMENT)
        for node in module.nodes()
        if dotted(node) in ("os.environ", "os.getenv", "os.environb", "os.putenv")
    )


def test_every_task_has_a_name() -> None:
    calls = ((module, node) for module in CODE for node in module.nodes() if isinstance(node, ast.Call))
    report(
        f"{module.at(node)}: a task without name="
        for module, node in calls
        if isinstance(node.func, ast.Attribute)
        and (
            (node.func.attr == "create_task" and "name" not in {word.arg for word in node.keywords})
            or node.func.attr == "ensure_future"
        )
    )


def test_no_test_is_skipped_without_a_reason() -> None:
    wanted = {"pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail", "pytest.importorskip"}
    bare = {"pytest.mark.skip", "pytest.mark.xfail"}
    report(
        f"{module.at(node)}: {dotted(node)} without a call that gives the reason"
        for module in modules("tests")
        for owner in module.nodes()
        for node in getattr(owner, "decorator_list", ())
        if dotted(node) in bare
    )
    report(
        f"{module.at(node)}: {dotted(node.func)} without a reason"
        for module in modules("tests")
        for node in module.nodes()
        if isinstance(node, ast.Call)
        and dotted(node.func) in wanted
        and not any(word.arg == "reason" for word in node.keywords)
        and not (dotted(node.func) == "pytest.skip" and node.args)
    )


def test_only_the_rooms_at_the_edge_talk_to_the_outside() -> None:
    report(
        f"{module.at(node)}: {name} is not for this room"
        for module in CODE
        for node, name in imports(module)
        for wire, rooms in WIRES.items()
        if f"{name}.".startswith(f"{wire}.") and not module.name.startswith(rooms)
    )
    report(
        f"{module.at(node)}: {node.attr} is not for this room"
        for module in CODE
        if not module.name.startswith(WIRES["socket"])
        for node in module.nodes()
        if isinstance(node, ast.Attribute) and node.attr in DIALLING
    )


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_hold_versions_and_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "//" not in text
    assert "index" not in text
    for entry in text.replace("\\\n", " ").splitlines():
        assert "==" in entry, entry
        assert "--hash=sha256:" in entry, entry


def test_the_larger_lock_holds_the_smaller_one() -> None:
    small, large = (
        {line for line in (ROOT / name).read_text().splitlines() if "==" in line}
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert small <= large


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {_project(entry) for entry in project["dependencies"]}
    owners = packages_distributions()
    used = set()
    for module in CODE:
        for node, name in imports(module):
            top = name.partition(".")[0]
            if top in stdlib_module_names or top in ROOMS:
                continue
            names = {_project(owner) for owner in owners.get(top, [top])}
            # pydantic_core and python-dotenv come with pydantic and pydantic-settings by contract.
            names = {{"pydantic-core": "pydantic", "python-dotenv": "pydantic-settings"}.get(n, n) for n in names}
            assert names & declared, f"{module.at(node)}: {top} is not among the dependencies"
            used |= names
    assert declared <= used, f"declared, never imported: {declared - used}"


def _project(entry: str) -> str:
    head = entry.split(";", maxsplit=1)[0]
    for mark in "[<>=!~ ":
        head = head.split(mark, maxsplit=1)[0]
    return head.lower().replace("_", "-")


def handler_names() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "handlers").glob("*/__init__.py"))


@pytest.mark.parametrize("name", handler_names())
def test_a_handler_is_complete(name: str) -> None:
    assert name in HANDLERS, f"handlers/__init__.py: HANDLERS has no line for {name}"
    assert name in Settings.model_fields, f"daemon/settings/model.py: Settings has no section {name}"
    tests = ROOT / "tests" / "handlers"
    found = [*tests.glob(f"{name}/test_*.py"), *tests.glob(f"test_{name}*.py")]
    assert found, f"tests/handlers: no test for {name}"
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    assert any(f"`{name}`" in row for row in rows), f"README.md: no table row that names `{name}`"


def test_every_registered_handler_exists() -> None:
    assert sorted(HANDLERS) == handler_names()


def test_every_schedule_is_registered() -> None:
    files = {path.stem for path in (ROOT / "schedules").glob("*.py") if not path.stem.startswith("_")}
    registered = {place.partition(":")[0].removeprefix("schedules.") for place in SCHEDULES.values()}
    assert files == registered, f"schedules/__init__.py: SCHEDULES and the files disagree: {files ^ registered}"


@pytest.mark.parametrize(("name", "place"), SCHEDULES.items())
def test_a_schedule_is_complete(name: str, place: str) -> None:
    module, _, kind = place.partition(":")
    schedule = getattr(import_module(module), kind)
    assert schedule.name == name, f"{place}: its name is not {name}"
    assert iscoroutinefunction(schedule.run), f"{place}: run is not async def"
    field = ScheduleSettings.model_fields.get(name)
    assert field is not None, f"daemon/settings/model.py: ScheduleSettings has no key {name}"
    assert type(None) in get_args(field.annotation), f"daemon/settings/model.py: schedules.{name} cannot be null"
    subject = module.removeprefix("schedules.")
    assert (ROOT / "tests" / "schedules" / f"test_{subject}.py").exists(), f"tests/schedules: no test for {subject}"
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    assert any(f"`{name}`" in row for row in rows), f"README.md: no table row that names `{name}`"
    assert any(kind in each.text for each in modules("daemon")), f"daemon/graph.py: nothing runs {kind}"
