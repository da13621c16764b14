"""What a person may do to a feature from the page: pause at once, everything else after a question."""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.contract import format_percent
from controller.decision.ramp import step_below
from controller.web.page.words import e, part_tag, percent_text


def acts(stand: Mapping[str, Any], cause: str, *, watched: bool) -> str:
    """Return the form. `cause` is what paused it; `watched` is whether Prometheus answers.

    Pausing is one click, everything else asks first. It needs the script.
    """
    name = e(stand["feature"])
    return (
        f'<form class="acts" data-feature="{name}" aria-label="Change {name}" hidden>'
        f'<div class="buttons">{part_tag(stand["feature"], "buttons", _buttons(stand, cause, watched))}</div>'
        f'<label class="reason">Reason<input name="reason" maxlength="500" autocomplete="off" '
        f'placeholder="is kept in the history; Pause works without one"></label>'
        f'<p class="outcome" role="status" aria-live="polite"></p></form>'
        '<noscript><p class="hint">By command: '
        f"<code>rollout pause {name} --reason TEXT</code></p></noscript>"
    )


def _buttons(stand: Mapping[str, Any], cause: str, watched: bool) -> str:
    """Return the buttons that fit where it stands, the most urgent one first."""
    blind = () if watched else ("Prometheus does not answer: nothing would notice harm.",)
    buttons = [*_pausing(stand, cause, blind), *_approving(stand, blind), _switching(stand, blind)]
    return "".join([*buttons, _setting(stand, cause, blind)])


def _pausing(stand: Mapping[str, Any], cause: str, blind: Sequence[str]) -> list[str]:
    name, now = stand["feature"], percent_text(stand["rollout_percent"])
    if not stand["paused"]:
        tone = ' class="stop"' if stand["enabled"] else ""
        return [f'<button{tone} data-act="pause" type="button">Pause</button>']
    resume = _asking(
        "resume",
        "Resume",
        f"Resume {name} at {now}?",
        (cause, f"{now} {_of_whom(stand)} are in again at once; the step is proven from zero.", *blind),
    )
    below = step_below(tuple(stand["steps"]), stand["rollout_percent"])
    if below is None:
        return [resume]
    back = _asking(
        "set",
        f"Go back to {percent_text(below)} and resume",
        f"Set {name} to {percent_text(below)} and resume it?",
        (cause, "Two steps: the percentage is set while nobody is in, then it is resumed.", *blind),
        to=format_percent(below),
        then="resume",
        **_plan(stand),
    )
    return [back, resume]


def _approving(stand: Mapping[str, Any], blind: Sequence[str]) -> list[str]:
    if stand["reason"] != "awaiting_approval" or not stand["next_percent"]:
        return []
    above, now = percent_text(stand["next_percent"]), percent_text(stand["rollout_percent"])
    question = f"Approve the step of {stand['feature']} to {above}?"
    return [_asking("approve", "Approve", question, (f"From {now} to {above} {_of_whom(stand)}.", *blind))]


def _switching(stand: Mapping[str, Any], blind: Sequence[str]) -> str:
    name, now = stand["feature"], percent_text(stand["rollout_percent"])
    if stand["enabled"]:
        says = f"Now at {now} {_of_whom(stand)}; then nobody is in."
        return _asking("disable", "Disable", f"Switch {name} off for everybody?", (says,))
    first = f"{now} {_of_whom(stand)} are in at once" if stand["rollout_percent"] else "Nobody is in yet"
    above = stand["next_percent"]
    says = f"{first}; the controller goes on to {percent_text(above)}." if above else f"{first}."
    return _asking("enable", "Enable", f"Switch {name} on?", (says, *blind))


def _setting(stand: Mapping[str, Any], cause: str, blind: Sequence[str]) -> str:
    now = f"Now at {percent_text(stand['rollout_percent'])} {_of_whom(stand)}."
    paused = (cause, "It stays paused: nobody is in until it is resumed.") if stand["paused"] else ()
    question = f"Set the percentage of {stand['feature']} by hand?"
    return _asking("set", "Set percent", question, (now, *paused, *blind), **_plan(stand))


def _of_whom(stand: Mapping[str, Any]) -> str:
    return "of internal mail" if stand["internal_only"] else "of the users"


def _plan(stand: Mapping[str, Any]) -> dict[str, str]:
    steps = " ".join(format_percent(step) for step in stand["steps"])
    return {"now": format_percent(stand["rollout_percent"]), "steps": steps}


def _asking(act: str, label: str, question: str, says: Sequence[str], **data: str) -> str:
    """Return a button; `says` are the lines of its question, `data` what the script still works out."""
    told = {"act": act, "ask": question, "says": "\n".join(line for line in says if line), **data}
    shown = " ".join(f'data-{name}="{e(text)}"' for name, text in told.items())
    return f'<button {shown} type="button">{e(label)}</button>'
