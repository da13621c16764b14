"""Whether anybody is hurt now, as far as the flags and the newest record can say."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from controller.contract import Flags
from controller.decision.ramp import is_open
from controller.decision.telling.sentences import count_text, duration_text, share_text

_WHAT = {
    "error_rate": ("sends", "errors", "failed"),
    "latency": ("timed", "slow", "were too slow"),
    "very_slow": ("timed", "very_slow", "took over 4 x the p95 limit"),
}


class Harm(NamedTuple):
    """Whether sends fail now, more than the limit allows; None where it is not known."""

    now: bool | None
    text: str


def harm(flags: Flags, last: Mapping[str, Any], *, now: float, fresh_s: float) -> Harm:
    """Say whether anybody is hurt. `last` is the newest record; one older than `fresh_s` says nothing."""
    if flags.missing or flags.unreadable or not is_open(flags):
        return Harm(False, "No: nobody is in.")
    if not last:
        return Harm(None, "Not known: nothing was decided yet.")
    if now - last["at"] > fresh_s:
        return Harm(None, f"Not known: the newest decision is {duration_text(now - last['at'])} old.")
    evidence = last["evidence"] or {}
    windows = evidence.get("windows") or ()
    if evidence.get("problem") and not windows:
        return Harm(None, f"Not known: {evidence.get('detail') or evidence['problem']}.")
    return _measured(last, windows[-1]) if windows else Harm(None, "Not known: nothing was measured yet.")


def _measured(last: Mapping[str, Any], window: Mapping[str, Any]) -> Harm:
    """Compare the newest window with the limits."""
    if not window["sends"]:
        return Harm(None, "Not known: no send was seen in the newest window.")
    told = [_slo(finding, window) for finding in last["findings"]]
    above = [one for one in told if one.now]
    return above[0] if above else told[0] if told else Harm(None, "Not known: nothing was judged yet.")


def _slo(finding: Mapping[str, Any], window: Mapping[str, Any]) -> Harm:
    of, bad, what = _WHAT[finding["slo"]]
    n, k = window[of], window.get(bad, 0.0)
    above = bool(n) and k / n > finding["limit"]
    share = f" ({share_text(k / n)}, limit {share_text(finding['limit'])})" if k else ""
    answer = "Yes" if above else "Within the limit" if k else "No"
    return Harm(
        above, f"{answer}: {count_text(k)} of {count_text(n)} sends {what} in the newest window{share}."
    )
