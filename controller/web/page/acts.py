"""What a person may do to a feature from the page: pause at once, everything else after a question."""

from collections.abc import Mapping
from typing import Any

from controller.web.page.words import e, part_tag, percent_text


def acts(stand: Mapping[str, Any]) -> str:
    """Return the form: pausing is one click, everything else asks first. It needs the script."""
    name = e(stand["feature"])
    return (
        f'<form class="acts" data-feature="{name}" aria-label="Change {name}" hidden>'
        f'<label class="reason">Reason<input name="reason" maxlength="500" autocomplete="off" '
        f'placeholder="stands in the history"></label>'
        f'<div class="buttons">{part_tag(stand["feature"], "buttons", _buttons(stand))}</div>'
        f'<p class="outcome" role="status" aria-live="polite"></p></form>'
        '<noscript><p class="hint">By command: '
        f"<code>rollout pause {name} --reason TEXT</code></p></noscript>"
    )


def _buttons(stand: Mapping[str, Any]) -> str:
    name = e(stand["feature"])
    buttons = []
    if not stand["paused"]:
        tone = ' class="stop"' if stand["enabled"] else ""
        buttons.append(f'<button{tone} data-act="pause">Pause</button>')
    else:
        buttons.append(
            _asking("resume", "Resume", f"Resume {name} at {percent_text(stand['rollout_percent'])}?")
        )
    if stand["reason"] == "awaiting_approval" and stand["next_percent"]:
        buttons.append(
            _asking(
                "approve", "Approve", f"Approve the step of {name} to {percent_text(stand['next_percent'])}?"
            )
        )
    if stand["enabled"]:
        buttons.append(_asking("disable", "Disable", f"Switch {name} off for everybody?"))
    else:
        buttons.append(_asking("enable", "Enable", f"Switch {name} on? The controller begins to step it up."))
    buttons.append(_asking("set", "Set percent", f"Set the percentage of {name} by hand?"))
    return "".join(buttons)


def _asking(act: str, label: str, question: str) -> str:
    return f'<button data-act="{act}" data-ask="{e(question)}" type="button">{e(label)}</button>'
