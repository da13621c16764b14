"""The runbooks of each feature's alerts, from one text per kind of alert in the folder `texts/` here."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from controller.decision.model import RolloutFeature
from controller.rules.alerts import CRITICAL_ERRORS_TIMES, CRITICAL_LATENCY_TIMES
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS

_TEXTS = Path(__file__).parent / "texts"
KINDS = ("high-error-rate", "high-latency", "nothing-succeeds", "error-budget-burn")
SIGN_IN_KIND = "token-refresh-failing"


def runbook_texts(features: Sequence[RolloutFeature]) -> dict[str, str]:
    """Give the text of each rendered runbook by its file's name."""
    return {
        Names.of(feature).runbook(kind): _filled(feature, kind)
        for feature in features
        for kind in (*KINDS, *((SIGN_IN_KIND,) if feature.provider in SIGN_IN_METRICS else ()))
    }


def _filled(feature: RolloutFeature, kind: str) -> str:
    names, limit = Names.of(feature), feature.slo_error_rate_threshold
    words = {
        "title": names.title,
        "alert": names.alert(""),
        "stem": "_".join(names.words),
        "feature": feature.name,
        "provider": feature.provider,
        "action": feature.action,
        "limit": f"{limit * 100:g} %",
        "critical": f"{min(limit * CRITICAL_ERRORS_TIMES, 0.9) * 100:g} %",
        "limit_ms": f"{feature.slo_latency_p95_ms:g}",
        "critical_ms": f"{feature.slo_latency_p95_ms * CRITICAL_LATENCY_TIMES:g}",
    }
    outage = _TEXTS / f"provider-{feature.provider}.md"
    outage = outage if outage.is_file() else _TEXTS / "provider-other.md"
    words["theirs_or_ours"] = Template(_read(outage)).substitute(words)
    return Template(_read(_TEXTS / f"{kind}.md")).substitute(words)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
