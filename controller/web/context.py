"""What the HTTP side needs of the daemon, so that it can be served, and tested, without one."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request

from controller.config.settings import ControllerSettings
from controller.features import RolloutFeature, no_feature
from controller.journal.sinks import Journal, Journals
from controller.loop.tick import Report
from controller.notify.delivery import Mailer
from controller.shared.api_tokens import Caller, Denied, Right, Tokens
from controller.store.flag_store import FlagStore
from controller.store.live_sight import LiveSight
from controller.web.problems import ProblemError


class TickHealth(Protocol):
    """What is known of the ticks."""

    report: Report
    reloads: int
    config_error: str
    config_agrees: bool
    unwatched: tuple[str, ...]
    pid: int

    def fresh(self, monotonic: float) -> bool:
        """Whether the last tick is recent."""


class EvaluatedGate(Protocol):
    """Whether one send may go ahead, and why."""

    @property
    def open(self) -> bool:
        """Whether the send may go ahead."""

    @property
    def reason(self) -> str:
        """Why, as one word of the gate's list."""

    @property
    def bucket(self) -> int:
        """The user's place, 0 to 99,999."""


class EvaluatesGate(Protocol):
    """Answers for one user from memory; the adapter's RolloutGate is one."""

    def check(self, feature: str, user_id: str, recipients: Iterable[str] = ()) -> EvaluatedGate:
        """Return whether a user's send may go ahead now, and why."""

    def revision(self, feature: str) -> int:
        """Return the flags' revision that is obeyed now."""

    def percent(self, feature: str) -> float:
        """Return the percentage that is obeyed now."""


def _nothing() -> None:
    return None


def _never() -> bool:
    return False


async def _at_once() -> None:
    return None


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The daemon as its HTTP side sees it."""

    health: TickHealth
    settings: Callable[[], ControllerSettings]
    """The settings as they are now: a reload may change the features."""
    store: FlagStore
    journal: Journal = field(default_factory=Journals)
    gate: EvaluatesGate | None = None
    mailer: Mailer | None = None
    """Sends notices by email; the adapter's."""
    dry_run: bool = False
    tick_soon: Callable[[], None] = _nothing
    stopping: Callable[[], bool] = _never
    """Whether the server is about to end, so that open streams end as well."""
    on_start: Callable[[], Awaitable[None]] = _at_once
    live: Callable[[], Mapping[str, LiveSight]] = dict
    """What the leader tells of each feature's live counts; may raise StoreError."""
    """Awaited before the first request: opens what is embedded, so that its metrics are there at once."""

    @property
    def features(self) -> Mapping[str, RolloutFeature]:
        """The features as they are configured now."""
        return self.settings().features

    def caller(self, request: Request, right: Right) -> Caller:
        """Return who brought the request's bearer token; raises ProblemError 401 or 403."""
        tokens = Tokens.parse(self.settings().api_token)
        found = tokens.caller(request.headers.get("authorization"), right)
        if isinstance(found, Denied):
            raise ProblemError(found.status, found.detail)
        return found

    def feature(self, name: str) -> RolloutFeature:
        """Return one feature; raises ProblemError 404 with the name that was probably meant."""
        if name in self.features:
            return self.features[name]
        raise ProblemError(404, no_feature(name, self.features))
