"""The runbooks of each feature's alerts, from one text per kind of alert in the folder `texts/` here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from controller.contract import CRITICAL_LATENCY_TIMES
from controller.decision.feature import RolloutFeature
from controller.rules.alerts import CRITICAL_ERRORS_TIMES
from controller.rules.names import Names
from controller.rules.recording import SIGN_IN_METRICS

_TEXTS = Path(__file__).parent / "texts"
KINDS = ("high-error-rate", "high-latency", "nothing-succeeds", "error-budget-burn")
SIGN_IN_KIND = "token-refresh-failing"
_SIGN_IN = {
    "microsoft": {
        "whose": "Microsoft",
        "guide": "docs/MS-OAUTH-SETUP-GUIDE.md",
        "auth_option": "",
        "many": "somebody changed a conditional access policy or revoked sessions",
        "sign_in_url": "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
        "good_answer": "200",
    },
    "google": {
        "whose": "Google",
        "guide": "docs/GOOGLE-OAUTH-SETUP-GUIDE.md",
        "auth_option": " --provider google",
        "many": "the app is still in Testing (its tokens end after seven days; part 2 of the guide), or an "
        "administrator blocked it",
        "sign_in_url": "https://accounts.google.com/.well-known/openid-configuration",
        "good_answer": "200",
    },
}
"""What differs between the providers in the runbook of failing sign-ins."""


def runbook_texts(features: Sequence[RolloutFeature]) -> dict[str, str]:
    """Return the text of each rendered runbook by its file's name."""
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
        "first_step": f"{feature.steps[0]:g}",
        "runbook_errors": names.runbook("high-error-rate"),
        "sign_in": "the app's secret or permissions, or users who have to sign in again",
    }
    if feature.provider in SIGN_IN_METRICS:
        words |= _SIGN_IN[feature.provider] | {"refresh_metric": SIGN_IN_METRICS[feature.provider]}
        words["sign_in"] = f"see the [runbook of failing sign-ins]({names.runbook(SIGN_IN_KIND)})"
    known = (_TEXTS / f"provider-{feature.provider}.md").is_file()
    words["theirs_or_ours"] = _text(f"provider-{feature.provider if known else 'other'}", words)
    words["resume"] = _text("resume", words)
    return _text(kind, words) + "\n"


def _text(name: str, words: Mapping[str, str]) -> str:
    return Template((_TEXTS / f"{name}.md").read_text(encoding="utf-8")).substitute(words).rstrip()
