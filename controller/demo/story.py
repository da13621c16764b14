"""The stories that a demo can tell: a ramp, something that goes wrong in the middle, and how it ends.

A story is a generator of sentences. It looks at the newest records, does things to the world, and ends when
the last step is complete. It never touches the flags but as a person would.
"""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests
from prometheus_api_client.exceptions import PrometheusApiClientException

from controller.decision.model import Kind
from controller.demo.world import SENDERS, World
from controller.journal.sinks import Journals
from controller.loop.manual import operate

FAULT_STEP = 25.0
"""The step at which something goes wrong: the middle of the plan."""
OPERATOR = "demo-operator"
_FEATURE, _OLD = "microsoft", "google"
"""The feature that ramps, and the one that is complete: its fallback and its reference."""
_REPAIR_S = 6.0
"""How long the demo's people take to mend what broke."""
_LIMIT_S = 210.0
_REST_S = 3.0
"""Longer than any mail takes whose provider is well."""


class StoryError(Exception):
    """The story did not come to its end in time."""


@dataclass(slots=True)
class StoryProgress:
    """What the demo has seen so far."""

    records: list[dict[str, Any]] = field(default_factory=list)
    old: dict[str, Any] = field(default_factory=dict)
    """The newest record of the feature that is complete."""
    measured: dict[str, float] = field(default_factory=dict)
    fault_at: float = 0.0
    pause_at: float = 0.0
    failed_at_fault: float = 0.0
    failed_at_end: float = 0.0
    harmed: float = 0.0
    """Sends that failed of the fault."""
    answered_by: str = ""
    """The source of evidence that the fault was answered by: `live` or `prometheus`."""

    @property
    def last(self) -> dict[str, Any]:
        """The newest record; empty before the first."""
        return self.records[-1] if self.records else {}

    @property
    def percent(self) -> float:
        """The percentage that the newest record left."""
        return float(self.last["to"]["rollout_percent"]) if self.records else 0.0

    @property
    def reason(self) -> str:
        """The newest record's reason."""
        return str(self.last.get("reason", ""))

    @property
    def paused(self) -> bool:
        """Whether the newest record left the feature paused."""
        return bool(self.records) and bool(self.last["to"]["paused"])

    @property
    def old_paused(self) -> bool:
        """Whether the feature that was complete is paused."""
        return bool(self.old) and bool(self.old["to"]["paused"])

    @property
    def complete(self) -> bool:
        """Whether the ramp is over."""
        return self.reason == "complete"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One way in which a ramp goes wrong, how it is mended, and by what it is known."""

    says: str
    begin: Callable[[World], None]
    mend: Callable[[World], None]
    known_by: frozenset[str]
    """Reasons of the decision that must follow."""
    is_common: bool = False
    """Whether it hits both providers."""


def _fault(**faults: Any) -> Callable[[World], None]:
    return lambda world: world.set_faults(**faults)


def _signal_senders(number: signal.Signals) -> Callable[[World], None]:
    def act(world: World) -> None:
        for name in SENDERS:
            world.processes.all[name].signal(number)

    return act


_GOOD_DAY = _fault(latency_s=0.03)
TROUBLES: dict[str, Trouble] = {
    "errors": Trouble(
        "Graph begins to fail 20 % of the sends",
        _fault(latency_s=0.03, error_share=0.2, error_status=503, delivered_share=0.3),
        _GOOD_DAY,
        frozenset({"slo_error_rate", "outage"}),
    ),
    "common-cause": Trouble(
        "Graph and Gmail begin to fail 30 % of the sends",
        _fault(both=True, latency_s=0.03, error_share=0.3, error_status=503, delivered_share=0.3),
        _fault(both=True, latency_s=0.03),
        frozenset({"slo_error_rate", "outage"}),
        is_common=True,
    ),
    "slow": Trouble(
        "Graph begins to answer 40 % of the sends after 2.6 s",
        _fault(latency_s=2.6, latency_share=0.4),
        _GOOD_DAY,
        frozenset({"slo_latency"}),
    ),
    "outage": Trouble(
        "Graph fails every send",
        _fault(status=503, delivered_share=0.3),
        _GOOD_DAY,
        frozenset({"outage", "slo_error_rate"}),
    ),
    "sender-dies": Trouble(
        "one sender is killed",
        lambda world: world.processes.all[SENDERS[1]].signal(signal.SIGKILL),
        lambda world: void(world.processes.start_again(SENDERS[1])),
        frozenset({"metrics_incomplete"}),
    ),
    "no-traffic": Trouble(
        "the users stop sending",
        _signal_senders(signal.SIGUSR1),
        _signal_senders(signal.SIGUSR2),
        frozenset({"no_traffic"}),
    ),
}
SCENARIOS = ("healthy", *TROUBLES)


def void(_: object) -> None:
    """Take a value and do nothing with it."""


def look(world: World, seen: StoryProgress) -> None:
    """Take in the records written since the last look, and the figures as they stand."""
    known = {record["id"] for record in seen.records[-50:]}
    newest = world.store.history(_FEATURE, newest=20)
    seen.records.extend(record for record in newest if record["id"] not in known)
    seen.old = next(iter(world.store.history(_OLD, newest=1)), seen.old)
    try:
        seen.measured.update(world.measured())
    except (requests.RequestException, PrometheusApiClientException, KeyError, ValueError):
        return


def tell(world: World, seen: StoryProgress, scenario: str) -> Iterator[str]:
    """Tell one story; each sentence is yielded when it happens, "" when nothing did.

    Raises StoryError when it does not end in time or not as it should.
    """
    by = time.monotonic() + _LIMIT_S
    _person(world, Kind.ENABLE, "the demo begins", _OLD)
    _person(world, Kind.SET, "it was rolled out before", _OLD, percent=100.0)
    yield "google: everybody sends through gmail.send; its rollout is complete"
    _person(world, Kind.ENABLE, "the demo begins")
    yield f"{OPERATOR} enables microsoft; the controller takes over, and who is not in yet uses google"
    trouble = TROUBLES.get(scenario)
    if trouble is not None:
        yield from _climb(world, seen, lambda: seen.percent >= FAULT_STEP and _settled(seen), by, "25 %")
        yield from _go_wrong(world, seen, trouble, by)
    yield from _climb(world, seen, lambda: seen.complete, by, "100 %")
    seen.failed_at_end = seen.measured.get("failed", 0.0)
    yield "every user is in"


def _settled(seen: StoryProgress) -> bool:
    """Whether evidence is being counted at this step, so that the story's fault meets a running test."""
    last = seen.last
    return last["kind"] == "hold" and any(finding["n"] > 0 for finding in last["findings"])


