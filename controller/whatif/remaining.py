"""How long a healthy ramp still takes at the traffic seen now, by the same figures as `plan`."""

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

from controller.contract import format_percent
from controller.decision.feature import RolloutFeature
from controller.decision.telling.headline import Stage
from controller.decision.telling.sentences import duration_text
from controller.whatif.forecast import step_lasts_s

NO_ESTIMATE: dict[str, Any] = {"remaining_s": None, "text": ""}


def with_estimate(stand: dict[str, Any], feature: RolloutFeature, window_s: float) -> dict[str, Any]:
    """Return a status (as of `feature_status`) with `estimate`; its text is empty where none applies."""
    return stand | {"estimate": _estimate(stand, feature, window_s)}


def _estimate(stand: Mapping[str, Any], feature: RolloutFeature, window_s: float) -> dict[str, Any]:
    rate, percent = stand["progress"]["sends_per_s"], stand["rollout_percent"]
    if stand["stage"] != Stage.RAMPING or not rate or not percent:
        return NO_ESTIMATE
    remaining_s = remaining(feature, percent, rate * 100 / percent, window_s, stand["more_s"])
    end = f"{format_percent(feature.steps[-1])} %"
    if not isfinite(remaining_s):
        return {"remaining_s": None, "text": f"never {end} at this traffic"}
    return {
        "remaining_s": remaining_s,
        "text": f"about {duration_text(remaining_s)} to {end} at this traffic",
    }


def remaining(
    feature: RolloutFeature, percent: float, sends_per_s: float, window_s: float, more_s: float | None
) -> float:
    """Return the seconds up to the last step; infinite where health would never be proven.

    `sends_per_s` is the traffic of all users, `more_s` what the present step still needs, None for a whole
    step.
    """
    above = [step for step in feature.steps[:-1] if step > percent]
    steps = above if more_s is not None else [percent, *above]
    lengths = [step_lasts_s(feature, step, sends_per_s * step / 100, window_s) for step in steps]
    return sum(lengths, more_s or 0.0) if all(length < inf for length in lengths) else inf
