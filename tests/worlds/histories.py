"""Random histories of sender processes and of the targets that Prometheus sees them through. Pure.

A process sends once a second, some of it fails, and its own counts are the truth. A lane is one address with
what happens behind it: restarts, new labels, several workers, gaps, resets, late discovery. Seconds since 0.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from operator import itemgetter

from controller.alertcheck.cases.synthetic_series import Series
from controller.contract import ACTION_ERROR_TOTAL, ACTION_EXEC_TOTAL

END_S, SCRAPE_S, WINDOW_S, DELAY_S = 480, 10, 30, 5
ENDS = range(2 * WINDOW_S, END_S - WINDOW_S, WINDOW_S)
"""The ends of the windows, before the rules' delay."""
OLD_S = 5000
"""How long processes that are there from the beginning may have run already."""


@dataclass(frozen=True)
class Process:
    """One process: when it lived, what it says of its start, and what it has counted after each second."""

    born: int
    died: int
    says: float | None
    sends: tuple[int, ...]
    errors: tuple[int, ...]
    instance: str
    fell: int | None = None
    """When its counters began again although it did not."""

    def counted(self, at: int) -> tuple[int, int]:
        """Return what it had sent in truth, and what of it had failed."""
        second = max(min(at, self.died) - max(self.born, 0), 0)
        return (self.sends[second], self.errors[second]) if second else (self.sends[0], self.errors[0])

    def shows(self, at: int) -> tuple[int, int]:
        """Return what its counters show."""
        sends, errors = self.counted(at)
        if self.fell is None or at < self.fell:
            return sends, errors
        before = self.counted(self.fell)
        return sends - before[0], errors - before[1]

    def alive(self, at: int) -> bool:
        return self.born <= at < self.died


@dataclass
class Seen:
    """One target: its labels, and what each scrape of it gave; None is a scrape that failed."""

    labels: dict[str, str]
    scrapes: dict[int, Process | None] = field(default_factory=dict)
    gone: int | None = None

    def series(self) -> Iterator[Series]:
        child = self.labels | {"provider": self.labels["history"], "action": "a.b"}
        columns: tuple[tuple[str, dict[str, str], Callable[[Process, int], float | None]], ...] = (
            ("process_start_time_seconds", self.labels, lambda process, _: process.says),
            (ACTION_EXEC_TOTAL, child, lambda process, at: process.shows(at)[0]),
            (ACTION_ERROR_TOTAL, child, lambda process, at: process.shows(at)[1]),
        )
        yield Series("up", self.labels, self._column(lambda one, _: 0.0 if one is None else 1.0))
        for name, labels, read in columns:
            yield Series(name, labels, self._column(partial(_answered, read)))

    def _column(self, read: Callable[[Process | None, int], float | None]) -> list[float | None]:
        values: list[float | None] = [float("nan")] * END_S
        for at, process in self.scrapes.items():
            values[at] = read(process, at)
        if self.gone is not None and self.gone < END_S:
            values[self.gone] = None
        return values


def _answered(read: Callable[[Process, int], float | None], process: Process | None, at: int) -> float | None:
    return None if process is None else read(process, at)


@dataclass
class History:
    """One feature's senders."""

    name: str
    targets: list[Seen] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)

    def truth(self, at: int) -> tuple[int, int]:
        """Return all sends up to a second, and those that failed."""
        counts = [process.counted(at) for process in self.processes if process.born < at]
        return sum(sends for sends, _ in counts), sum(errors for _, errors in counts)

    def hides_processes(self, until: int) -> bool:
        """Whether several processes behind a target looked like one in the ten windows until then."""
        since = until - 10 * WINDOW_S
        lately = [
            {at: one for at, one in seen.scrapes.items() if since < at <= until} for seen in self.targets
        ]
        return any(_look_like_one(scrapes) for scrapes in lately)

    def scraped(self, until: int) -> tuple[int, int]:
        """Return what all processes had counted when last scraped; all of one known to be gone."""
        counts = [process.counted(self._last_told(process, until)) for process in self.processes]
        return sum(sends for sends, _ in counts), sum(errors for _, errors in counts)

    def _last_told(self, process: Process, until: int) -> int:
        """Return up to when a process's counts are known, or known to be missing: Prometheus asked again."""
        seen = [one for one in self.targets if one.labels["instance"] == process.instance]
        missed = [at for one in seen for at in one.scrapes if at >= process.died]
        missed += [one.gone for one in seen if one.gone is not None and one.gone >= min(process.died, END_S)]
        gone = [one.gone for one in seen if one.gone is not None]
        if not missed and len(gone) == len(seen):
            missed = gone
        if missed and min(missed) <= until:
            return END_S
        told = [at for one in seen for at, who in one.scrapes.items() if who is process and at <= until]
        return max(told, default=max(process.born, 0))


def _look_like_one(scrapes: Mapping[int, Process | None]) -> bool:
    """Whether several processes answered, with one start and counters that only rose."""
    answered = [(at, process) for at, process in sorted(scrapes.items(), key=itemgetter(0)) if process]
    shown = [process.shows(at) for at, process in answered]
    return (
        len({id(process) for _, process in answered}) > 1
        and len({process.says for _, process in answered}) == 1
        and all(one[0] <= other[0] and one[1] <= other[1] for one, other in pairwise(shown))
    )


def history(number: int) -> History:
    """Return the history of a number: the same one each time."""
    chance = random.Random(number)
    made = History(f"h{number}")
    for lane in range(chance.randint(1, 3)):
        chance.choice(LANES)(_Lane(made, chance, f"10.0.0.{lane}:9100"))
    return made