def _go_wrong(world: World, seen: StoryProgress, trouble: Trouble, by: float) -> Iterator[str]:
    seen.fault_at, seen.failed_at_fault = time.time(), seen.measured.get("failed", 0.0)
    trouble.begin(world)
    yield f"FAULT: {trouble.says}"
    yield from _wait(seen, lambda: seen.reason in trouble.known_by or seen.paused, by, "the fault is noticed")
    noticed = next((r for r in reversed(seen.records) if r["reason"] in trouble.known_by), None)
    if noticed is None:
        raise StoryError(f"the fault was answered with {seen.reason}, not with {', '.join(trouble.known_by)}")
    seen.pause_at, seen.answered_by = noticed["at"], noticed["evidence"]["source"]
    yield f"{noticed['kind'].upper()} after {seen.pause_at - seen.fault_at:.1f} s: {noticed['detail']}"
    if trouble.is_common:
        yield from _wait(seen, lambda: seen.old_paused and seen.paused, by, "the other feature's pause")
        yield f"google is breached too: a common cause is likely ({seen.old['detail']})"
    elif seen.paused:
        yield "google goes on: only microsoft is hit, and everybody sends through google"
    mended_by = time.monotonic() + _REPAIR_S
    yield from _wait(seen, partial(_past, mended_by), by, "the repair")
    trouble.mend(world)
    seen.harmed = seen.measured.get("failed", 0.0) - seen.failed_at_fault
    yield "the fault is gone"
    if seen.old_paused:
        _person(world, Kind.RESUME, "the fault is gone", _OLD)
        yield f"{OPERATOR} resumes google"
    if seen.paused:
        yield from _wait(seen, partial(_past, mended_by + 2), by, "a person")
        _person(world, Kind.RESUME, "the fault is gone")
        yield f"{OPERATOR} resumes; this step is proven again from zero"


def _climb(
    world: World, seen: StoryProgress, come: Callable[[], bool], by: float, what: str
) -> Iterator[str]:
    """Wait for a step. A pause that is not in the story (by hand, or on a machine that is too busy) is
    answered by the demo's operator after a while, as a person would.
    """
    while not (seen.records and come()):
        yield from _wait(seen, lambda: come() or seen.paused or seen.old_paused, by, what)
        if seen.old_paused:
            yield f"not in the story: google: {seen.old['detail']}"
            _person(world, Kind.RESUME, "the demo goes on", _OLD)
            yield from _wait(seen, lambda: not seen.old_paused, by, "google's resume")
        if seen.paused:
            until = time.monotonic() + _REPAIR_S
            yield f"not in the story: {seen.last['detail']}"
            yield from _wait(seen, partial(_past, until), by, "a person")
        if seen.paused:
            _person(world, Kind.RESUME, "the demo goes on")
            yield f"{OPERATOR} resumes"
            yield from _wait(seen, lambda: not seen.paused, by, "the resume")


def _past(until: float) -> bool:
    return time.monotonic() > until


def _wait(seen: StoryProgress, come: Callable[[], bool], by: float, what: str) -> Iterator[str]:
    while not (seen.records and come()):
        if time.monotonic() > by:
            raise StoryError(f"{what} did not come in {_LIMIT_S:g} s; last was {seen.reason or 'nothing'}")
        yield ""


def _person(
    world: World, kind: Kind, why: str, name: str = _FEATURE, *, percent: float | None = None
) -> None:
    feature, now = world.settings.features[name], time.time()
    operate(world.store, Journals(), feature, kind, actor=OPERATOR, note=why, now=now, percent=percent)


def rest(world: World) -> Iterator[str]:
    """Let the users stop, so that what became of each mail can be counted."""
    _signal_senders(signal.SIGUSR1)(world)
    yield "the users stop; every mail that is under way comes to its end"
    until = time.monotonic() + _REST_S
    while not _past(until):
        yield ""
