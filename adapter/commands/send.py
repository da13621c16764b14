"""`rollout send`: one mail from files and options, through the gate as every other."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

import click

from adapter.checks.app_mailboxes import placed
from adapter.checks.mailbox_text import parse_mailbox
from adapter.checks.message_checks import check, check_user_id
from adapter.checks.options import IMPORTANCES, check_sender
from adapter.commands.config import config_option
from adapter.commands.logs import log_to_stderr
from adapter.errors import AuthError, MessageRefusedError, StructuredError
from adapter.message import Attachment, Form, InlineImage, OutgoingMessage
from adapter.providers.provider import Request
from adapter.sending.actions import ACTIONS, Action
from adapter.sending.delivery import Deadline
from adapter.sending.drafts.scheduled import cancel_scheduled
from adapter.sending.files import attach_file, type_of
from adapter.sending.one_send import new_ids
from adapter.sending.runtime import Runtime
from adapter.settings import Settings, SettingsError
from adapter.web.payload import parse_send
from controller.shared.console import NO, UNREACHABLE, USAGE, examples, fail, json_option, print_json, say

SHOWN_CHARACTERS = 120
"""Longer texts are cut where a request is printed."""
TOLD_SHARE = 10
"""Of large files each tenth that is uploaded is shown."""

_MOST_BYTES = 150 * 1024 * 1024
"""What Graph takes of one file, in parts."""
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _images(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[InlineImage]:
    return [_image(value) for value in values]


def _image(text: str) -> InlineImage:
    content_id, found, name = text.partition("=")
    if not found or not Path(name).is_file():
        raise click.BadParameter(f"{text!r}: write CID=FILE, with a file that exists")
    file = _file(Path(name))
    return InlineImage(file.name, file.content_type, file.content, content_id)


def _files(_: click.Context, __: click.Parameter, values: Sequence[Path]) -> list[Attachment]:
    return [_file(path) for path in values]


def _file(path: Path) -> Attachment:
    """Name a file, which is read in parts while it is sent, or refuse it before anything is sent."""
    file = attach_file(path) if path.is_file() else _piped(path)
    if len(file.content) > _MOST_BYTES:
        raise click.BadParameter(f"{path} is larger than {_MOST_BYTES:,} bytes, the most that can be sent")
    return file


def _piped(path: Path) -> Attachment:
    """Read a pipe or a device, which can be read but once; no more of it than may be sent."""
    with path.open("rb") as file:
        return Attachment(path.name, type_of(path), file.read(_MOST_BYTES + 1))


@click.command(
    epilog=examples(
        "rollout send --user ann --to bob@corp.example --subject Hi --text body.txt",
        "rollout send --user ann --to bob@corp.example --html a.html --dry-run",
        "rollout send --user ann --cancel AAMkAD...",
        codes="0 sent, 1 denied, refused, failed or unknown, 2 usage, 3 a server cannot be reached",
    )
)
@click.option("--user", "user_id", help="Whose mailbox sends; the rollout decides by it.")
@click.option(
    "--to", multiple=True, help="One mailbox: b@corp.example or 'Bob <b@corp.example>'; repeatable."
)
@click.option("--cc", multiple=True, help="As --to.")
@click.option("--bcc", multiple=True, help="As --to.")
@click.option("--reply-to", multiple=True, help="As --to.")
@click.option("--subject", default="")
@click.option(
    "--html", "body_html", type=click.File("r", encoding="utf-8"), help="File; - is standard input."
)
@click.option(
    "--text", "body_text", type=click.File("r", encoding="utf-8"), help="File; - is standard input."
)
@click.option(
    "--attach", "attachments", multiple=True, type=_FILE, callback=_files, help="File to send along."
)
@click.option(
    "--inline", "inline_images", multiple=True, callback=_images, metavar="CID=FILE", help="Shown as cid:CID."
)
@click.option("--sender", help="Mailbox to send from, by address or id; needs rights there.")
@click.option(
    "--from", "from_address", help="Address that the recipients see; needs the right to send as it."
)
@click.option("--importance", type=click.Choice(IMPORTANCES), default="normal", show_default=True)
@click.option("--category", "categories", multiple=True, help="Category; may be repeated.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Header of your own; repeatable."
)
@click.option("--read-receipt", is_flag=True, help="Ask for a notice when the mail is read.")
@click.option("--delivery-receipt", is_flag=True, help="Ask for a notice when the mail is delivered.")
@click.option("--no-save", is_flag=True, help="Keep no copy in Sent Items.")
@click.option("--send-at", metavar="TIME", help="When it is delivered, as in 2026-12-24T09:00:00Z.")
@click.option("--cancel", metavar="ID", help="Take back the mail of this id, which waits for its --send-at.")
@click.option("--message", type=click.File("r", encoding="utf-8"), help="All of it as JSON, as over HTTP.")
@click.option("--key", "idempotency_key", help="Idempotency key: the mail of a key is sent once.")
@click.option("--resend-unknown", is_flag=True, help="Send again what may have been sent.")
@click.option("--action", "action_name", default="outlook.send", show_default=True)
@config_option
@click.option("--dry-run", is_flag=True, help="Check, and print the request; ask nobody, send nothing.")
@json_option
def send(
    message: Any, action_name: str, cancel: str | None, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Send one mail, or show what would be sent, or take one back that waits for its time."""
    log_to_stderr()
    action = ACTIONS.get(action_name)
    if action is None:
        fail(f"there is no action {action_name!r}; there are {', '.join(ACTIONS)}")
    try:
        settings = Settings.from_environment()
        if cancel is not None:
            _tell_cancelled(asyncio.run(_cancelled(action, cancel, given, settings)), cancel, as_json)
            return
        arguments = _from_json(message) if message else _from_options(given)
        if dry_run:
            _show(_request(action, arguments, settings), action, settings, as_json)
        else:
            _tell(asyncio.run(_send(action, arguments, settings)), as_json)
    except (SettingsError, ValueError) as error:
        fail(str(error), USAGE)
    except StructuredError as error:
        fail(_advice(error), _exit_code(action, error))


