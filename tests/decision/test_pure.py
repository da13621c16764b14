"""The core imports nothing but arithmetic, types, and what turns values into plain ones."""

import ast
from pathlib import Path

import pytest

import controller.decision

ALLOWED = {
    "math",
    "dataclasses",
    "enum",
    "typing",
    "collections.abc",
    "controller.contract",
    "msgspec",
}
FILES = sorted(Path(controller.decision.__path__[0]).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_core_imports_only_what_is_pure(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or ""}
        else:
            continue
        assert all(name in ALLOWED or name.startswith("controller.decision") for name in names)
