"""Looks at what the controller decided last, and repeats what it holds on for want of usable metrics."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from controller.config.settings import ControllerSettings
from controller.decision.model import METRICS_PROBLEMS, Kind, Reason
from controller.doctor.finding import DoctorFinding, bad
from controller.store.flag_store import StoreError
from controller.store.opening import open_store

_TOLD = METRICS_PROBLEMS | {Reason.GATE_NOT_CONVERGED}
_FARTHEST = 3000
"""So many decisions are looked back through: a day of ticks of 30 s."""


def look_at_holds(settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Yield a finding for each feature that its metrics hold."""
    store = open_store(settings, dry_run=True)
    for name in settings.features:
        try:
            records = list(store.history(name, newest=_FARTHEST))
        except StoreError:
            return  # said where Redis is looked at
        words = hold_in_words(records, time.time())
        if words:
            yield bad(name, words, "do what it says; the next decision follows within a tick")


def hold_in_words(records: Sequence[Mapping[str, Any]], now: float) -> str:
    """Say what the newest decisions hold on, since when and for how many ticks; nothing where they do not."""
    if not records or (records[-1].get("kind"), records[-1].get("reason")) not in _HOLDS:
        return ""
    last, alike = records[-1], 0
    for record in reversed(records):
        if (record.get("kind"), record.get("reason")) != (last["kind"], last["reason"]):
            break
        alike += 1
    since, today = (datetime.fromtimestamp(at).astimezone() for at in (float(records[-alike]["at"]), now))
    day = "" if since.date() == today.date() else f"{since:%Y-%m-%d} "
    ticks = f"{alike} tick{'s' if alike > 1 else ''}"
    return f"hold {last['reason']} since {day}{since:%H:%M} ({ticks}): {last.get('detail', '')}"


_HOLDS = {(Kind.HOLD.value, reason.value) for reason in _TOLD}
