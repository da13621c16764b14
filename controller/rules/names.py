"""The names that one feature's series, alerts and runbooks have, made from its action as in the plan."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controller.decision.feature import RolloutFeature
from controller.rules.scope import DEFAULT_SCOPE, Scope, matcher

_WORD = re.compile(r"[a-zA-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Names:
    """`outlook.send` makes `job:outlook_send_exec_rate:5m`, OutlookSend..., `outlook-send-....md`."""

    feature: str
    provider: str
    action: str
    scope: Scope = DEFAULT_SCOPE

    @classmethod
    def of(cls, feature: RolloutFeature, scope: Scope = DEFAULT_SCOPE) -> "Names":
        return cls(feature.name, feature.provider, feature.action, scope)

    @property
    def words(self) -> tuple[str, ...]:
        """The action in words of letters and digits; the feature's name where it has none."""
        return tuple(_WORD.findall(self.action) or _WORD.findall(self.feature))

    @property
    def component(self) -> str:
        """The first word of the action."""
        return self.words[0]

    @property
    def title(self) -> str:
        """The action as a person says it: `Outlook send`."""
        return " ".join(self.words).capitalize()

    @property
    def labels(self) -> dict[str, str]:
        """The labels that every alert of the feature has."""
        return {
            **dict(self.scope.labels),
            "service": "relay",
            "component": self.component,
            "provider": self.provider,
            "action": self.action,
        }

    def selector(self, *matchers: str) -> str:
        """Select what the senders export of this feature."""
        return self.scope.senders(*self.pair, *matchers)

    @property
    def pair(self) -> tuple[str, str]:
        return matcher("provider", self.provider), matcher("action", self.action)

    def series(self, what: str, window: str = "5m") -> str:
        """Return the name of a recorded series."""
        return f"job:{'_'.join(self.words)}_{what}:{window}"

    def recorded(self, what: str, window: str = "5m") -> str:
        """Ask for a recorded series of this environment."""
        return f"{self.series(what, window)}{self.scope.recorded()}"

    def top_codes(self) -> str:
        """The one series that the plan names after the feature instead of the action."""
        return f"job:structured_error_rate_top5_codes_{self.feature.replace('-', '_')}:5m"

    def alert(self, what: str) -> str:
        """Return the name of an alert."""
        return "".join(word[:1].upper() + word[1:] for word in self.words) + what

    def runbook(self, what: str) -> str:
        """Return the file of a runbook."""
        return f"{'-'.join(self.words)}-{what}.md"


def refuse_shared_names(features: Iterable[RolloutFeature]) -> None:
    """Raise ValueError where two features would record the same series."""
    seen: dict[tuple[str, ...], str] = {}
    for feature in features:
        words = Names.of(feature).words
        if words in seen:
            raise ValueError(
                f"the features {seen[words]} and {feature.name} would both record "
                f"{Names.of(feature).series('exec_rate')}; give one of them another action"
            )
        seen[words] = feature.name
