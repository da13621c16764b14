"""The gate: flags, a user and the recipients of one mail give open, or closed with a reason. Pure.

The order is fixed: enabled, paused, percentage, internal-only. What is missing or cannot be read is closed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from adapter.gate.domains import NO_DOMAINS, InternalDomains, Recipient
from controller.contract import Flags

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

BUCKETS = 100_000
"""A bucket is 0.001 % of the users."""

NO_BUCKET = BUCKETS
"""In the place of a bucket where there is none; no percentage reaches it."""


class GateReason(StrEnum):
    """Why the gate is open or closed. The list is closed; `GATE_REASONS` has the sentence for each."""

    IN_ROLLOUT = "in_rollout"
    DISABLED = "disabled"
    PAUSED = "paused"
    NOT_IN_ROLLOUT = "not_in_rollout"
    EXTERNAL_RECIPIENT = "external_recipient"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    STALE = "stale"
    UNKNOWN_FEATURE = "unknown_feature"
    UNUSABLE_USER_ID = "unusable_user_id"


GATE_REASONS: dict[GateReason, str] = {
    GateReason.IN_ROLLOUT: "The user's bucket lies below the rollout percentage.",
    GateReason.DISABLED: "The feature is not enabled.",
    GateReason.PAUSED: "The feature is paused.",
    GateReason.NOT_IN_ROLLOUT: "The user's bucket is not reached by the rollout percentage.",
    GateReason.EXTERNAL_RECIPIENT: "The feature is internal-only, and a recipient is not internal.",
    GateReason.MISSING: "One of the four flags has no key in Redis.",
    GateReason.UNREADABLE: "The flag that closes the gate holds a text that cannot be understood.",
    GateReason.STALE: "The flags could not be read for more than 3 s.",
    GateReason.UNKNOWN_FEATURE: "No feature of this name is configured.",
    GateReason.UNUSABLE_USER_ID: "The user id is not a text that can be hashed.",
}


class GateAnswer(NamedTuple):
    """Whether one send may go ahead, and why; true as a condition only when open."""

    open: bool
    reason: GateReason
    bucket: int
    """0 to 99,999; NO_BUCKET for an unknown feature or an unusable user id."""

    def __bool__(self) -> bool:
        return self.open


def bucket(salt: str, user_id: str) -> int:
    """Return the user's place in a feature, 0 to 99,999: scheme v1, which never changes.

    A user who is in at p % is in at every higher percentage, and two salts share no pattern.
    Another hash, salt or rounding would throw the users of every running rollout about.
    """
    return _bucket_of(sha256(f"{salt}:{user_id}".encode()))


def _bucket_of(hashed: "Hash") -> int:
    word: int = first_word(hashed.digest())[0]
    return word * BUCKETS >> 32


def threshold(percent: float) -> int:
    """Return the first bucket that is out at this percentage."""
    return round(percent * 1000)


def answer(
    flags: Flags,
    salt: str,
    user_id: str,
    recipients: Iterable[Recipient] = (),
    internal_domains: InternalDomains = NO_DOMAINS,
) -> GateAnswer:
    """Answer for one send. Without recipients the answer is for the user alone."""
    return Rule.of(flags, salt, internal_domains).answer(user_id, recipients)


@dataclass(frozen=True, slots=True)
class Rule:
    """The flags of one feature, made ready so that an answer costs one hash and one comparison."""

    flags: Flags
    salted: "Callable[[], Hash]"
    """Gives a hash that has read the salt and the colon, and now reads the user id."""
    threshold: int
    shut: GateReason | None
    """Why the gate is closed for everybody; None when it depends on the send."""
    internal_domains: InternalDomains
    open_below: int
    """Below this bucket everybody is in, whomever they write to."""
    out_from: int
    """From this bucket on everybody is out because of the percentage."""

    @classmethod
    def of(cls, flags: Flags, salt: str, internal_domains: InternalDomains = NO_DOMAINS) -> "Rule":
        """Make the rule of one feature from its flags."""
        shut, first_out = _shut(flags), threshold(flags.rollout_percent)
        return cls(
            flags=flags,
            salted=sha256(f"{salt}:".encode()).copy,
            threshold=first_out,
            shut=shut,
            internal_domains=internal_domains,
            open_below=0 if shut or flags.internal_only else first_out,
            out_from=NO_BUCKET if shut else first_out,
        )

    def answer(self, user_id: str, recipients: Iterable[Recipient] = ()) -> GateAnswer:
        """Return whether a user's send is open, and why."""
        hashed = self.salted()
        try:
            hashed.update(user_id.encode())
        except (AttributeError, UnicodeEncodeError):
            return GateAnswer(False, self.shut or GateReason.UNUSABLE_USER_ID, NO_BUCKET)
        place = _bucket_of(hashed)
        if self.shut is not None:
            return GateAnswer(False, self.shut, place)
        if place >= self.threshold:
            return GateAnswer(False, GateReason.NOT_IN_ROLLOUT, place)
        if self.flags.internal_only and self.external(recipients):
            return GateAnswer(False, _name(self.flags, "internal_only", GateReason.EXTERNAL_RECIPIENT), place)
        return GateAnswer(True, GateReason.IN_ROLLOUT, place)

    def external(self, recipients: Iterable[Recipient]) -> tuple[Recipient, ...]:
        """Return the recipients that are not internal, whether or not that closes the gate."""
        listed = (recipients,) if isinstance(recipients, str) else recipients
        return tuple(recipient for recipient in listed if not self.internal_domains.has(recipient))


first_word = Struct(">I").unpack_from
"""Takes the first 32 bits of a hash, most significant first, as a number in a tuple."""


def _shut(flags: Flags) -> GateReason | None:
    """Say why these flags close the gate for everybody; a lost `paused` never reads as "not paused"."""
    if flags.missing:
        return GateReason.MISSING
    if not flags.enabled:
        return _name(flags, "enabled", GateReason.DISABLED)
    if flags.paused:
        return _name(flags, "paused", GateReason.PAUSED)
    if "rollout_percent" in flags.unreadable:
        return GateReason.UNREADABLE
    return None


def _name(flags: Flags, flag: str, reason: GateReason) -> GateReason:
    return GateReason.UNREADABLE if flag in flags.unreadable else reason
