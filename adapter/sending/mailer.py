"""Sends the controller's own notices by email, beside the rollout: not gated by it, and not counted in it."""

import asyncio
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry

from adapter.gate.rule import GateAnswer, GateReason
from adapter.message import EmailAddress
from adapter.sending.actions import outlook_send
from adapter.sending.runtime import Runtime


class _AlwaysOpen:
    """The gate of mails that must go out because the rollout's own gate may just have closed."""

    def check(self, feature: str, user_id: str, recipients: Iterable[object] = ()) -> GateAnswer:  # noqa: ARG002
        return GateAnswer(True, GateReason.IN_ROLLOUT, 0)

    def count(self, feature: str, ok: bool, seconds: float, mailbox: str = "") -> None:
        """Leave it out of the live counts too."""

    def revision(self, feature: str) -> int:  # noqa: ARG002
        return 0

    def percent(self, feature: str) -> float:  # noqa: ARG002
        return 100.0


class NoticeMailer:
    """Opens its runtime at the first notice; a registry of its own keeps its sends out of the evidence."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._opening = asyncio.Lock()

    async def __call__(self, user_id: str, to: Sequence[str], subject: str, text: str, key: str) -> None:
        """Send one notice; raises StructuredError. The same key sends it once."""
        async with self._opening:
            if self._runtime is None:
                self._runtime = await Runtime.start(gate=_AlwaysOpen(), registry=CollectorRegistry())
        await outlook_send(
            [EmailAddress(address) for address in to],
            subject,
            body_text=text,
            user_id=user_id,
            idempotency_key=key,
            runtime=self._runtime,
        )
