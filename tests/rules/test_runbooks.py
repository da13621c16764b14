"""Every command that a runbook or a page gives can be given, and every link in a runbook leads somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from controller.cli import rollout
from controller.features import ROLLOUT_FEATURES
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale

ROOT = Path(__file__).parents[2]
RUNBOOKS = sorted((ROOT / "runbooks").glob("*.md"))
PAGES = [*RUNBOOKS, *sorted((ROOT / "docs").glob("MS-*.md"))]
SECTIONS = ("What it means for users", "What to look at", "What to do now", "How to resume")
_FENCES = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(rollout [^`]+)`")


def commands(page: Path) -> Iterator[list[str]]:
    text = page.read_text(encoding="utf-8")
    lines = [line.strip() for fence in _FENCES.findall(text) for line in fence.splitlines()]
    lines += [
        " ".join(line.split()) for line in _INLINE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]
    for line in lines:
        if line.startswith("rollout "):
            yield shlex.split(line.replace("PERCENT", "5"), comments=True)


def parse(words: list[str]) -> None:
    """Parse a command line without running it; raises click.UsageError where it cannot be given."""
    command: click.Command = rollout
    context, left = click.Context(rollout), words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, left[0])
        if found is None:
            raise click.UsageError(f"there is no command {left[0]}")
        command, left = found, left[1:]
    if left:
        command.make_context(words[1], left, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_rollout_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for words in commands(page):
        parse(words)


def test_a_command_that_does_not_exist_and_an_option_that_does_not_are_noticed() -> None:
    for words in (["rollout", "stop", "microsoft"], ["rollout", "pause", "microsoft", "--because", "x"]):
        with pytest.raises(click.UsageError):
            parse(words)
    assert sum(len(list(commands(page))) for page in RUNBOOKS) >= 50


@pytest.mark.parametrize(
    "page", [page for page in RUNBOOKS if page.stem != "README"], ids=lambda page: page.name
)
def test_a_runbook_says_what_it_means_what_to_look_at_what_to_do_and_how_to_resume(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    places = [text.index(f"\n## {section}\n") for section in SECTIONS]
    assert places == sorted(places)
    assert re.search(r"^Alerts?: `", text, re.MULTILINE)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    if not page.name.startswith("rollout-"):
        assert re.search(r"^## How to tell \w+'s outage from ours$", text, re.MULTILINE)


def test_each_alert_is_named_in_its_runbook() -> None:
    alerts = [one for file in rule_files(ROLLOUT_FEATURES.values(), Scale()) for one in file.alerts]
    pages = {page.name: page.read_text(encoding="utf-8") for page in RUNBOOKS}
    assert [alert.name for alert in alerts if f"`{alert.name}`" not in pages[alert.runbook]] == []
    assert {alert.runbook for alert in alerts} == pages.keys() - {"README.md"}