@dataclass
class _Lane:
    """Makes what happens behind one address."""

    made: History
    chance: random.Random
    instance: str

    def process(
        self, born: int | None = None, died: int = END_S, says: float | None = -1.0, **more: int
    ) -> Process:
        chance, born = self.chance, -chance_age(self.chance) if born is None else born
        rate, share = chance.choice((0, 1, 5, 50)), chance.choice((0.0, 0.03, 0.3, 1.0))
        # What was sent before the beginning is one number; its first entry.
        before = rate * max(-born, 0)
        per_s = [chance.randint(0, 2 * rate) for _ in range(max(died - max(born, 0), 0) + 1)]
        failed = [sum(chance.random() < share for _ in range(one)) for one in per_s]
        per_s[0], failed[0] = before, round(before * chance.choice((0.0, share, 0.5)))
        told = born - chance.uniform(0, 0.9) if says == -1.0 else says
        one = Process(
            born, died, told, tuple(accumulate(per_s)), tuple(accumulate(failed)), self.instance, **more
        )
        self.made.processes.append(one)
        return one

    def target(self, **labels: str) -> Seen:
        one = Seen({"job": "rollout-sender", "instance": self.instance, "history": self.made.name, **labels})
        self.made.targets.append(one)
        return one

    def times(self, since: int = 0, until: int = END_S, *, late: bool = False) -> Iterator[int]:
        """Yield when a target is scraped: never right on a step, where Prometheus 2 and 3 differ."""
        phase = self.chance.randint(2, 8)
        for at in range(phase, END_S - 1, SCRAPE_S):
            if late and self.chance.random() < 0.1:
                continue
            if since <= at < until:
                yield at

    def scrape(self, seen: Seen, processes: Sequence[Process], since: int = 0, until: int = END_S) -> None:
        """Scrape whichever of these processes lives, one after the other."""
        for turn, at in enumerate(self.times(since, until)):
            living = [one for one in processes if one.alive(at)]
            seen.scrapes[at] = living[turn % len(living)] if living else None


def chance_age(chance: random.Random) -> int:
    return chance.choice((0, 40, 400, OLD_S))


def steady(lane: _Lane) -> None:
    lane.scrape(lane.target(), [lane.process()])


def restarts(lane: _Lane) -> None:
    """A rolling deploy, or a crash loop."""
    chance, seen = lane.chance, lane.target()
    life_s = chance.choice((7, 25, 90, 200))
    at, lives = -chance_age(chance), []
    until = chance.randint(20, 100)
    while at < END_S:
        lives.append(lane.process(at, until))
        at = until + chance.choice((0, 1, 5, 40))
        until = at + chance.randint(life_s // 2 + 1, 2 * life_s)
    lane.scrape(seen, lives)


def relabelled(lane: _Lane) -> None:
    """New labels of a running process, once or several times."""
    process, since = lane.process(), 0
    for turn in range(lane.chance.randint(2, 3)):
        until = since + lane.chance.randint(60, 200)
        seen = lane.target(pod=f"p{turn}")
        lane.scrape(seen, [process], since, until)
        if seen.scrapes:
            seen.gone = max(seen.scrapes) + lane.chance.randint(1, 5)
        since = until


def workers(lane: _Lane) -> None:
    """Several processes behind one address, some of which began at once, or tell no start."""
    chance = lane.chance
    age, alike = chance_age(chance), chance.random() < 0.4
    says: float | None = -age - 0.5 if alike else -1.0
    if chance.random() < 0.2:
        says = None
    lane.scrape(lane.target(), [lane.process(-age, says=says) for _ in range(chance.randint(2, 4))])


def gaps(lane: _Lane) -> None:
    """Scrapes that fail or are missing while the process lives on."""
    seen, process = lane.target(), lane.process()
    lane.scrape(seen, [process])
    times = sorted(seen.scrapes)
    for _ in range(lane.chance.randint(1, 3)):
        first, length = lane.chance.randrange(len(times)), lane.chance.choice((1, 2, 5, 33))
        for at in times[first : first + length]:
            if lane.chance.random() < 0.5:
                seen.scrapes[at] = None
            else:
                seen.scrapes.pop(at, None)


def late_scrapes(lane: _Lane) -> None:
    seen, process = lane.target(), lane.process()
    for at in lane.times(late=True):
        moved = at + lane.chance.randint(-1, 1)
        seen.scrapes[moved] = process


def reset(lane: _Lane) -> None:
    """Counters that begin again in a running process, or one that tells no start."""
    says = lane.chance.choice((None, -1.0))
    lane.scrape(lane.target(), [lane.process(says=says, fell=lane.chance.randint(50, 400))])


def comes_and_goes(lane: _Lane) -> None:
    """Autoscaling: found some time after it began, taken away some time after it ended."""
    chance = lane.chance
    born = chance.randint(20, 200)
    process = lane.process(born, born + chance.randint(30, 250))
    seen = lane.target()
    gone = process.died + chance.choice((0, 15, 60))
    lane.scrape(seen, [process], born + chance.choice((0, 3, 15, 60)), gone)
    if seen.scrapes:
        seen.gone = min(max(seen.scrapes) + 3, END_S - 1)


LANES: tuple[Callable[[_Lane], None], ...] = (
    steady,
    restarts,
    relabelled,
    workers,
    gaps,
    late_scrapes,
    reset,
    comes_and_goes,
)
