"""The house as it stands: its size, its words, its docstrings, and the picture of its rooms."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages.rooms import LONGEST_CHAIN, PAGE, PICTURE, longest_chain, page, picture

HOUSE = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for package in ("controller", "adapter") for path in (HOUSE / package).rglob("*.py"))
TEXTS = sorted(
    [HOUSE / "README.md", *(HOUSE / "docs").glob("*.md"), *(HOUSE / "runbooks").glob("*.md")],
)
LONGEST_FILE, MOST_MODULES, LEAST_COVERED = 350, 15, 0.95
MEDIAN_LINES, P90_LINES = 8, 20

PRIVATE_WORDS = re.compile(r"\banew\b|\bfor ever\b|\bwell again\b|\bon guard\b|\bis told\b|\bforetell\w*")
"""Words of house.md 4, each of which the field has a better one for."""
OF_THE_CONTRACT = re.compile(r"rollout_neighbour_|neighbour=\"|`neighbour`")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def trees() -> Iterator[tuple[Path, ast.Module]]:
    return ((path, ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES)


def public(body: list[ast.stmt], of: str) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Yield what others may use: public classes and functions, and the public methods of such classes."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield f"{of}.{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{of}.{node.name}")


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {str(path): lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    lines = sorted((one.end_lineno or 0) - one.lineno + 1 for _, tree in trees() for one in functions(tree))
    assert lines[len(lines) // 2] <= MEDIAN_LINES
    assert lines[len(lines) * 9 // 10] <= P90_LINES


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in SOURCES if path.parent.name != "commands"}
    modules = {
        folder: [one for one in folder.glob("*.py") if one.name != "__init__.py"] for folder in folders
    }
    assert {str(folder): len(held) for folder, held in modules.items() if len(held) > MOST_MODULES} == {}


def test_no_chain_of_imports_is_deep() -> None:
    chain = longest_chain()
    assert len(chain) <= LONGEST_CHAIN, " > ".join(chain)


def test_what_others_may_use_says_what_it_does() -> None:
    found = {
        name: ast.get_docstring(node) for path, tree in trees() for name, node in public(tree.body, path.name)
    }
    silent = sorted(name for name, text in found.items() if not text)
    assert 1 - len(silent) / len(found) >= LEAST_COVERED, silent


def test_no_docstring_begins_with_give() -> None:
    kinds = ast.Module | ast.ClassDef | Function
    texts = [
        (path.name, ast.get_docstring(node) or "")
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]
    assert [(name, text) for name, text in texts if re.match(r"Gives?\b", text)] == []


@pytest.mark.parametrize("path", [*TEXTS, *SOURCES], ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_text_has_a_private_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert PRIVATE_WORDS.findall(text) == []


def test_the_word_neighbour_is_left_only_where_the_contract_has_it() -> None:
    for path in TEXTS:
        assert "neighbour" not in OF_THE_CONTRACT.sub("", path.read_text(encoding="utf-8")), path


def test_the_picture_and_the_table_of_rooms_are_those_of_the_code() -> None:
    """`python -m pages.rooms` draws them again."""
    assert PICTURE.read_text(encoding="utf-8") == picture()
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
