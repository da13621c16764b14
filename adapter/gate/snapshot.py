"""Snapshot: the rules of all features as of one reading of Redis, and what may be answered from it. Pure.

Times are seconds on a monotonic clock, given as arguments.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from adapter.gate.domains import InternalDomains, Recipient
from adapter.gate.rule import NO_BUCKET, GateAnswer, GateReason, Rule
from controller.contract import CLOSED, FLAG_NAMES, Flags, flag_keys, parse_flags, revision_key

STALE_AFTER_S = 3.0
"""Older flags let nobody in."""

_UNKNOWN_FEATURE = GateAnswer(False, GateReason.UNKNOWN_FEATURE, NO_BUCKET)
_KEYS_PER_FEATURE = len(FLAG_NAMES) + 1


@dataclass(frozen=True, slots=True)
class FlagSnapshot:
    """What one reading said."""

    asked_at: float
    """Before the request was sent: the flags are at least as new as this."""
    rules: Mapping[str, Rule]
    texts: Sequence[str | None] = ()
    """The values of `keys`, which the rules were made from."""
    fresh_until: float = field(init=False)
    """After this the flags are stale."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fresh_until", self.asked_at + STALE_AFTER_S)

    def answer(self, feature: str, user_id: str, recipients: Iterable[Recipient], now: float) -> GateAnswer:
        """Answer for one send: closed for everybody when the flags are stale."""
        rule = self.rules.get(feature)
        if rule is None:
            return _UNKNOWN_FEATURE
        answer = rule.answer(user_id, recipients)
        return answer if now <= self.fresh_until else GateAnswer(False, GateReason.STALE, answer.bucket)

    def obeyed(self, feature: str, now: float) -> Flags:
        """Return the flags that answers follow: closed ones, of revision 0, when they are stale."""
        rule = self.rules.get(feature)
        return rule.flags if rule and now <= self.fresh_until else CLOSED


def unread(salts: Mapping[str, str], internal: InternalDomains) -> FlagSnapshot:
    """Make the snapshot from before the first reading: everything is stale."""
    return FlagSnapshot(
        float("-inf"), {name: Rule.of(CLOSED, salt, internal) for name, salt in salts.items()}
    )


def keys(features: Iterable[str]) -> list[str]:
    """Name what a reading asks for, in the order in which `renewed` takes the values."""
    return [key for name in features for key in (*flag_keys(name), revision_key(name))]


def renewed(
    before: FlagSnapshot,
    asked_at: float,
    texts: Sequence[str | None],
    salts: Mapping[str, str],
    internal: InternalDomains,
) -> FlagSnapshot:
    """Make the snapshot of a new reading; rules whose texts did not change are kept as they are."""
    if texts == before.texts:
        return FlagSnapshot(asked_at, before.rules, texts)
    rules = {}
    for number, (name, salt) in enumerate(salts.items()):
        part = slice(number * _KEYS_PER_FEATURE, (number + 1) * _KEYS_PER_FEATURE)
        if texts[part] == before.texts[part]:
            rules[name] = before.rules[name]
        else:
            *flags, revision = texts[part]
            rules[name] = Rule.of(parse_flags(tuple(flags), revision), salt, internal)
    return FlagSnapshot(asked_at, rules, texts)
