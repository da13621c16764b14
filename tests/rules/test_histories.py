"""Of random histories no window counts more than was sent, and none that is not doubted counts less."""

import re
from collections import defaultdict
from collections.abc import Sequence

from kit.examples import amount
from worlds.histories import DELAY_S, END_S, ENDS, WINDOW_S, History, history

from controller.alertcheck.cases.synthetic_series import Samples
from controller.alertcheck.promtool import input_series, run
from controller.contract import EVIDENCE_DOUBT, EVIDENCE_ERRORS, EVIDENCE_SENDS
from controller.rules.evidence_rules import evidence_group
from controller.rules.model import Recording
from controller.rules.scale import Scale
from controller.rules.scope import Scope

HISTORIES = amount("HISTORIES", soak=10_000, usually=150)
A_RUN = 25
"""promtool holds no more than 10,000 samples at a time."""
RULES = [one for one in evidence_group(Scale(), Scope()).rules if isinstance(one, Recording)]
_SAMPLE = re.compile(r"\{([^}]*)\} (\S+?)(?:,|\s|$)")
Found = dict[tuple[str, int], float]
"""By history and window."""


def counts(histories: Sequence[History]) -> tuple[Found, Found, Found]:
    """Return the sends, the failed sends and the number of doubts of each window."""
    by_series = {
        name: " or ".join(f"({rule.expr})" for rule in RULES if rule.name == name)
        for name in (EVIDENCE_SENDS, EVIDENCE_ERRORS)
    }
    doubts = " or ".join(
        f'label_replace({rule.expr}, "why", "{rule.labels["why"]}", "", "")'
        for rule in RULES
        if rule.name == EVIDENCE_DOUBT and rule.labels["why"] not in {"unequal", "edge"}
    )
    named = "sum by (history) (label_replace({}, 'history', '$1', 'provider', '(.*)'))"
    asked = [*(named.format(expr) for expr in by_series.values()), f"count by (history) ({doubts})"]
    series = tuple(one for made in histories for target in made.targets for one in target.series())
    checks = [
        {"expr": expr, "eval_time": f"{(end + DELAY_S) * 1000 + 1 + kind}ms", "exp_samples": []}
        for end in ENDS
        for kind, expr in enumerate(asked)
    ]
    test = {"interval": "1s", "input_series": input_series(Samples(1.0, series)), "promql_expr_test": checks}
    found: tuple[Found, Found, Found] = ({}, {}, {})
    for one in run({"rule_files": [], "evaluation_interval": "30s", "tests": [test]}, "promtool"):
        assert "err:" not in one.got, one.got[-200:]
        end, kind = one.at_ms // 1000 - DELAY_S, one.at_ms % 1000 - 1
        for labels, value in _SAMPLE.findall(one.got.partition("got:")[2]):
            found[kind][re.findall(r'history="(\w+)"', labels)[0], end] = float(value)
    return found


def test_no_history_counts_too_much_or_unsaid_too_little() -> None:
    wrong: dict[str, list[str]] = defaultdict(list)
    doubted = windows = 0
    for first in range(0, HISTORIES, A_RUN):
        histories = [history(number) for number in range(first, min(first + A_RUN, HISTORIES))]
        sends, errors, doubts = counts(histories)
        for made in histories:
            total = (0.0, 0.0)
            began = made.truth(ENDS[0] - WINDOW_S)
            for end in ENDS:
                key = (made.name, end)
                total = (total[0] + sends.get(key, 0.0), total[1] + errors.get(key, 0.0))
                true = made.truth(end)
                windows += 1
                if total[0] > (true[0] - began[0]) * 1.01 + _scrape_before(made, ENDS[0] - WINDOW_S)[0]:
                    wrong[made.name].append(f"{end}: {total[0]:g} sends counted, {true[0] - began[0]} sent")
                doubted += key in doubts
                scraped = made.scraped(end)[1] - made.scraped(end - WINDOW_S)[1]
                short = errors.get(key, 0.0) < scraped
                if key not in doubts and short and not made.hides_processes(end):
                    wrong[made.name].append(
                        f"{end}: {errors.get(key, 0.0):g} of {scraped} failures, undoubted"
                    )
    assert dict(wrong) == {}
    assert doubted < 0.8 * windows, "what is always doubted would prove nothing"


def _scrape_before(made: History, at: int) -> tuple[int, int]:
    """Return what had been sent before an instant and not yet been scraped: the first window has it."""
    true, scraped = made.truth(at), made.scraped(at)
    return true[0] - scraped[0], true[1] - scraped[1]


def test_the_histories_last_as_long_as_their_windows() -> None:
    assert max(ENDS) + WINDOW_S <= END_S
