"""What a person does next with a feature, and the exact line to type."""

from collections.abc import Callable
from typing import NamedTuple

from controller.contract import Flags, format_percent
from controller.decision.feature import RolloutFeature
from controller.decision.model import Reason
from controller.decision.ramp import step_below
from controller.decision.telling.headline import Stage

CommandLine = Callable[..., str]
"""Writes a `rollout` command, from its words, so that it meets the Redis in use."""


class NextStep(NamedTuple):
    """One thing to do; the command may be empty."""

    text: str
    command: str = ""


def next_steps(
    feature: RolloutFeature, flags: Flags, stage: Stage, reason: str, line: CommandLine
) -> list[NextStep]:
    """Return what to do next, the first thing first; empty where nothing is needed."""
    name, why = feature.name, ("--reason", "...")
    below = step_below(feature.steps, flags.rollout_percent)
    paused = [
        NextStep(
            "See what paused it and what came before", line("history", name, "--since", "1d", "--changes")
        ),
        *(
            [NextStep("Begin again with fewer users", line("set", name, format_percent(below), *why))]
            if below
            else []
        ),
        NextStep("Once the cause is gone, let it go on", line("resume", name, *why)),
    ]
    by_stage = {
        Stage.UNWATCHED: [
            NextStep("Stop it", line("pause", name, *why)),
            NextStep("Or put it back into the configuration, and let the daemon read it", line("reload")),
        ],
        Stage.UNREADABLE: [
            NextStep("See which flag cannot be read", line("doctor")),
            NextStep("Write all four flags again, paused", line("pause", name, *why)),
        ],
        Stage.PAUSED: paused,
        Stage.STOPPED: [NextStep("Begin the ramp again", line("resume", name, *why))],
        Stage.WAITS_FOR_PERSON: [NextStep("Approve the next step", line("approve", name, *why))],
        Stage.DISABLED: [NextStep("Switch it on", line("enable", name, *why))],
        Stage.HELD: _held(name, reason, line),
        Stage.COMPLETE: _complete(feature, flags, line),
        Stage.NOT_SET_UP: [NextStep("Start the daemon, which creates its flags", line("run"))],
    }
    return by_stage.get(stage, [NextStep("Nothing; to stop it", line("pause", name, *why))])


def _held(name: str, reason: str, line: CommandLine) -> list[NextStep]:
    if reason == Reason.FROZEN:
        return [NextStep("Nothing: the freeze window ends by itself")]
    if reason == Reason.ALERT_FIRING:
        return [NextStep("Follow the runbook of the alert that its decision names")]
    if reason == Reason.WORSE_THAN_REFERENCE:
        return [
            NextStep(
                "See since when it fails more often", line("history", name, "--since", "1d", "--changes")
            ),
            NextStep("Stop it, or change its delta or reference", line("pause", name, "--reason", "...")),
        ]
    return [NextStep("Look at everything that it needs", line("doctor"))]


def _complete(feature: RolloutFeature, flags: Flags, line: CommandLine) -> list[NextStep]:
    end = feature.steps[-1]
    if flags.rollout_percent > end:
        lower = line("set", feature.name, format_percent(end), "--reason", "...")
        return [NextStep("Bring it down to the end of its plan, or make the plan longer", lower)]
    if flags.internal_only:
        return [NextStep("Let other mail in too", line("open", feature.name, "--reason", "..."))]
    return [NextStep("Nothing: it is complete and still monitored")]
