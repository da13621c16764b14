"""`rollout journal verify`: whether each change follows from the one before, and all copies agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, feature_argument, features_named, settings_from
from controller.config.settings import ControllerSettings
from controller.decision.record import changed_flags, flags_to_dict
from controller.decision.record import verify as recompute
from controller.journal.sinks import read_file, rotated_files
from controller.journal.verify import differences, inconsistencies
from controller.shared.console import (
    NO,
    UNREACHABLE,
    examples,
    fail,
    json_option,
    print_json,
    print_table,
    say,
)
from controller.store.flag_store import Stored, StoreError
from controller.store.opening import open_store


@click.group(epilog=examples("rollout journal verify"))
def journal() -> None:
    """Check the journal of decisions."""


@journal.command(
    "verify", epilog=examples("rollout journal verify", "rollout journal verify microsoft --json")
)
@feature_argument(required=False)
@config_option
@json_option
def verify(feature: str | None, config: Path | None, as_json: bool) -> None:
    """Check the chain of revisions, the stream in Redis against the file, and each decision by itself.

    Exits 1 when something does not fit, 3 when Redis is away; the file is checked then all the same.
    """
    settings = settings_from(config)
    chosen = features_named(settings, feature)
    in_file = _records_of_files(settings)
    found = {name: list(_problems(settings, name, in_file.get(name, []))) for name in chosen}
    rows = [(name, place, problem) for name, problems in found.items() for place, problem in problems]
    if as_json:
        print_json([dict(zip(("feature", "where", "problem"), row, strict=True)) for row in rows])
    elif rows:
        print_table(("feature", "where", "problem"), rows)
    else:
        say(f"{', '.join(chosen)}: every change follows from the one before it")
    if any(place == "redis" for _, place, _ in rows):
        fail("Redis could not be read, so only the file was checked", UNREACHABLE)
    if rows:
        fail(f"{len(rows)} problem(s); see above", NO)


def _records_of_files(settings: ControllerSettings) -> dict[str, list[dict[str, Any]]]:
    """Return the records of the journal's file and of those rotated away from it, by feature."""
    records: dict[str, list[dict[str, Any]]] = {}
    for path in rotated_files(settings.journal) if settings.journal else ():
        try:
            for record in read_file(path):
                records.setdefault(record["feature"], []).append(record)
        except OSError as error:
            fail(f"{path} cannot be read ({error.strerror}); run this as the daemon's user", NO)
    return records


def _problems(
    settings: ControllerSettings, name: str, in_file: list[dict[str, Any]]
) -> Iterator[tuple[str, str]]:
    try:
        store = open_store(settings)
        [stored] = store.read([name])
        in_stream = list(store.history(name))
    except StoreError as error:
        yield "redis", str(error)
    else:
        yield from (("stream", problem) for problem in inconsistencies(in_stream))
        yield from (("stream, file", problem) for problem in differences(in_stream, in_file))
        yield from (("flags", problem) for problem in _other_flags(stored, in_stream or in_file))
        yield from (("stream", problem) for problem in _decided_otherwise(in_stream))
    yield from (("file", problem) for problem in inconsistencies([r for r in in_file if not r["dry_run"]]))


def _decided_otherwise(records: list[dict[str, Any]]) -> Iterator[str]:
    changes = (record for record in records if changed_flags(record))
    return (f"{r['id']}: {problem}" for r in changes for problem in recompute(r))


def _other_flags(stored: Stored, records: list[dict[str, Any]]) -> Iterator[str]:
    """Compare the flags with the newest record; an edit by hand differs until the next tick."""
    last = next((record for record in reversed(records) if record["applied"] == "applied"), None)
    if last is None:
        return
    now = flags_to_dict(stored.flags)
    if last["to"] != now:
        yield f"are {now}, but the newest record, {last['id']}, left {last['to']}"
