"""`rollout demo`: the whole loop for real on loopback, with a fault, a pause, a resume and 100 %."""

import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from controller.decision.model import LIVE
from controller.demo.story import SCENARIOS, StoryError, StoryProgress, look, rest, tell
from controller.demo.view import StoryView
from controller.demo.world import Mails, World, build
from controller.sandbox.processes import Processes, StartError
from controller.sandbox.servers import MissingServerError
from controller.shared.console import NO, UNREACHABLE, examples, fail, print_table, say
from controller.store.flag_store import StoreError

_PULSE_S = 0.25
_WINDOWS_ALONE_S = 45.0
"""With windows and ticks of 30 s an outage is answered at the end of its first window, and a tick later."""


@click.command(epilog=examples("rollout demo", "rollout demo --scenario sender-dies", "rollout demo --keep"))
@click.option(
    "--scenario",
    type=click.Choice(SCENARIOS),
    default="outage",
    show_default=True,
    help="What goes wrong at 25 %.",
)
@click.option("--keep", is_flag=True, help="Leave everything running for exploring, until Ctrl-C.")
@click.option("--plain", is_flag=True, help="Print lines, no live panel.")
def demo(scenario: str, keep: bool, plain: bool) -> None:
    """Move real senders from a local Gmail to a local Graph, break something at 25 %, and see it through.

    Starts redis-server, Prometheus, both sandboxes, two sender processes with 10,000 users and the
    controller, all on loopback and on free ports; ends them all, and leaves no file behind.
    """
    signal.signal(signal.SIGTERM, _end)
    folder = Path(tempfile.mkdtemp(prefix="rollout-demo-"))
    try:
        with Processes(folder) as processes:
            _run(processes, scenario, keep=keep, plain=plain)
    except (StartError, MissingServerError) as error:
        fail(str(error), UNREACHABLE)
    except (StoryError, StoreError) as error:
        fail(f"the demo did not come to its end: {error}", NO)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _run(processes: Processes, scenario: str, *, keep: bool, plain: bool) -> None:
    console = Console(force_terminal=False if plain else None, highlight=False)
    console.print(
        "starting redis-server, Prometheus, a local Graph and Gmail, two senders and the controller ..."
    )
    world = build(processes)
    print_table(("process", "pid", "port"), [(p.name, p.pid, p.port) for p in world.listed])
    console.print(f"watch it at http://{world.settings.listen}/ while it lasts, about a minute")
    seen = StoryProgress()
    with StoryView(console) as view:
        for sentence in chain(tell(world, seen, scenario), rest(world)):
            if sentence:
                view.say(sentence)
            time.sleep(0 if sentence else _PULSE_S)
            look(world, seen)
            view.refresh(seen)
    _summary(seen, view, world.mails())
    if keep:
        _keep(world, console)


def _summary(seen: StoryProgress, view: StoryView, mails: Mails) -> None:
    kinds = Counter(f"{record['kind']} ({record['reason']})" for record in seen.records)
    sends, failed = seen.measured.get("sends", 0.0), seen.measured.get("failed", 0.0)
    say("")
    if seen.fault_at:
        answer_s = seen.pause_at - seen.fault_at
        by = "live counts" if seen.answered_by == LIVE else "windows"
        say(f"time from the fault to the answer  {answer_s:.1f} s, by {by}")
        say(f"failed sends of the fault          {seen.harmed:.0f}{_alone(seen, answer_s)}")
    say(f"sends by microsoft                 {sends:.0f}")
    say(f"failed sends                       {failed:.0f} ({100 * failed / max(sends, 1):.2f} %)")
    say(f"mails that users wrote             {mails.written}")
    say(f"  lost                             {mails.lost}")
    say(f"  delivered twice                  {mails.twice}")
    say(f"  sent by the fallback (google)    {mails.by_fallback}")
    say(f"from start to 100 %                {view.elapsed_s:.0f} s")
    say(f"decisions                          {sum(kinds.values())}")
    print_table(("", ""), [(f"  {name}", count) for name, count in kinds.most_common()])


def _alone(seen: StoryProgress, answer_s: float) -> str:
    """Estimate what the fault costs where nobody tells live counts, and windows are as long as they are."""
    if seen.answered_by != LIVE or answer_s <= 0:
        return ""
    about = seen.harmed / answer_s * _WINDOWS_ALONE_S
    return f"; by windows of 30 s alone about {about:,.0f}"


def _keep(world: World, console: Console) -> None:
    settings = world.settings
    lines: dict[str, Any] = {
        "status page and API": f"http://{settings.listen}/",
        "Prometheus": settings.prometheus_url,
        "Graph, what arrived": f"{world.graph_url}/sandbox/messages",
        "Gmail, what arrived": f"{world.gmail_url}/sandbox/messages",
        "first": f"export ROLLOUT_CONFIG={settings.config_path}",
        "then": "rollout status --watch",
        "or": f"redis-cli -u {settings.redis_url} set flags:microsoft:paused true",
    }
    print_table(("left running", "Ctrl-C ends it"), lines.items())
    console.print("")
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
