"""Ville's bound, tried on whole days at the limit: whatever people and machines do, alpha holds."""

import json
from random import Random

from kit.examples import share_of
from worlds.snapshots import FEATURE

from controller.contract import Flags
from controller.decision.byhand import by_hand
from controller.decision.decide import assess, decide_bare
from controller.decision.model import Evidence, Kind, Snapshot, State, Window
from controller.decision.record import state_from_dict, state_to_dict
from controller.whatif.simulate import binomial

WINDOW_S, DAY = 30.0, 2880


def paused_by_itself(seed: int) -> bool:
    """Run a day at the limit with 20 resumes, as many restarts, and four changed configurations."""
    rng, state, config = Random(seed), State(), "0"
    flags = Flags(enabled=True, internal_only=False, rollout_percent=0.0, paused=False)
    for number in range(1, DAY):
        at, sends = number * WINDOW_S, 15
        errors, slow = binomial(rng, sends, 0.01), binomial(rng, sends, 0.05)
        window = Window(at, sends, errors, sends, slow)
        evidence = Evidence(now=at, windows=(window,), judged_to=at)
        decision = decide_bare(assess(Snapshot(at, FEATURE, flags, evidence, state, config, WINDOW_S)))
        if decision.kind is Kind.PAUSE:
            return True
        flags, state = decision.flags, decision.state
        if number % (DAY // 20) == 0:
            paused = by_hand(Kind.PAUSE, flags, FEATURE, state, at)
            resumed = by_hand(Kind.RESUME, paused.flags, FEATURE, paused.state, at)
            flags = resumed.flags
            state = state_from_dict(json.loads(json.dumps(state_to_dict(resumed.state))))
        if number % (DAY // 5) == 0:
            config = str(number)
    assert 0 < state.alpha_spent <= FEATURE.alpha
    return False


def test_resumes_restarts_and_changed_configurations_keep_the_chance_of_a_false_pause() -> None:
    days = share_of(400, 4)
    assert sum(map(paused_by_itself, range(days))) <= max(2, 0.05 * days + 2 * (0.05 * days) ** 0.5)
