"""Handlers reach peers over HTTP only through the client that their room declares, and only with closed models."""

import ast
from collections.abc import Iterator

import pytest

from tests.house.code import Module, dotted, imports, modules

DECLARED = ("client.py", "daemon/doctor/web.py")
"""Where an `Egress` may be made."""
RAW = (ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Tuple, ast.Constant, ast.JoinedStr, ast.Lambda)
MAKERS = {"dict", "list", "str", "bytes", "bytearray", "json.dumps", "dumps", "vars"}
INSIDE = ("daemon.egress.views", "daemon.egress.needles", "daemon.egress.shapes", "daemon.egress.body")


def problems(module: Module) -> Iterator[str]:
    for node, name in imports(module):
        if name.startswith(INSIDE):
            yield f"{module.at(node)}: {name}: ask daemon.egress for it"
    for node in module.nodes():
        if isinstance(node, ast.Call):
            if dotted(node.func).rpartition(".")[2] == "Egress" and not module.name.endswith(DECLARED):
                yield f"{module.at(node)}: an Egress is made in the room's client.py"
            for word in node.keywords:
                if word.arg in ("body", "query") and _raw(word.value):
                    yield f"{module.at(node)}: {word.arg}= is a closed model"
        elif isinstance(node, ast.FunctionDef) and node.name == "written":
            yield f"{module.at(node)}: how a body is written is not for a room to say"


def _raw(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return dotted(node.func) in MAKERS or dotted(node.func).endswith((".model_dump", ".model_dump_json", ".encode"))
    return isinstance(node, RAW) and not (isinstance(node, ast.Constant) and node.value is None)


def test_handlers_speak_through_a_declared_client_and_in_closed_models() -> None:
    found = [problem for module in modules("handlers", "schedules") for problem in problems(module)]
    found += [problem for module in modules("daemon") for problem in problems(module) if "an Egress" in problem]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Egress('p', 'http://h', guard, 1.0)", "made in the room's client.py"),
        ("client.Egress('p', 'http://h', guard, 1.0)", "made in the room's client.py"),
        ("egress.request('POST', '/', body={'a': 1})", "closed model"),
        ("egress.request('POST', '/', body=dict(a=1))", "closed model"),
        ("egress.request('POST', '/', body=json.dumps(x))", "closed model"),
        ("egress.request('POST', '/', body=trade.model_dump())", "closed model"),
        ("egress.get('/', query={**more})", "closed model"),
        ("def written(self): ...", "not for a room"),
        ("from daemon.egress.body import Written", "ask daemon.egress"),
    ],
)
def test_what_the_rule_is_for_is_found(line: str, why: str) -> None:
    module = Module(modules("handlers")[0].path.with_name("planted.py"))
    vars(module)["text"] = line
    assert any(why in problem for problem in problems(module))


def test_what_is_right_is_not() -> None:
    module = Module(modules("handlers")[0].path.with_name("planted.py"))
    vars(module)["text"] = "egress.request('POST', '/', body=RunStart(id=1), query=None)"
    assert not list(problems(module))
