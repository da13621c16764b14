"""Every feature in one line: state, who is in, why, since when; worst first, the quiet ones folded."""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.decision.telling.headline import WORST_FIRST, Stage
from controller.web.page.words import (
    ago_tag,
    cause_of,
    e,
    percent_in,
    reason_text,
    since_of,
    state_of,
    who_text,
    why_text,
)

FOLDED_FROM = 12
"""With so many features the quiet ones are folded, and a search field is shown."""
_QUIET = {Stage.COMPLETE, Stage.DISABLED, Stage.NOT_SET_UP}


def overview(standings: Sequence[Mapping[str, Any]], now: float) -> str:
    """Return the list, when there are several features or one that nobody watches; `now` is unix seconds."""
    if len(standings) < 2 and all(stand["stage"] != Stage.UNWATCHED for stand in standings):
        return ""
    ordered = sorted(standings, key=_urgency)
    many = len(standings) >= FOLDED_FROM
    loud = [stand for stand in ordered if not many or stand["stage"] not in _QUIET]
    quiet = ordered[len(loud) :]
    search = '<label class="search">Search<input type="search" name="search" autocomplete="off"></label>'
    return (
        f'<nav class="overview" aria-label="Features">{search if many else ""}'
        f'<div class="part" id="overview" data-part>{_rows(loud, now)}{_folded(quiet, now)}</div></nav>'
    )


def _urgency(stand: Mapping[str, Any]) -> tuple[int, str]:
    return WORST_FIRST.index(Stage(stand["stage"])), stand["feature"]


def _rows(standings: Sequence[Mapping[str, Any]], now: float) -> str:
    return f"<ul>{''.join(_row(stand, now) for stand in standings)}</ul>" if standings else ""


def _folded(quiet: Sequence[Mapping[str, Any]], now: float) -> str:
    if not quiet:
        return ""
    words = {state_of(stand)[0]: None for stand in quiet}
    says = f"{len(quiet)} more: {', '.join(words)}"
    return f'<details class="quiet"><summary>{e(says)}</summary>{_rows(quiet, now)}</details>'


def _row(stand: Mapping[str, Any], now: float) -> str:
    word, tone = state_of(stand)
    name, since = e(stand["feature"]), since_of(stand)
    age = ago_tag(since, now) if since else ""
    inner = (
        f'<span class="pill {tone}">{e(word)}</span><b>{name}</b>'
        f'<span class="at">{e(percent_in(stand).replace(" of internal mail", " internal"))}</span>'
        f'<span class="says">{e(_says(stand))}</span><span class="age">{age}</span>'
    )
    if stand["stage"] == Stage.UNWATCHED:
        return f'<li data-find="{name} {e(word)}"><div class="row">{inner}{_steps(stand)}</div></li>'
    return f'<li data-find="{name} {e(word)}"><a class="row" href="/features/{name}">{inner}</a></li>'


def _steps(stand: Mapping[str, Any]) -> str:
    """Return what to type: a feature in no configuration has no page of its own."""
    lines = (f"{e(one['text'])}: <code>{e(one['command'])}</code>" for one in stand["next_steps"])
    return f'<span class="steps">{"<br>".join(lines)}</span>'


def _says(stand: Mapping[str, Any]) -> str:
    """Say why it is so: what stopped it, else the reason of the newest decision."""
    cause = cause_of(stand)
    if cause is not None:
        what = "" if cause["reason"] == "manual" else f" ({reason_text(cause['reason'])})"
        return f"By {who_text(cause)}{what}: {why_text(cause)}"
    if stand["stage"] in _QUIET or stand["reason"] in {"", "manual"}:
        return str(stand["headline"])
    return f"{reason_text(stand['reason'])}: {stand['detail']}"
