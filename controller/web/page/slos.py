"""The SLOs of a feature: the figure, its limit, and the evidence against both thresholds."""

from collections.abc import Mapping
from typing import Any

from controller.contract import CRITICAL_LATENCY_TIMES
from controller.web.page.words import count_text, e, ms_text, share_text


def slos(stand: Mapping[str, Any], p95_s: float | None) -> str:
    """Show each SLO; `p95_s` is what Prometheus recorded last."""
    found = {one["slo"]: one for one in stand["findings"] or ()}
    slo = stand["slo"]
    errors, latency = found.get("error_rate"), found.get("latency")
    rate = share_text(errors["k"] / errors["n"]) if errors and errors["n"] else "no data"
    both = _slo("Error rate", rate, f"limit {share_text(slo['error_rate'])}", errors, "failed") + _slo(
        "p95 latency",
        ms_text(p95_s),
        f"limit {slo['latency_p95_ms']:,.0f} ms",
        latency,
        f"slower than {slo['latency_p95_ms']:,.0f} ms",
    )
    return both + (_very_slow(slo, found.get("very_slow")) if slo.get("very_slow") else "")


def _very_slow(slo: Mapping[str, Any], finding: Mapping[str, Any] | None) -> str:
    edge = f"slower than {CRITICAL_LATENCY_TIMES * slo['latency_p95_ms']:,.0f} ms"
    share = share_text(finding["k"] / finding["n"]) if finding and finding["n"] else "no data"
    return _slo("Very slow", share, f"limit {share_text(slo['very_slow'])}", finding, edge)


def _slo(title: str, value: str, limit: str, finding: Mapping[str, Any] | None, what: str) -> str:
    verdict = finding["verdict"] if finding else "unknown"
    seen = "no send counted at this step yet"
    if finding and finding["n"]:
        seen = f"{count_text(finding['k'])} of {count_text(finding['n'])} sends {what} at this step"
    meters = "" if finding is None else _meters(title, finding)
    return (
        f'<section class="slo {e(verdict)}"><h3>{e(title)}</h3>'
        f'<p class="value">{e(value)} <span>{e(limit)}</span></p>'
        f'<p class="seen">{e(seen)}</p>{meters}</section>'
    )


def _meters(title: str, finding: Mapping[str, Any]) -> str:
    health = _share(finding["evidence_for_health"], finding["health_needed"])
    breach = max(
        _share(finding["evidence_for_breach"], finding["breach_needed"]),
        _share(finding["late_evidence"], finding["late_needed"]),
    )
    return _meter(f"{title}: proof of health", "Proof of health", "health", health) + _meter(
        f"{title}: evidence of a breach", "Evidence of a breach", "breach", breach
    )


def _meter(label: str, shown: str, kind: str, percent: int) -> str:
    return (
        f'<div class="meter {kind}"><span>{e(shown)}</span>'
        f'<progress max="100" value="{percent}" aria-label="{e(label)}">{percent} %</progress>'
        f"<span>{percent} %</span></div>"
    )


def _share(evidence: float, needed: float) -> int:
    """Return evidence as a share of what is needed, 0 to 100; 100 only when it is all there."""
    share = max(float(evidence), 0.0) / float(needed)
    return 100 if share >= 1 else min(int(share * 100), 99)
