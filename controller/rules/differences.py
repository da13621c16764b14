"""Where rules in a folder differ from those that would be rendered, rule by rule."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.rules.model import RuleFile, RuleKey, rule_key
from controller.rules.yaml_text import yaml_text

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader in C where there is one: ten times as fast."""
_Rule = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; `rule` is empty where it is the file as a whole."""

    file: str
    rule: str
    text: str

    def as_dict(self) -> dict[str, str]:
        """Return the fields by name, as JSON has them."""
        return asdict(self)


def differences(folder: Path, file: RuleFile) -> Iterator[Problem]:
    """Tell of each rule of one file which part of it is not as rendered; comments and order do not count."""
    wanted = _rules(yaml_text(file))
    try:
        found = _rules((folder / file.name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield Problem(file.name, "", "is missing; call `rollout rules render`")
        return
    except OSError as error:
        yield Problem(file.name, "", f"cannot be read ({error.strerror})")
        return
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, UnicodeDecodeError) as error:
        yield Problem(file.name, "", f"is no file of rules: {_line(error)}")
        return
    for key, rule in wanted.items():
        if text := _difference(rule, found.get(key)):
            yield Problem(file.name, key[0], text)
    for name, *_ in found.keys() - wanted.keys():
        yield Problem(file.name, name, f"is in {file.name}, but nobody renders it")


def _difference(wanted: _Rule, found: _Rule | None) -> str:
    if found is None:
        return "is missing"
    for part in sorted(wanted.keys() | found.keys()):
        if wanted.get(part) != found.get(part):
            return f"{part} is {_line(found.get(part))}, and must be {_line(wanted.get(part))}"
    return ""


def _line(value: object) -> str:
    return " ".join(str(value).split())


def _rules(text: str) -> dict[RuleKey, _Rule]:
    """Return the rules by their keys, each with its group and the group's interval."""
    groups = yaml.load(text, Loader=LOADER)["groups"]  # noqa: S506 - a safe loader
    return {
        rule_key(rule.get("alert") or rule["record"], rule.get("labels", {})): {
            **rule,
            "group": group["name"],
            "interval": group.get("interval"),
        }
        for group in groups
        for rule in group["rules"]
    }
