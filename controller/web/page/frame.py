"""The page around the cards: head, health of the daemon and its dependencies, the dialog."""

from collections.abc import Mapping, Sequence
from typing import Any

from controller import __version__
from controller.web.page.words import e, nobody_is_in, percent_text, state_of

SCRIPTS = ("uPlot.iife.min.js", "live.js", "charts.js", "acts.js", "page.js")
"""In the order in which they need each other."""
_SCRIPT_TAGS = "".join(f'<script src="/page/{name}" defer></script>' for name in SCRIPTS)
RELOAD_S = 10
"""How often a browser without the script reads the page again."""


def page(title: str, health: Mapping[str, Any], overview: str, cards: Sequence[str]) -> str:
    """Return the whole document. Nothing in it is inline that the security policy would refuse."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{e(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="/page/icon.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/page/uPlot.min.css"><link rel="stylesheet" href="/page/style.css">'
        f"{_SCRIPT_TAGS}"
        f'<noscript><meta http-equiv="refresh" content="{RELOAD_S}"></noscript></head><body>'
        f'<a class="skip" href="#main">Skip to the features</a>{_top(health)}'
        f'<main id="main" tabindex="-1">{overview}<div class="cards">{"".join(cards)}</div></main>'
        f"{_footer()}{_dialog()}</body></html>"
    )


def _top(health: Mapping[str, Any]) -> str:
    return (
        '<header class="top"><div class="brand"><a href="/">rollout-controller</a></div>'
        f'<div class="part health" id="health" data-part>{chips(health)}</div>'
        '<form class="token" aria-label="Who you are" hidden>'
        '<input name="username" autocomplete="username" value="rollout" hidden>'
        '<label>Token<input type="password" name="token" '
        'autocomplete="current-password" placeholder="needed to change things"></label></form>'
        "</header>"
        '<p class="lost" role="alert" hidden></p>'
    )


def chips(health: Mapping[str, Any]) -> str:
    """Return the daemon's role and whether its dependencies answer, in words and not by colour alone."""
    mode = " (dry run)" if health["dry_run"] else ""
    tone = "good" if health["role"] == "leader" else "calm"
    shown = [
        (tone, f"{health['role']}{mode}"),
        _chip("ticks", health["tick_fresh"], "on time", "late"),
        _chip("Redis", health["redis"], "answers", "does not answer"),
        _chip("Prometheus", health["prometheus"], "answers", "does not answer"),
        *([] if health["config_agrees"] else [("stop", "configuration differs from the leader's")]),
        *([("stop", "new configuration refused")] if health["config_error"] else []),
    ]
    listed = "".join(f'<li class="chip {tone}">{e(text)}</li>' for tone, text in shown)
    told = health["detail"] or health["config_error"]
    why = f'<p class="why">{e(told)}</p>' if told else ""
    return f'<ul class="chips" aria-label="Health">{listed}</ul>{why}'


def _chip(name: str, good: bool, yes: str, no: str) -> tuple[str, str]:
    return ("good", f"{name} {yes}") if good else ("stop", f"{name} {no}")


def title_of(standings: Sequence[Mapping[str, Any]]) -> str:
    """Say in a tab's few letters what matters most: how many are paused, or where the only one is."""
    awake = [stand for stand in standings if stand["enabled"] or stand["rollout_percent"] > 0]
    if len(awake) == 1:
        [stand] = awake
        word, percent = state_of(stand)[0], percent_text(stand["rollout_percent"])
        return (
            f"{stand['feature']} {word}" if nobody_is_in(stand) else f"{stand['feature']} {percent}, {word}"
        )
    paused = sum(bool(stand["paused"]) for stand in awake)
    return f"{paused} paused of {len(awake)} rollouts" if paused else "Rollouts"


def trouble(sentence: str, then: str) -> str:
    """Return what stands in the place of the cards where nothing can be shown."""
    return f'<div class="card stop"><p class="trouble">{e(sentence)}</p><p class="last">{e(then)}</p></div>'


def _dialog() -> str:
    return (
        '<dialog aria-labelledby="question"><form method="dialog"><h2 id="question"></h2>'
        '<ul class="says"></ul>'
        '<label class="to" hidden>New percentage<input name="percent" inputmode="decimal" autocomplete="off" '
        'pattern="[0-9]{1,3}([.][0-9]{1,3})?"></label>'
        '<p class="change" role="status"></p>'
        '<label>Reason<input name="why" maxlength="500" autocomplete="off" required '
        'placeholder="is kept in the history"></label>'
        '<div class="buttons"><button value="no" formnovalidate>Cancel</button>'
        '<button class="go" value="yes">Yes</button></div></form></dialog>'
    )


def _footer() -> str:
    return (
        f'<footer>rollout-controller {e(__version__)} · <a href="/openapi.json">API</a> · '
        '<a href="/metrics">metrics</a> · times in <span class="zone">UTC</span></footer>'
    )
