"""Which metrics and labels a PromQL expression names; a small reader of its own, no parser needed.

It knows the language just well enough to tell names from functions and keywords. promtool checks the
syntax, and a test compares this reader with a real parser on every expression of the rules.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<range>\[[^\]]*\])
      | (?P<comment>\#[^\n]*)
      | (?P<number>(?:[0-9]+(?:ms|[smhdwy]))+ | 0x[0-9a-fA-F]+ | [0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|[^\s])
      | (?P<space>\s+)""",
    re.VERBOSE,
)
_LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_KEYWORDS = {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"} | _LABEL_LISTS


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names in one expression. `matched` are the labels that a metric's braces name."""

    metrics: frozenset[str]
    labels: frozenset[str]
    matched: frozenset[tuple[str, str, str]]
    """(metric, label, value) of every matcher."""


def vocabulary(expr: str) -> Vocabulary:
    """Return the names of series and labels in an expression."""
    tokens = [
        (match.lastgroup or "", match.group())
        for match in _TOKEN.finditer(expr)
        if match.lastgroup not in {"space", "comment", "range", "number"}
    ]
    metrics, labels, matched = set[str](), set[str](), set[tuple[str, str, str]]()
    metric, closing = "", ""
    for i, (kind, text) in enumerate(tokens):
        after = tokens[i + 1][1] if i + 1 < len(tokens) else ""
        if closing:
            closing = "" if text == closing else closing
            if closing and kind == "name":
                labels.add(text)
                if closing == "}":
                    matched.add((metric, text, _unquoted(tokens[i + 2][1])))
        elif kind == "name" and text.lower() in _LABEL_LISTS:
            closing = ")" if after == "(" else ""
        elif text == "{":
            closing = "}"
        elif kind == "name" and not _is_operator(text.lower(), after.lower()):
            metric = text
            metrics.add(text)
    return Vocabulary(frozenset(metrics), frozenset(labels), frozenset(matched))


def _is_operator(word: str, after: str) -> bool:
    """Whether a word is a keyword, a function `f(`, or an aggregation `sum by (`."""
    return word in _KEYWORDS or after in {"(", "by", "without"}


def _unquoted(text: str) -> str:
    return text[1:-1].replace("\\\\", "\\") if text[:1] in {'"', "'", "`"} else text
