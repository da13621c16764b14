"""One feature on the page: state, step plan, SLOs, chart, facts, what a person may do, decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.web.page.acts import acts
from controller.web.page.course import Course, Stay
from controller.web.page.slos import slos
from controller.web.page.timeline import timeline
from controller.web.page.words import (
    ago_tag,
    cause_of,
    count_text,
    duration_text,
    e,
    part_tag,
    percent_in,
    percent_text,
    reason_text,
    share_text,
    state_of,
    time_tag,
    who_text,
    why_text,
)


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that is shown of one feature."""

    stand: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    """The newest ones, newest first."""
    course: Course
    p95_s: float | None
    now: float
    watched: bool = True
    """Whether Prometheus answers."""

    @property
    def name(self) -> str:
        """The feature's name."""
        return str(self.stand["feature"])

    @property
    def asleep(self) -> bool:
        """Whether nobody is in and nothing was ever decided but that: then there is little to show."""
        return not self.stand["enabled"] and self.stand["rollout_percent"] == 0


def card_or_trouble(shown: Card) -> str:
    """Show one feature; where what Redis holds of it makes no sense, say so and show the others."""
    try:
        return card(shown)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        name = e(shown.name)
        return (
            f'<article class="card warn" id="feature-{name}" aria-labelledby="name-{name}">'
            f'<header class="head"><h2 id="name-{name}">{name}</h2></header>'
            '<p class="detail">What Redis holds of this feature cannot be read. '
            "<code>rollout doctor</code> says which key it is.</p></article>"
        )


def card(shown: Card) -> str:
    """Return the card of one feature as HTML."""
    stand, name = shown.stand, e(shown.name)
    word, tone = state_of(stand)
    body = _quiet(shown) if shown.asleep else _full(shown)
    return (
        f'<article class="card {tone}" id="feature-{name}" aria-labelledby="name-{name}">'
        f'<header class="head"><h2 id="name-{name}">{name}</h2>'
        f'<p class="action">{e(stand["action"])} through {e(stand["provider"])}</p>'
        f'{_part(shown, "state", f"""<span class="pill {tone}">{e(word)}</span>""", live=True)}</header>'
        f"{_part(shown, 'headline', _headline(shown))}{body}</article>"
    )


def _part(shown: Card, part: str, inner: str, *, live: bool = False) -> str:
    return part_tag(shown.name, part, inner, live=live)


def _quiet(shown: Card) -> str:
    return f"{_acts(shown)}{_decisions(shown)}"


def _full(shown: Card) -> str:
    return (
        f"{_acts(shown)}{_part(shown, 'steps', _ladder(shown))}"
        f"{_part(shown, 'slos', slos(shown.stand, shown.p95_s))}"
        f"{_chart(shown)}"
        f"{_part(shown, 'facts', _facts(shown))}"
        f"{_decisions(shown)}"
    )


def _acts(shown: Card) -> str:
    return acts(shown.stand, watched=shown.watched)


def _headline(shown: Card) -> str:
    stand = shown.stand
    percent, _, of_whom = percent_in(stand).partition(" %")
    last = f'<p class="last">Last decided {time_tag(stand["at"])}</p>' if stand["at"] else ""
    estimate = stand["estimate"]["text"]
    says = f"{stand['headline']}, {estimate}" if estimate else stand["headline"]
    return (
        f'<p class="percent" aria-hidden="true">{e(percent)}<span>%</span>'
        f"{f'<small>{e(of_whom.strip())}</small>' if of_whom else ''}</p>"
        f'<div><p class="says">{e(says)}</p>{_answers(shown)}{last}</div>'
    )


def _answers(shown: Card) -> str:
    """Answer what a person on call asks first."""
    pairs = [
        *_cause(shown),
        ("Is anybody hurt now?", e(shown.stand["harm"]["text"])),
        ("How fast is harm answered?", e(f"{shown.stand['live']['text'].capitalize()}.")),
        *_next(shown),
    ]
    rows = "".join(f"<div><dt>{e(question)}</dt><dd>{told}</dd></div>" for question, told in pairs)
    return f'<dl class="answers">{rows}</dl>{_links(shown.stand["links"])}'


def _cause(shown: Card) -> list[tuple[str, str]]:
    stand, cause = shown.stand, cause_of(shown.stand)
    if cause is None:
        question = "What paused it?" if stand["paused"] else "Why?"
        return [(question, e("Not known." if stand["paused"] else stand["detail"]))]
    what = "" if cause["reason"] == "manual" else f"{reason_text(cause['reason']).capitalize()}. "
    since = f"since {time_tag(cause['at'], date=True)}, {ago_tag(cause['at'], shown.now)} ago"
    question = "What paused it?" if stand["paused"] else "Why?"
    return [(question, e(f"{what}{why_text(cause)}")), ("Who, since when?", f"{e(who_text(cause))}, {since}")]


