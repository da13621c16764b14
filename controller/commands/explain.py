"""`rollout explain`: one decision as a person would tell it, and whether it comes out the same again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from controller.commands.common import config_option, settings_from
from controller.config.settings import ControllerSettings
from controller.contract import format_percent
from controller.decision.codec import decode
from controller.decision.model import LIVE, Finding, Kind, Reason, State
from controller.decision.record import UNRELEASED, decided_again, snapshot_from, state_from_dict, verify
from controller.decision.telling.common_cause import comparison_text
from controller.decision.telling.reasons import REASONS
from controller.decision.telling.sentences import count_text, duration_text, finding_text
from controller.journal.sinks import read_file
from controller.shared.console import (
    DONE,
    NO,
    UNREACHABLE,
    USAGE,
    examples,
    fail,
    json_option,
    print_json,
    say,
)
from controller.store.flag_store import StoreError, find_record
from controller.store.opening import open_store

Record = Mapping[str, Any]


@click.command(
    epilog=examples(
        "rollout explain microsoft-1763834129000-1a2b3c4d --verify",
        "rollout explain ID --journal /var/lib/rollout-controller/decisions.jsonl",
    )
)
@click.argument("decision_id", metavar="ID")
@click.option("--verify", "again", is_flag=True, help="Decide again from the record alone, and compare.")
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="A JSONL file, not Redis.")
@config_option
@json_option
def explain(decision_id: str, again: bool, journal: Path | None, config: Path | None, as_json: bool) -> None:
    """Tell one decision: what was seen, what it proved, what was done.

    Exit code 1 when there is no such decision, or when it comes out differently.
    """
    record = _found(settings_from(config), decision_id, journal)
    differences = verify(record) if again else []
    if as_json:
        print_json(
            {"record": record, "verified": not differences if again else None, "differences": differences}
        )
    else:
        say("\n".join(_told_or_not(record)))
        if again:
            say("\n".join(_verdict(differences)))
    raise SystemExit(NO if differences else DONE)


def _found(settings: ControllerSettings, decision_id: str, journal: Path | None) -> Record:
    file = settings.journal if settings.journal is not None and settings.journal.exists() else None
    if journal is not None:
        record = _in_file(journal, decision_id)
    else:
        record = _in_store(settings, decision_id, required=file is None)
        if record is None and file is not None:
            record = _in_file(file, decision_id)
    if record is None:
        fail(f"there is no decision {decision_id!r}; rollout history FEATURE --json lists their ids", NO)
    return record


def _in_store(settings: ControllerSettings, decision_id: str, *, required: bool) -> Record | None:
    try:
        return find_record(open_store(settings), settings.features, decision_id)
    except StoreError as error:
        if not required:
            return None
        fail(f"{error}; check ROLLOUT_REDIS_URL, or read a file with --journal", UNREACHABLE)


def _in_file(path: Path, decision_id: str) -> Record | None:
    try:
        return next((record for record in read_file(path) if record.get("id") == decision_id), None)
    except OSError as error:
        fail(f"{path}: cannot be read ({error.strerror})", USAGE)


def _verdict(differences: list[str]) -> list[str]:
    if not differences:
        return ["Decided again from this record alone: the same."]
    if differences == [UNRELEASED]:
        return [f"Not verified: {UNRELEASED}."]
    return ["Decided again from this record alone, it comes out differently:", *differences]


def _told_or_not(record: Record) -> list[str]:
    """Tell a record; of one that this version cannot read, tell that."""
    try:
        return told(record)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return [
            f"{record['id']}, {_moment(record['at'])}",
            f"{record['actor']}: {record['kind']} {record['reason']}. {record['note']}",
            f"The rest cannot be read here ({type(error).__name__}: {error}); --json shows all of it.",
        ]


def told(record: Record) -> list[str]:
    """Tell a record in sentences."""
    return [
        f"{record['id']}, {_moment(record['at'])}",
        _what(record),
        record["detail"] or REASONS[Reason(record["reason"])],
        *_why(record),
        *_standing(record),
        _written(record),
    ]


def _what(record: Record) -> str:
    before, after = (_percent(record[end]) for end in ("from", "to"))
    done = {
        Kind.HOLD: f"held {record['feature']} at {before}",
        Kind.STEP_UP: f"stepped {record['feature']} up from {before} to {after}",
        Kind.STEP_BACK: f"stepped {record['feature']} back from {before} to {after}",
        Kind.PAUSE: f"paused {record['feature']} at {before}",
        Kind.RESUME: f"resumed {record['feature']} at {before}",
        Kind.SET: f"set {record['feature']} from {before} to {after}",
        Kind.OPEN: f"opened {record['feature']} to all mail at {before}",
        Kind.CLOSE: f"closed {record['feature']} to all but internal mail at {before}",
        Kind.ENABLE: f"enabled {record['feature']} at {before}",
        Kind.DISABLE: f"disabled {record['feature']} at {before}",
        Kind.APPROVE: f"approved a step of {record['feature']}",
        Kind.EXTERNAL_CHANGE: f"changed the flags of {record['feature']} ({before} to {after})",
    }[Kind(record["kind"])]
    note = f', because: "{record["note"]}"' if record.get("note") else ""
    return f"{record['actor']} {done}{note}."


def _why(record: Record) -> list[str]:
    """Tell what was measured and what it is worth; what a person did needs none of it."""
    evidence = record["evidence"]
    if evidence is None or record["kind"] == Kind.EXTERNAL_CHANGE:
        return []
    sends = sum(float(window["sends"]) for window in evidence["windows"])
    windows = len(evidence["windows"])
    measured = f"Measured since the decision before: {count_text(sends)} sends in {windows} window(s)"
    if evidence.get("source") == LIVE:
        failed = sum(float(window["errors"]) for window in evidence["windows"])
        told = f"{count_text(sends)} sends, {count_text(failed)} failed, by {evidence['targets']} process(es)"
        measured = f"Seen live in the {windows} seconds before: {told}"
    ages = [
        f"{what} is {float(age):.1f} s old"
        for what, age in (
            ("the newest sample", evidence["sample_age_s"]),
            ("its input", evidence["input_age_s"]),
        )
        if age is not None
    ]
    said = [f"{measured}; {', '.join(ages)}." if ages else f"{measured}."]
    return said + [_finding(decode(Finding, plain)) for plain in record["findings"]] + _compared(record)


def _compared(record: Record) -> list[str]:
    """Tell the comparison with the reference, where one is configured, as this decision left it."""
    if not record["config"].get("delta"):
        return []
    text = comparison_text(snapshot_from(record).feature, decided_again(record).state)
    return [f"Beside the reference: {text}."] if text else []


def _finding(finding: Finding) -> str:
    return (
        f"{finding.slo}: {finding.verdict}; {finding_text(finding)}. Evidence (ln) of a breach "
        f"{finding.evidence_for_breach:.2f} of {finding.breach_needed:.2f}, of a late change "
        f"{finding.late_evidence:.2f} of {finding.late_needed:.2f}, of health "
        f"{finding.evidence_for_health:.2f} of {finding.health_needed:.2f}."
    )


def _standing(record: Record) -> list[str]:
    state: State = state_from_dict(record["state_before"])
    if not state.step_started_at:
        return []
    step = duration_text(max(record["at"] - state.step_started_at, 0.0))
    standing = (
        f"Before it, the step had lasted {step} with {count_text(state.step_sends)} sends, "
        f"{count_text(state.step_errors)} of them failed. {state.tests_started} step test(s) were begun in "
        f"this ramp, which spent {state.alpha_spent:.3g} of alpha {record['config']['alpha']:g}."
    )
    return [standing]


def _written(record: Record) -> str:
    dry = " (dry run)" if record["dry_run"] else ""
    return (
        f"Written: {record['applied']}{dry}, flags revision {record['revision']}, epoch {record['epoch']}, "
        f"configuration {record['config_hash']}, policy {record['config']['policy']}."
    )


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _percent(flags: Record) -> str:
    return f"{format_percent(flags['rollout_percent'])} %"
