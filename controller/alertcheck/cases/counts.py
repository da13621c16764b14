"""What the evidence rules must count: scrapes of senders that restart, vanish and are born, and the truth."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from controller.alertcheck.cases.oracle import Values
from controller.alertcheck.cases.synthetic_series import NO_SAMPLE, Samples, Series
from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    EVIDENCE_ERRORS,
    EVIDENCE_GATE_REVISION,
    EVIDENCE_LATENCY_BUCKET,
    EVIDENCE_SENDS,
    ROLLOUT_GATE_REVISION,
    SENDER_JOB,
)
from controller.rules.scale import Scale
from controller.rules.targets import START_ROUNDED_S

SLOTS = 10
"""Moments per scrape interval at which a scrape may happen."""
LONG_AGO = -1_000_000
COUNTERS = {
    EVIDENCE_SENDS: ACTION_EXEC_TOTAL,
    EVIDENCE_ERRORS: ACTION_ERROR_TOTAL,
    EVIDENCE_LATENCY_BUCKET: f"{ACTION_LATENCY_SECONDS}_bucket",
}
CHILD = {"provider": "microsoft", "action": "outlook.send"}


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one scrape of one sender saw. Times are slots; `value` is None where the counter is not there."""

    at: int
    started: float
    value: float | None
    failed: bool = False
    rounded_s: float = 0.0
    """What a storage of few digits changed of the start, in seconds."""


@dataclass(frozen=True, slots=True)
class Life:
    """All scrapes of one sender."""

    scrapes: tuple[Scrape, ...]
    tells_start: bool = True
    """Whether it exports when its process began."""
    job: str = SENDER_JOB
    betrayed_by: str = ""
    """A counter that falls once while the sends rise: several processes of one start."""

    @property
    def answered(self) -> tuple[Scrape, ...]:
        return tuple(one for one in self.scrapes if not one.failed)


@dataclass(frozen=True, slots=True)
class CountCheck:
    """One world, and what an evidence series must be in it at each time: values by their labels."""

    series: str
    name: str
    samples: Samples
    windows: tuple[tuple[float, Values], ...]


def steady(
    values: Iterable[float | None], *, first: int = 0, phase: int = 3, started: float = LONG_AGO
) -> tuple[Scrape, ...]:
    """Return one scrape per interval, from the interval `first` on."""
    return tuple(Scrape(phase + (first + i) * SLOTS, started, value) for i, value in enumerate(values))


def failing(count: int, *, first: int, phase: int = 3) -> tuple[Scrape, ...]:
    """Return `count` scrapes that fail, `first` being the number of the earliest."""
    return tuple(replace(one, failed=True) for one in steady([None] * count, first=first, phase=phase))


def truth(life: Life, after: int, until: int, scale: Scale, known_to: float) -> float | None:
    """Count what the scrapes in (after, until] surely brought; None when none of them saw the counter.

    An increment belongs to the scrape that showed it. A whole count is taken of a process that began after
    its target was scraped before, and of one that is met when it has just started. `known_to` is the slot in
    which the rule is evaluated, less its delay.
    """
    total, seen = 0.0, False
    shared = several(life, known_to, scale)
    before: Scrape | None = None
    for scrape in life.answered:
        if scrape.value is not None and after < scrape.at <= until:
            seen = True
            if not shared:
                total += _brought(life, before, scrape, scale)
        before = scrape
    return total if seen else None


def _brought(life: Life, before: Scrape | None, scrape: Scrape, scale: Scale) -> float:
    value, step = scrape.value or 0.0, _step_of(scrape)
    if before is not None and step - SLOTS - before.at > _LOOK_BACK_SLOTS:
        before = None
    if before is not None and (not life.tells_start or before.started == scrape.started):
        return max(value - (before.value or 0), 0.0)
    rounded = START_ROUNDED_S * SLOTS / scale.step_s
    not_before = step - 2 * SLOTS if before is None else max(before.at - rounded, before.started)
    born = life.tells_start and not_before < scrape.started <= step + rounded
    return value if born else 0.0


