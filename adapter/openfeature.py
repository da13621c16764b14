"""An OpenFeature provider that answers from a RolloutGate in this process; a flag's key is a feature's name.

Needs the package openfeature-sdk (`pip install rollout-controller[openfeature]`). Only boolean flags exist.
A closed gate resolves to false, also when its flags are stale: the caller's default is taken for unknown
features and missing user ids alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, TargetingKeyMissingError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import GateReason

_REASONS = {
    GateReason.IN_ROLLOUT: Reason.SPLIT,
    GateReason.NOT_IN_ROLLOUT: Reason.SPLIT,
    GateReason.EXTERNAL_RECIPIENT: Reason.TARGETING_MATCH,
    GateReason.STALE: Reason.STALE,
}
"""Every other reason closes the gate for everybody: DISABLED."""


class RolloutProvider(AbstractProvider):
    """Resolves flags from the gate given; whoever made the gate closes it."""

    def __init__(self, gate: RolloutGate) -> None:
        super().__init__()
        self._gate = gate

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata(name="rollout-controller")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Answer for the targeting key, and for the attribute `recipients` where there is one."""
        context = evaluation_context or EvaluationContext()
        if flag_key not in self._gate.features:
            raise FlagNotFoundError(f"there is no feature {flag_key!r}")
        if not context.targeting_key:
            raise TargetingKeyMissingError("the targeting key must be the user's id")
        answer = self._gate.check(flag_key, context.targeting_key, _recipients(context.attributes))
        return FlagResolutionDetails(
            value=answer.open,
            variant="on" if answer.open else "off",
            reason=_REASONS.get(answer.reason, Reason.DISABLED),
            flag_metadata={"gate": str(answer.reason), "bucket": answer.bucket},
        )

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Refuse: every flag here is a boolean."""
        _refuse(flag_key)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Refuse: every flag here is a boolean."""
        _refuse(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Refuse: every flag here is a boolean."""
        _refuse(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Refuse: every flag here is a boolean."""
        _refuse(flag_key)


def _recipients(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    listed = attributes.get("recipients", ())
    return tuple(str(one) for one in listed) if isinstance(listed, Iterable) else ()


def _refuse(flag_key: str) -> NoReturn:
    raise TypeMismatchError(f"{flag_key} is a boolean flag: a user is in or not")
