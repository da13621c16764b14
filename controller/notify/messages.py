"""Notices: what of a record is worth telling, and in which words and shape each receiver gets it. Pure."""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from controller.config.receivers import Receiver
from controller.contract import format_percent
from controller.decision.model import AT_REST
from controller.shared.plain_text import clean, fit_line

_WHAT = {
    "step_up": "stepped up",
    "pause": "paused",
    "step_back": "stepped back",
    "external_change": "changed from outside",
    "resume": "resumed",
    "set": "set by hand",
    "open": "opened to all mail",
    "close": "closed to all but internal mail",
    "enable": "switched on",
    "disable": "switched off",
    "approve": "approved",
    "long_hold": "holding for long",
    "leader": "led by another controller",
}
_MARKDOWN = re.compile(r"[\\`*_~\[\]]|(?<=\])\(")
_STOPS = {"pause", "step_back", "external_change", "long_hold"}
_TOLD_WHOLE = 3
"""Of more features that one tick stopped only the names are told."""
_BRIEF = ("id", "at", "feature", "kind", "reason", "from", "to", "actor", "epoch", "revision")
_IN_BRIEF = 200
"""Many receivers refuse a body above some hundred kB, and what is refused once is refused for good."""
_LONGEST = 2_500
"""Characters of a sentence about several features; Slack takes 3,000."""
_NEVER_WRITTEN = {"conflict", "failed", "skipped"}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told; `id` is the same however often it is sent."""

    id: str
    event: str
    record: Mapping[str, Any]
    others: tuple[Mapping[str, Any], ...] = ()
    """Records of other features that the same tick stopped."""

    @property
    def urgent(self) -> bool:
        """Whether something has stopped."""
        return self.event in _STOPS


def notices_of(record: Mapping[str, Any], longest_hold_s: float) -> list[Notice]:
    """Return what a record is worth telling, whoever wants to hear it.

    A long hold and a leader have ids that later records of the same hold or leader give again.
    """
    if record["applied"] in _NEVER_WRITTEN or record["dry_run"]:
        return []
    found = []
    if record["epoch"] > 1:
        found.append(Notice(f"leader-{record['epoch']}", "leader", record))
    if record["kind"] != "hold":
        found.append(Notice(record["id"], record["kind"], record))
    since = record["state_before"].get("held_since") or record["at"]
    if record["kind"] == "hold" and _waits(record) and record["at"] - since > longest_hold_s:
        found.append(Notice(f"long_hold-{record['feature']}-{int(since * 1000)}", "long_hold", record))
    return found


def _waits(record: Mapping[str, Any]) -> bool:
    """Whether a hold is one that should end: a feature that is off, or through, may stay so."""
    return record["reason"] not in AT_REST


def words(notice: Notice, receiver: Receiver) -> dict[str, str]:
    """Return what a template may name; each text prints. With several features the link leads to all."""
    known = _words(notice.record, notice.event, receiver)
    return known | {"link": receiver.link} if notice.others else known


def _words(record: Mapping[str, Any], event: str, receiver: Receiver) -> dict[str, str]:
    found = {
        "feature": record["feature"],
        "what": _WHAT[event],
        "percent": format_percent(record["to"]["rollout_percent"]),
        "detail": " ".join(part for part in (record["note"], record["detail"]) if part),
        "actor": record["actor"],
        "note": record["note"],
        "reason": record["reason"],
        "at": str(record["at"]),
        "id": record["id"],
        "link": f"{receiver.link.rstrip('/')}/features/{record['feature']}" if receiver.link else "",
    }
    return {name: clean(text) for name, text in found.items()}


def sentence(notice: Notice, receiver: Receiver) -> str:
    """Return a notice as one sentence, by the receiver's template; of several features, one for each."""
    told = [_sentence(notice.record, notice.event, receiver)]
    if not notice.others:
        return told[0]
    told += [_sentence(other, other["kind"], receiver) for other in notice.others[: _TOLD_WHOLE - 1]]
    left = len(notice.others) + 1 - len(told)
    more = [f"And {left} more."] if left else []
    together = f"Stopped in one tick, so a common cause is likely: {_names(notice)}."
    return fit_line(" ".join([together, *told, *more]), _LONGEST)


def _sentence(record: Mapping[str, Any], event: str, receiver: Receiver) -> str:
    return " ".join(receiver.template.format_map(_words(record, event, receiver)).split())


def _names(notice: Notice) -> str:
    return fit_line(", ".join(one["feature"] for one in (notice.record, *notice.others)))


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP request: body and headers, ready to be sent as often as it takes."""

    body: bytes
    headers: Mapping[str, str]


def message(notice: Notice, receiver: Receiver, now: float) -> Message:
    """Write a notice as this receiver takes it; `now` is unix seconds, for the signature."""
    body = json.dumps(_SHAPES[receiver.kind](notice, receiver), separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "rollout-controller",
        "Idempotency-Key": notice.id,
        "X-Rollout-Event": notice.event,
    }
    if receiver.secret:
        headers["X-Rollout-Signature"] = signature(receiver.secret, body, now)
    return Message(body, headers)


def signature(secret: str, body: bytes, now: float) -> str:
    """Sign a body and the time, as `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`."""
    signed = f"{int(now)}.".encode() + body
    return f"t={int(now)},v1={hmac.new(secret.encode(), signed, sha256).hexdigest()}"


def _webhook(notice: Notice, receiver: Receiver) -> dict[str, Any]:
    record = notice.record
    return {
        "id": notice.id,
        "event": notice.event,
        "feature": record["feature"],
        "at": record["at"],
        "percent": record["to"]["rollout_percent"],
        "text": sentence(notice, receiver),
        "link": words(notice, receiver)["link"],
        "record": dict(record),
        "others": [_in_brief(other) for other in notice.others[:_IN_BRIEF]],
        "others_left_out": max(len(notice.others) - _IN_BRIEF, 0),
    }


def _in_brief(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what was measured and known before, which makes most of its size."""
    brief = {name: record[name] for name in _BRIEF}
    return brief | {"detail": fit_line(clean(record["detail"]))}


def _slack(notice: Notice, receiver: Receiver) -> dict[str, Any]:
    text = _for_slack(sentence(notice, receiver))
    link = words(notice, receiver)["link"]
    shown = f"{':octagonal_sign: ' if notice.urgent else ''}{text}{f' <{link}|Look at it>' if link else ''}"
    said = {"type": "mrkdwn", "text": shown, "verbatim": True}  # no mention or link but those written as one
    return {"text": text, "blocks": [{"type": "section", "text": said}]}


def _for_slack(text: str) -> str:
    """Escape the three characters that Slack reads as more than text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_teams(text: str) -> str:
    """Escape what Teams reads as Markdown: a reason may not become a link under another name."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _teams(notice: Notice, receiver: Receiver) -> dict[str, Any]:
    link = words(notice, receiver)["link"]
    block = {"type": "TextBlock", "text": _for_teams(sentence(notice, receiver)), "wrap": True}
    if notice.urgent:
        block |= {"color": "Attention", "weight": "Bolder"}
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [block],
    }
    if link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Look at it", "url": link}]
    content = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [content]}


_SHAPES = {"webhook": _webhook, "slack": _slack, "teams": _teams}


def mail(notice: Notice, receiver: Receiver) -> tuple[str, str]:
    """Write a notice as subject and text of an email."""
    known = words(notice, receiver)
    at = f"{known['feature']} {known['what']} at {known['percent']} %"
    subject = f"{_names(notice)}: stopped in one tick" if notice.others else at
    return subject, "\n\n".join(part for part in (sentence(notice, receiver), known["link"]) if part)