def several(life: Life, until: float, scale: Scale) -> bool:
    """Whether the start went back, or a counter fell without another start, in the ten windows until then."""
    since = until - scale.stretched_s(300) / scale.step_s * SLOTS
    answered = [one for one in life.answered if since <= one.at <= until]
    looked_at = [one for one in answered if _step_of(one) <= until]
    if life.tells_start and any(one.started > other.started for one, other in pairwise(looked_at)):
        return True
    counted = [one for one in answered if one.value is not None]
    resets = sum((one.value or 0) > (other.value or 0) for one, other in pairwise(counted))
    if life.betrayed_by:
        resets = sum(one > other for one, other in pairwise(_betraying(life, one) for one in answered))
    changes = sum(one.started != other.started for one, other in pairwise(answered))
    return resets > changes * life.tells_start


def _betraying(life: Life, scrape: Scrape) -> float:
    return float(life.scrapes.index(scrape) < len(life.scrapes) // 2)


def _step_of(scrape: Scrape) -> int:
    return -(-scrape.at // SLOTS) * SLOTS


_LOOK_BACK_SLOTS = 30 * SLOTS


def exported(lives: Sequence[Life], counter: str, scale: Scale, **labels: str) -> Samples:
    """Return what Prometheus stores; what a scrape no longer shows is marked stale."""
    slot_s = scale.step_s / SLOTS
    series: list[Series] = []
    for number, life in enumerate(lives):
        target = {"job": life.job, "instance": f"sender-{number}"}
        last = max(scrape.at for scrape in life.scrapes)
        slots = {name: [NO_SAMPLE] * (last + 1) for name in ("up", "start", "counter")}
        values = _filled(slots["counter"], life, lambda one: one.value)
        counters = {ACTION_EXEC_TOTAL: {}, counter: labels}
        series += [
            Series("up", target, _filled(slots["up"], life, lambda one: 0.0 if one.failed else 1.0)),
            *(Series(name, target | CHILD | more, values) for name, more in counters.items()),
        ]
        if life.betrayed_by:
            values = _filled(slots["counter"], life, partial(_betraying, life))
            series.append(Series(life.betrayed_by, target | CHILD, values))
        if life.tells_start:
            starts = _filled(
                slots["start"], life, lambda one: None if one.failed else one.started * slot_s + one.rounded_s
            )
            series.append(Series("process_start_time_seconds", target, starts))
    return Samples(slot_s, tuple(series))


def _filled(
    slots: Sequence[float | None], life: Life, read: Callable[[Scrape], float | None]
) -> tuple[float | None, ...]:
    values = list(slots)
    for scrape in life.scrapes:
        values[scrape.at] = read(scrape)
    return tuple(values)


def worlds(phase: int) -> dict[str, tuple[Life, ...]]:
    """Return the scenarios that the counts must survive; `phase` is when in an interval scrapes are."""

    def run(values: Iterable[float | None], first: int = 0, started: float = LONG_AGO) -> tuple[Scrape, ...]:
        return steady(values, first=first, phase=phase, started=started)

    def gap(count: int, first: int) -> tuple[Scrape, ...]:
        return failing(count, first=first, phase=phase)

    def born(interval: int, before: float = 5) -> float:
        return interval * SLOTS + phase - before

    rising = run([7, 10, 20, 21, 24, 24, 30, 100, 101, 101, 102, 140, 141, 150, 170, 171])
    restart = (*run([50, 60, 70]), *run([90, 95, 96, 99], first=3, started=born(3)))
    rounded = (*rising[:5], *(replace(one, rounded_s=1e-5) for one in rising[5:]))
    late_child = (*run([40, 44]), *run([None, 45, 47], first=2, started=born(2)))
    return {
        "steady traffic": (Life(rising),),
        "a start that its storage rounds": (Life(rounded),),
        "silence": (Life(run([5] * 16)),),
        "a restart beyond the old count": (Life(restart),),
        "a counter that fell": (Life(run([50, 60, 70, 4, 6, 9]), tells_start=False),),
        "failed sends that fell": (Life(rising, betrayed_by=ACTION_ERROR_TOTAL),),
        "seconds of sending that fell": (
            Life(rising, tells_start=False, betrayed_by=f"{ACTION_LATENCY_SECONDS}_sum"),
        ),
        "a counter that its first event creates": (Life(run([None, None, None, 3, 5, 5])),),
        "a counter that comes late after a restart": (Life(late_child),),
        "a process that has just started": (Life(run([12, 15, 19], first=3, started=3 * SLOTS - 9)),),
        "a process that started a while ago": (Life(run([12, 15, 19], first=3, started=2 * SLOTS - 1)),),
        "an old process met for the first time": (Life(run([1200, 1207, 1208], first=3)),),
        "failed scrapes": (Life((*run([10, 20]), *gap(2, 2), *run([50, 60, 61, 64], first=4))),),
        "a sender that dies": (Life((*run([10, 20, 30, 38]), *gap(12, 4))),),
        "a sender that is gone": (Life(run([10, 20, 30, 38, 39])), Life(run([1, 2]))),
        "a sender that is taken away": (Life(run([10 * i for i in range(15)])),),
        "two senders": (Life(rising), Life(steady([100 + 10 * i for i in range(16)], phase=8))),
        "a stranger's job": (Life(rising), Life(run([0, 90, 900, 9000]), job="another")),
        "a long gap": (Life((*run([10, 20]), *gap(27, 2), *run([50, 60, 61], first=29))),),
        "a long gap with a restart": (
            Life((*run([10, 20]), *gap(27, 2), *run([50, 60, 61], first=29, started=20 * SLOTS))),
        ),
        "a new counter after a long gap": (
            Life((*run([None, None]), *gap(27, 2), *run([50, 60, 61], first=29))),
        ),
        "a gap that is too long": (Life((*run([10, 20]), *gap(33, 2), *run([50, 60, 61], first=35))),),
        "a new counter after a gap that is too long": (
            Life((*run([None, None]), *gap(33, 2), *run([50, 60, 61], first=35))),
        ),
    }


def count_checks(scale: Scale) -> list[CountCheck]:
    """Return every world for every evidence series, and the lowest revision of several senders."""
    checks = [
        _check(series, f"{name}, scrapes at {phase}/{SLOTS}", lives, scale)
        for phase in (1, 9)
        for name, lives in worlds(phase).items()
        for series, counter in COUNTERS.items()
        if all(life.betrayed_by != counter for life in lives)
    ]
    return [*checks, _revisions(scale)]


def interval_s(scale: Scale) -> float:
    """An odd interval, so that evaluations fall on every part of a step."""
    return scale.window_s + 0.7 * scale.step_s


def _check(series: str, name: str, lives: Sequence[Life], scale: Scale) -> CountCheck:
    edge = {"le": "0.5"} if series == EVIDENCE_LATENCY_BUCKET else {}
    samples = exported(lives, COUNTERS[series], scale, **edge)
    labels = tuple(sorted((CHILD | edge).items()))
    counted = [life for life in lives if life.job == SENDER_JOB]
    window = round(scale.window_s / scale.step_s) * SLOTS
    windows = []
    for k in range(1, int(samples.end_s / interval_s(scale)) + 3):
        at_s = round(k * interval_s(scale), 3)
        end = int(round((at_s - scale.delay_s) / scale.step_s, 6)) * SLOTS
        known_to = (at_s - scale.delay_s) / scale.step_s * SLOTS
        counts = [truth(life, end - window, end, scale, known_to) for life in counted]
        seen = [count for count in counts if count is not None]
        windows.append((at_s, {labels: sum(seen)} if seen else {}))
    return CountCheck(series, name, samples, tuple(windows))


def _revisions(scale: Scale) -> CountCheck:
    """Two senders obey two revisions, a stranger an older one."""
    steps = round(interval_s(scale) / scale.step_s * SLOTS) * 2
    rows = ((SENDER_JOB, "a", 7.0), (SENDER_JOB, "b", 6.0), ("another", "c", 5.0))
    series = tuple(
        Series(
            ROLLOUT_GATE_REVISION,
            {"job": job, "instance": instance, "feature": feature},
            [revision + more] * steps,
        )
        for job, instance, revision in rows
        for feature, more in (("microsoft", 0), ("google", 10))
    )
    expected: Values = {(("feature", "microsoft"),): 6.0, (("feature", "google"),): 16.0}
    at_s = round(interval_s(scale), 3)
    return CountCheck(
        EVIDENCE_GATE_REVISION, "the lowest", Samples(scale.step_s / SLOTS, series), ((at_s, expected),)
    )
