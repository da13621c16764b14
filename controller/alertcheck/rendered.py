"""Whether each rule in a folder is the rule that would be rendered; names the one that is not."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from controller.alertcheck.result import Result
from controller.rules.model import RuleFile
from controller.rules.text import yaml_text

CASE = "is as rendered"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader in C where there is one: ten times as fast."""
_Rule = Mapping[str, Any]


def as_rendered(folder: Path, files: Sequence[RuleFile]) -> list[Result]:
    """Compare rule by rule, so that a changed threshold, label, window or name is told by the rule's name."""
    return [result for file in files for result in _compare(folder / file.name, yaml_text(file))]


def _compare(path: Path, wanted_text: str) -> Iterator[Result]:
    wanted = _rules(wanted_text)
    try:
        found = _rules(path.read_text(encoding="utf-8"))
    except OSError as error:
        yield Result(path.name, CASE, passed=False, detail=f"cannot be read ({error.strerror})")
        return
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, UnicodeDecodeError) as error:
        yield Result(
            path.name, CASE, passed=False, detail=f"is no file of rules: {' '.join(str(error).split())}"
        )
        return
    for key, rule in wanted.items():
        yield Result(key[0], CASE, *_difference(rule, found.get(key)))
    for key in found.keys() - wanted.keys():
        yield Result(key[0], CASE, passed=False, detail=f"is in {path.name}, but nobody renders it")


def _difference(wanted: _Rule, found: _Rule | None) -> tuple[bool, str]:
    if found is None:
        return False, "is missing"
    for part in sorted(wanted.keys() | found.keys()):
        if wanted.get(part) != found.get(part):
            return False, f"{part} is {_line(found.get(part))}, and must be {_line(wanted.get(part))}"
    return True, ""


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def _rules(text: str) -> dict[tuple[str, str], _Rule]:
    """Give the rules by name and feature, each with its group and the group's interval."""
    groups = yaml.load(text, Loader=LOADER)["groups"]  # noqa: S506 - a safe loader
    return {
        (rule.get("alert") or rule["record"], rule.get("labels", {}).get("feature", "")): {
            **rule,
            "group": group["name"],
            "interval": group.get("interval"),
        }
        for group in groups
        for rule in group["rules"]
    }