def _from_json(file: TextIO) -> dict[str, Any]:
    try:
        return parse_send(json.loads(_text_of(file)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file.name} is not JSON: {error}") from error


def _text_of(file: TextIO) -> str:
    """Read a whole file; raises ValueError where it is not UTF-8."""
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file.name} is not UTF-8; save it as UTF-8, or attach it") from error


def _from_options(given: Mapping[str, Any]) -> dict[str, Any]:
    if not given["user_id"]:
        raise ValueError("--user is needed (or --message with user_id)")
    bodies = {name: _text_of(given[name]) if given[name] else None for name in ("body_html", "body_text")}
    people = {
        name: [parse_mailbox(text, f"{name}[{number}]") for number, text in enumerate(given[name])]
        for name in ("to", "cc", "bcc", "reply_to")
    }
    options = {
        "from_address": parse_mailbox(given["from_address"], "from_address")
        if given["from_address"]
        else None,
        "headers": dict(_header(text) for text in given["headers"]),
        "save_to_sent_items": not given["no_save"],
    }
    plain = {name: value for name, value in given.items() if name != "no_save"}
    return {**plain, **bodies, **people, **options}


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"--header {text!r}: write NAME:VALUE")
    return name.strip(), value.strip()


async def _send(action: Action, arguments: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    async with Runtime.open(settings) as runtime:
        result = await action.send(**arguments, progress=_Progress(), runtime=runtime)
    told = asdict(result)
    del told["provider_message_id"]
    return {**told, "message_id": result.message_id}


class _Progress:
    """Tells on stderr how far the files are, so that what is printed stays the result alone."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        share = done * 100 // max(total, 1) // TOLD_SHARE * TOLD_SHARE
        if share > self._told:
            self._told = share
            say(f"uploaded {done / 1e6:,.1f} of {total / 1e6:,.1f} MB ({share} %)", err=True)


async def _cancelled(action: Action, message_id: str, given: Mapping[str, Any], settings: Settings) -> bool:
    drafts = action.provider.drafts
    if drafts is None or not given["user_id"]:
        raise ValueError("--cancel needs --user" if drafts else f"{action.name} schedules no mail")
    user_id = check_user_id(given["user_id"])
    asked = OutgoingMessage(sender=check_sender(given["sender"], allow_local=settings.allow_local_domains))
    sender = placed(asked, user_id, settings.mailboxes_of(action.provider.name)).sender
    token_user = settings.token_user(action.provider.name, user_id, sender)
    async with Runtime.open(settings) as runtime:
        ids, deadline = new_ids(action.name, user_id, None), Deadline(settings.send_deadline_s)
        delivery = runtime.delivery(action.provider, token_user, ids, deadline)
        return await cancel_scheduled(delivery, drafts, drafts.mailbox(sender), message_id)


def _tell_cancelled(cancelled: bool, message_id: str, as_json: bool) -> None:
    if as_json:
        print_json({"status": "cancelled" if cancelled else "not_found", "message_id": message_id})
    elif cancelled:
        say("cancelled: it is in Deleted Items, and will not be sent")
    if not cancelled:
        fail("no mail of this id waits: it was sent already, or was never there", NO)


def _request(action: Action, arguments: Mapping[str, Any], settings: Settings) -> Request:
    lists = ("to", "cc", "bcc", "attachments", "inline_images", "reply_to", "categories")
    given: dict[str, Any] = {name: tuple(arguments.get(name) or ()) for name in lists}
    given["headers"] = tuple((arguments.get("headers") or {}).items())
    others = {field.name for field in fields(OutgoingMessage)} - given.keys()
    message = OutgoingMessage(**given, **{name: arguments[name] for name in others & arguments.keys()})
    mail = placed(message, arguments["user_id"], settings.mailboxes_of(action.provider.name))
    checked = check(mail, settings.limits, now=time.time(), allow_local=settings.allow_local_domains)
    ids = new_ids(action.name, arguments["user_id"], arguments.get("idempotency_key"))
    return action.provider.prepare(checked, ids, settings.limits)


def _show(request: Request, action: Action, settings: Settings, as_json: bool) -> None:
    base_url = settings.base_urls.get(action.provider.name, action.provider.base_url)
    url = base_url.rstrip("/") + request.path
    mail = request.upload.body if request.upload else request.body
    written = bytes(mail).decode()
    body = _shortened(json.loads(written)) if request.form is Form.JSON else _cut(written)
    files = {file.name: len(file.content) for file in request.draft.files} if request.draft else {}
    if as_json:
        shown = {"method": "POST", "url": url, "headers": dict(request.headers), "bytes": len(mail)}
        print_json({**shown, "body": body, **({"then_files": files} if request.draft else {})})
        return
    say(f"POST {url}")
    for name, value in request.headers.items():
        say(f"{name}: {value}")
    say(f"Content-Length: {len(mail)}\n")
    say(json.dumps(body, indent=2, ensure_ascii=False) if request.form is Form.JSON else body)
    if request.draft:
        say("\nThis creates a draft. Then its files follow, and it is sent:")
        for name, size in files.items():
            say(f"  {name} ({size:,} bytes)")


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"


def _tell(sent: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"status": "sent", **sent})
        return
    say("already sent with this key" if sent["replayed"] else "sent")
    for name in ("request_id", "client_request_id", "internet_message_id", "message_id", "thread_id", "form"):
        if sent[name]:
            say(f"  {name}: {sent[name]}")


def _advice(error: StructuredError) -> str:
    return f"{error} [{error.reason}]" if error.reason else str(error)


def _exit_code(action: Action, error: StructuredError) -> int:
    if error.code in {action.provider.unreachable_code, "IDEMPOTENCY_UNAVAILABLE"} or error.reason == "stale":
        return UNREACHABLE
    if isinstance(error, AuthError) and error.code.endswith("_AUTH_CLIENT_CONFIG"):
        return USAGE
    return USAGE if isinstance(error, MessageRefusedError) and error.code == "INVALID_REQUEST" else NO
