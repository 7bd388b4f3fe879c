"""The source as syntax trees, for rules about it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("daemon", "handlers", "schedules")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}"

    def public(self) -> Iterator[tuple[str, Definition | ast.Module]]:
        """The module, its public classes and functions, and their public methods."""
        yield "", self.tree
        todo: list[tuple[str, ast.Module | ast.ClassDef]] = [("", self.tree)]
        while todo:
            above, owner = todo.pop()
            for node in owner.body:
                if isinstance(node, Definition) and not node.name.startswith("_"):
                    yield above + node.name, node
                    if isinstance(node, ast.ClassDef):
                        todo.append((f"{above}{node.name}.", node))


@lru_cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every module below the folders."""
    return tuple(Module(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        above = dotted(node.value)
        return f"{above}.{node.attr}" if above else ""
    return ""


def imports(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Each import, by the dotted name of what it brings."""
    for node in module.nodes():
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
