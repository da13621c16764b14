"""What a person may do to a feature from the page: pause at once, everything else after a question."""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.contract import format_percent
from controller.decision.ramp import step_below
from controller.decision.telling.headline import Stage
from controller.web.page.words import cause_of, e, part_tag, percent_in, percent_text, who_text, why_text


def acts(stand: Mapping[str, Any], *, watched: bool) -> str:
    """Return the form; `watched` is whether Prometheus answers.

    Pausing is one click, everything else asks first. It needs the script.
    """
    name = e(stand["feature"])
    return (
        f'<form class="acts" data-feature="{name}" aria-label="Change {name}" hidden>'
        f'<div class="buttons">{part_tag(stand["feature"], "buttons", _buttons(stand, watched))}</div>'
        f'<label class="reason">Reason<input name="reason" maxlength="500" autocomplete="off" '
        f'placeholder="is kept in the history; Pause works without one"></label>'
        f'<p class="outcome" role="status" aria-live="polite"></p></form>'
        '<noscript><p class="hint">By command: '
        f"<code>rollout pause {name} --reason TEXT</code></p></noscript>"
    )


def _buttons(stand: Mapping[str, Any], watched: bool) -> str:
    """Return the buttons that fit where it stands, the most urgent one first."""
    blind = () if watched else ("Prometheus does not answer: nothing would notice harm.",)
    asking = [_setting(stand, blind), _opening(stand, blind), _switching(stand, blind)]
    return "".join([*_pausing(stand, blind), *_approving(stand, blind), *asking])


def _stopped(stand: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what stopped it; without an age, because a button that changes while it is pressed is missed."""
    cause = cause_of(stand)
    if cause is None:
        return ()
    return (f"{'Paused' if stand['paused'] else 'Set to 0 %'} by {who_text(cause)}: {why_text(cause)}",)


def _pausing(stand: Mapping[str, Any], blind: Sequence[str]) -> list[str]:
    name = stand["feature"]
    if not stand["paused"]:
        tone = ' class="stop"' if stand["enabled"] else ""
        pause = f'<button{tone} data-act="pause" type="button">Pause</button>'
        return [pause, *([_resume(stand, blind)] if stand["stage"] == Stage.STOPPED else [])]
    below = step_below(tuple(stand["steps"]), stand["rollout_percent"])
    if not below:
        return [_resume(stand, blind)]
    back = _asking(
        "set",
        f"Go back to {percent_text(below)} and resume",
        f"Set {name} to {percent_text(below)} and resume it?",
        (*_stopped(stand), "The percentage is set while nobody is in, then it is resumed.", *blind),
        to=format_percent(below),
        then="resume",
        **_plan(stand),
        **_since(stand),
    )
    return [back, _resume(stand, blind)]


def _resume(stand: Mapping[str, Any], blind: Sequence[str]) -> str:
    audience = stand["audience"]
    says = f"{audience} {_of_users(stand)}are in again at once; the step is proven from zero."
    if not stand["rollout_percent"]:
        says = f"The ramp begins again, with {percent_text(stand['steps'][0])}."
    question = f"Resume {stand['feature']} at {audience}?"
    return _asking("resume", "Resume", question, (*_stopped(stand), says, *blind), **_since(stand))


def _since(stand: Mapping[str, Any]) -> dict[str, str]:
    cause = cause_of(stand)
    return {"since": f"{cause['at']:.0f}"} if cause else {}


def _opening(stand: Mapping[str, Any], blind: Sequence[str]) -> str:
    name, now = stand["feature"], percent_text(stand["rollout_percent"])
    if stand["internal_only"]:
        says = f"Now {now} of internal mail, and no other; then {now} of the users, whoever they write to."
        return _asking("open", "Open to all mail", f"Let all mail of {name} in?", (says, *blind))
    says = f"Now {now} of the users; then only their mail to internal addresses."
    return _asking("close", "Internal mail only", f"Let only internal mail of {name} in?", (says,))


def _approving(stand: Mapping[str, Any], blind: Sequence[str]) -> list[str]:
    if stand["reason"] != "awaiting_approval" or not stand["next_percent"]:
        return []
    above = percent_text(stand["next_percent"])
    question = f"Approve the step of {stand['feature']} to {above}?"
    return [_asking("approve", "Approve", question, (f"From {stand['audience']} to {above}.", *blind))]


def _switching(stand: Mapping[str, Any], blind: Sequence[str]) -> str:
    name, audience = stand["feature"], stand["audience"]
    if stand["enabled"]:
        says = f"Now {percent_in(stand)}; then nobody is in."
        return _asking("disable", "Disable", f"Switch {name} off for everybody?", (says,))
    first = f"{audience} {_of_users(stand)}are in at once" if stand["rollout_percent"] else "Nobody is in yet"
    above = stand["next_percent"]
    says = f"{first}; the controller goes on to {percent_text(above)}." if above else f"{first}."
    return _asking("enable", "Enable", f"Switch {name} on?", (says, *blind))


def _setting(stand: Mapping[str, Any], blind: Sequence[str]) -> str:
    now = f"Now at {stand['audience']}{'' if stand['internal_only'] else ' of the users'}."
    paused = (
        (*_stopped(stand), "It stays paused: nobody is in until it is resumed.") if stand["paused"] else ()
    )
    question = f"Set the percentage of {stand['feature']} by hand?"
    return _asking("set", "Set percent", question, (now, *paused, *blind), **_plan(stand))


def _of_users(stand: Mapping[str, Any]) -> str:
    return "" if stand["internal_only"] else "of the users "


def _plan(stand: Mapping[str, Any]) -> dict[str, str]:
    steps = " ".join(format_percent(step) for step in stand["steps"])
    return {"now": format_percent(stand["rollout_percent"]), "steps": steps}


def _asking(act: str, label: str, question: str, says: Sequence[str], **data: str) -> str:
    """Return a button; `says` are the lines of its question, `data` what the script still works out."""
    told = {"act": act, "ask": question, "says": "\n".join(line for line in says if line), **data}
    shown = " ".join(f'data-{name}="{e(text)}"' for name, text in told.items())
    return f'<button {shown} type="button">{e(label)}</button>'