def _next(shown: Card) -> list[tuple[str, str]]:
    steps = shown.stand["next_steps"]
    listed = "".join(f"<li>{e(one['text'])}{_command(one['command'])}</li>" for one in steps)
    return [("What next?", f"<ol>{listed}</ol>")] if steps else []


def _command(line: str) -> str:
    return f" <code>{e(line)}</code>" if line else ""


def _links(links: Mapping[str, str]) -> str:
    shown = "".join(
        f'<a href="{e(url)}" target="_blank" rel="noopener noreferrer">{e(name.capitalize())}</a>'
        for name, url in links.items()
        if url.startswith(("https://", "http://"))
    )
    return f'<p class="links">{shown}</p>' if shown else ""


def _ladder(shown: Card) -> str:
    percent, rungs = shown.stand["rollout_percent"], list(shown.stand["steps"])
    if percent not in rungs and percent > 0:
        rungs = sorted([*rungs, percent])
    return f'<ol class="ladder" aria-label="Step plan">{"".join(_rung(shown, one) for one in rungs)}</ol>'


def _rung(shown: Card, rung: float) -> str:
    percent = shown.stand["rollout_percent"]
    place = "done" if rung < percent else "here" if rung == percent else "ahead"
    current = ' aria-current="step"' if place == "here" else ""
    gate = " gated" if rung in shown.stand["approval_steps"] else ""
    needs = '<span class="hidden"> needs approval</span>' if gate else ""
    return f'<li class="{place}{gate}"{current}><span>{e(percent_text(rung))}</span>{needs}</li>'


def _chart(shown: Card) -> str:
    name = e(shown.name)
    return (
        f'<figure class="chart" data-chart="/page/features/{name}/course">'
        f"<figcaption>The ramp so far</figcaption>"
        f'<div class="plots" role="img" aria-label="Charts of the percentage, the error rate and the p95 '
        f'latency over the ramp; the table below has the figures of each step."></div>'
        f"{_part(shown, 'stays', _stays(shown.course.stays))}</figure>"
    )


def _stays(stays: Sequence[Stay]) -> str:
    worth = [stay for stay in stays if stay.percent > 0 and (stay.sends or stay is stays[-1])]
    if not worth:
        return ""
    rows = "".join(_stay(stay) for stay in worth[-12:])
    head = "<th>Step</th><th>Since</th><th>For</th><th>Sends</th><th>Failed</th><th>Too slow</th>"
    return (
        '<details class="table"><summary>Figures of each step</summary><div class="wide" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _stay(stay: Stay) -> str:
    failed = f"{count_text(stay.errors)}" + (
        f" ({share_text(stay.errors / stay.sends)})" if stay.sends else ""
    )
    cells = [
        e(percent_text(stay.percent)),
        time_tag(stay.start, date=True),
        e(duration_text(stay.end - stay.start)),
        e(count_text(stay.sends)),
        e(failed),
        e(count_text(stay.slow)),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _facts(shown: Card) -> str:
    stand, progress = shown.stand, shown.stand["progress"]
    facts = [
        ("Failed at this step", _failed(progress["step_errors"], progress["step_sends"])),
        ("Failed in this ramp", _failed(progress["ramp_errors"], progress["ramp_sends"])),
        ("Next step", percent_text(stand["next_percent"]) if stand["next_percent"] else "none"),
        ("Enabled", _yes(stand["enabled"])),
        ("Paused", _yes(stand["paused"])),
        ("Internal only", _yes(stand["internal_only"])),
        ("Flags revision", str(stand["revision"])),
        ("Policy", f"{stand['policy']}, {stand['on_breach'].replace('_', ' ')} on a breach"),
    ]
    items = "".join(f"<div><dt>{e(name)}</dt><dd>{e(value)}</dd></div>" for name, value in facts)
    return f"<dl>{items}</dl>"


def _failed(errors: float, sends: float) -> str:
    return f"{count_text(errors)} of {count_text(sends)} sends" if sends else "no send yet"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _decisions(shown: Card) -> str:
    name = e(shown.name)
    return (
        f'<section class="decisions" aria-labelledby="decisions-{name}">'
        f'<h3 id="decisions-{name}">Decisions</h3>'
        f'<ol class="timeline" id="{name}-timeline" data-list>{timeline(shown.name, shown.records)}</ol>'
        f'<p class="more"><a href="/api/v1/features/{name}/decisions">every decision, as JSON</a></p>'
        "</section>"
    )
