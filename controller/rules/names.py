"""The names that one feature's series, alerts and runbooks have, made from its action as in the plan."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controller.decision.model import RolloutFeature


@dataclass(frozen=True, slots=True)
class Names:
    """`outlook.send` makes `job:outlook_send_exec_rate:5m`, OutlookSend..., `outlook-send-....md`."""

    feature: str
    provider: str
    action: str

    @classmethod
    def of(cls, feature: RolloutFeature) -> "Names":
        """Return the names of a feature's series, alerts and runbooks."""
        return cls(feature.name, feature.provider, feature.action)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the action, as names of series have them."""
        return tuple(re.split(r"[._]", self.action))

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
            "service": "relay",
            "component": self.component,
            "provider": self.provider,
            "action": self.action,
        }

    def selector(self, *matchers: str) -> str:
        """Return the matchers of the feature's counters."""
        pair = (f'provider="{self.provider}"', f'action="{self.action}"')
        return "{" + ",".join((*pair, *matchers)) + "}"

    def series(self, what: str, window: str = "5m") -> str:
        """Return the name of a recorded series."""
        return f"job:{'_'.join(self.words)}_{what}:{window}"

    def top_codes(self) -> str:
        """The one series that the plan names after the feature instead of the action."""
        return f"job:structured_error_rate_top5_codes_{self.feature.replace('-', '_')}:5m"

    def alert(self, what: str) -> str:
        """Return the name of an alert."""
        return "".join(word.capitalize() for word in self.words) + what

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
