"""The documents are true: what they tell to type, set and import exists, and links lead somewhere."""

import ast
import importlib
import re
from pathlib import Path

import click
import pytest
import yaml
from kit.typed import read, words_of
from pages import reference

from controller.config.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((ROOT / "runbooks").glob("*.md"))]

HOSTS = {"celery", "django", "fastapi"}
"""Imported by examples that tests/install runs where they are installed."""


def blocks(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^ *```([a-z]*)\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    return [block for language, block in fenced if language in languages]


def commands(page: Path) -> set[str]:
    """Return what a page tells to type, in blocks and sentences; the reference's own table is no command."""
    text = page.read_text(encoding="utf-8")
    code = [*blocks(page, "", "sh", "bash"), *re.findall(r"(?:^    .*\n)+", text, flags=re.MULTILINE)]
    lines = [re.sub(r"\\\n\s*", " ", block) for block in code]
    found = re.findall(r"(?<![\w/-])rollout [a-z].*", "\n".join(lines).replace(".venv/bin/", ""))
    told = re.findall(r"`(?:\.venv/bin/)?(rollout [a-z][^`]*)`", re.sub(r"\n *", " ", text))
    return set(found) | (set() if page.name == "reference.md" else set(told))


def test_the_reference_is_as_the_code_has_it() -> None:
    hint = "write it again: PYTHONPATH=tests python -m pages.reference"
    assert reference.page() == reference.PAGE.read_text(encoding="utf-8"), hint


def test_nothing_in_the_reference_lacks_its_meaning() -> None:
    rows = [line for line in reference.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 120
    allowed = {"provider", "action", "kind", "url", "to"}
    bare = [row for row in rows if re.search(r"\|\s*\|$", row)]
    assert [row for row in bare if re.split(r"[`]", row)[1] not in allowed] == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_link_within_the_docs_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_docs_can_be_typed(page: Path, tmp_path: Path) -> None:
    for command in sorted(commands(page)):
        # A sentence may leave out what every command of its kind needs.
        line = re.sub(r"(?<=[a-z])\|[a-z-]+", "", command).replace("PERCENT", "10").replace("TEXT", "x")
        try:
            read(words_of(line), tmp_path)
        except click.MissingParameter:
            assert len(words_of(line)) <= 2, command
        except click.UsageError as error:
            pytest.fail(f"{command}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_in_the_docs_is_one(page: Path, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for block in blocks(page, "toml"):
        config = tmp_path / "rollout.toml"
        config.write_text(re.sub(r"/etc/[a-z/-]+(?=/\w+\")", str(secrets), block), encoding="utf-8")
        for name in re.findall(rf"{secrets}/(\w+)", config.read_text(encoding="utf-8")):
            (secrets / name).write_text("https://hooks.example/x", encoding="utf-8")
        load_settings(config, environ={})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_import_in_the_docs_is_there_and_yaml_can_be_read(page: Path) -> None:
    for block in blocks(page, "yaml"):
        yaml.safe_load(block)
    for block in blocks(page, "python"):
        tree = compile(block, page.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] not in HOSTS:
                module = importlib.import_module(node.module)
                assert [one.name for one in node.names if not hasattr(module, one.name)] == [], node.module
