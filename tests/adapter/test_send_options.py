"""Every option of a mail is carried, in JSON and in the MIME form, or the mail is refused before any post."""

import base64
import email.policy
import json
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from click.testing import CliRunner

from adapter.checks.message_checks import check
from adapter.errors import MessageRefusedError
from adapter.message import EmailAddress, Form, Limits, OutgoingMessage, SendIds
from adapter.providers.outlook import Outlook
from adapter.sandbox.rules import read_mail
from adapter.web.payload import parse_send
from controller.cli import rollout

IDS = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "<m1@x>")
PLAIN = OutgoingMessage(to=(EmailAddress("bob@corp.example"),), subject="Hi", body_text="Hi")
DESK = EmailAddress("desk@corp.example", "Desk, Help")
GUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


def prepared(message: OutgoingMessage) -> Any:
    request = Outlook().prepare(check(message, Limits()), IDS, Limits())
    read_mail(request.headers["Content-Type"], bytes(request.body))
    return request


def as_json(message: OutgoingMessage) -> dict[str, Any]:
    request = prepared(message)
    assert request.form is Form.JSON
    body: dict[str, Any] = json.loads(bytes(request.body))
    return body


def as_mime(message: OutgoingMessage) -> EmailMessage:
    """Return the MIME form, which a mail with both bodies takes."""
    request = prepared(replace(message, body_html="<p>Hi</p>"))
    assert request.form is Form.MIME
    return BytesParser(policy=email.policy.default).parsebytes(base64.b64decode(bytes(request.body)))


def test_a_mail_without_options_says_nothing_of_them() -> None:
    assert as_json(PLAIN)["message"].keys() == {"subject", "body", "toRecipients", "internetMessageId"}
    assert set(as_mime(PLAIN).keys()) == {"To", "Subject", "Message-ID", "MIME-Version", "Content-Type"}


@pytest.mark.parametrize(
    ("given", "field", "value", "header", "written"),
    [
        ({"importance": "high"}, "importance", "high", "Importance", "high"),
        ({"importance": "low"}, "importance", "low", "Importance", "low"),
        ({"categories": ("Red", "Grün")}, "categories", ["Red", "Grün"], "Keywords", "Red, Grün"),
        (
            {"from_address": DESK},
            "from",
            {"emailAddress": {"address": DESK.address, "name": DESK.name}},
            "From",
            '"Desk, Help" <desk@corp.example>',
        ),
        (
            {"headers": (("X-Run", "42"),)},
            "internetMessageHeaders",
            [{"name": "X-Run", "value": "42"}],
            "X-Run",
            "42",
        ),
        (
            {"read_receipt": True, "from_address": DESK},
            "isReadReceiptRequested",
            True,
            "Disposition-Notification-To",
            "<desk@corp.example>",
        ),
        (
            {"delivery_receipt": True, "sender": "desk@corp.example"},
            "isDeliveryReceiptRequested",
            True,
            "Return-Receipt-To",
            "<desk@corp.example>",
        ),
    ],
)
def test_an_option_is_in_both_forms(
    given: dict[str, Any], field: str, value: object, header: str, written: str
) -> None:
    message = replace(PLAIN, **given)
    assert as_json(message)["message"][field] == value
    found = str(as_mime(message)[header])
    assert (
        found if header in {"From", "Keywords", "X-Run", "Importance"} else f"<{found.strip('<>')}>"
    ) == written


def test_no_copy_in_sent_items_needs_json_and_says_so() -> None:
    message = replace(PLAIN, save_to_sent_items=False)
    assert as_json(message)["saveToSentItems"] is False
    assert as_json(replace(message, body_html="<p>Hi</p>"))["saveToSentItems"] is False


def test_a_receipt_without_a_known_address_goes_as_json() -> None:
    assert as_json(replace(PLAIN, body_html="<p>Hi</p>", read_receipt=True))["message"][
        "isReadReceiptRequested"
    ]


@pytest.mark.parametrize(
    ("sender", "path"),
    [
        (None, "/me/sendMail"),
        ("desk@corp.example", "/users/desk@corp.example/sendMail"),
        (GUID, f"/users/{GUID}/sendMail"),
    ],
)
@pytest.mark.parametrize("html", [None, "<p>Hi</p>"])
def test_the_mailbox_that_sends_is_in_the_path_of_both_forms(
    sender: str | None, path: str, html: str | None
) -> None:
    assert prepared(replace(PLAIN, sender=sender, body_html=html)).path == path


@pytest.mark.parametrize(
    "headers",
    [
        (("List-Unsubscribe", "<https://corp.example/u?" + "a" * 80 + ">"),),
        tuple((f"X-{n}", "v") for n in range(6)),
    ],
)
def test_headers_that_json_has_no_place_for_go_in_the_mime_form_as_they_are(
    headers: tuple[tuple[str, str], ...],
) -> None:
    request = prepared(replace(PLAIN, headers=headers))
    assert request.form is Form.MIME
    raw = base64.b64decode(bytes(request.body)).decode()
    assert all(f"\r\n{name}: {value}\r\n" in raw for name, value in headers)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"importance": "urgent"}, "importance"),
    ({"categories": ("a,b",)}, "categories[0]"),
    ({"categories": ("",)}, "categories[0]"),
    ({"categories": tuple("abcdefghijklmnopqrstuvwxyz")}, "categories"),
    ({"categories": ("a\r\nBcc: x@y.z",)}, "categories[0]"),
    ({"headers": (("X-A", "1\r\nBcc: x@y.z"),)}, "headers.X-A"),
    ({"headers": (("X A", "1"),)}, "headers.X A"),
    ({"headers": (("X-A\r\nBcc", "1"),)}, "headers"),
    ({"headers": (("Bcc", "x@y.z"),)}, "headers.Bcc"),
    ({"headers": (("Content-Type", "text/html"),)}, "headers.Content-Type"),
    ({"headers": (("X-A", "1"), ("x-a", "2"))}, "headers.x-a"),
    ({"headers": (("X-A", ""),)}, "headers.X-A"),
    ({"headers": (("X-A", "a" * 901),)}, "headers.X-A"),
    ({"headers": (("X-A", 5),)}, "headers.X-A"),
    ({"headers": tuple((f"X-{n}", "v") for n in range(31))}, "headers"),
    ({"sender": "../me"}, "sender"),
    ({"sender": "a@corp.example/messages"}, "sender"),
    ({"sender": ""}, "sender"),
    ({"from_address": EmailAddress("nobody")}, "from_address"),
    ({"save_to_sent_items": "false"}, "save_to_sent_items"),
    ({"headers": (("List-Id", "<l>"),), "save_to_sent_items": False}, "headers"),
    ({"headers": (("List-Id", "<l>"),), "read_receipt": True}, "headers"),
]


@pytest.mark.parametrize(("given", "field"), REFUSED, ids=[str(given)[:50] for given, _ in REFUSED])
def test_a_bad_value_is_refused_before_any_post_and_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(MessageRefusedError) as refused:
        prepared(replace(PLAIN, **given))
    assert refused.value.field == field


def test_over_http_and_from_a_shell_the_options_are_the_same() -> None:
    over_http = parse_send(
        {
            "to": [{"address": "bob@corp.example"}],
            "user_id": "u",
            "sender": "desk@corp.example",
            "from_address": {"address": "desk@corp.example", "name": "Desk"},
            "importance": "high",
            "categories": ["Red"],
            "headers": {"X-Run": "42"},
            "read_receipt": True,
            "delivery_receipt": True,
            "save_to_sent_items": False,
        }
    )
    assert over_http["from_address"] == EmailAddress("desk@corp.example", "Desk")
    options = "--sender desk@corp.example --importance high --category Red --header X-Run:42 --read-receipt"
    more = ["--from", "Desk <desk@corp.example>", "--delivery-receipt", "--no-save"]
    send = ["send", "--user", "u", "--to", "bob@corp.example", "--text", "-", "--dry-run", "--json"]
    result = CliRunner().invoke(rollout, [*send, *options.split(), *more], input="Hi")
    shown = json.loads(result.stdout)
    assert shown["url"].endswith("/users/desk@corp.example/sendMail")
    assert shown["body"]["saveToSentItems"] is False
    message = shown["body"]["message"]
    assert message["from"] == {"emailAddress": {"address": "desk@corp.example", "name": "Desk"}}
    assert message["internetMessageHeaders"] == [{"name": "X-Run", "value": "42"}]
    assert (message["importance"], message["categories"]) == ("high", ["Red"])
    assert message["isReadReceiptRequested"] is message["isDeliveryReceiptRequested"] is True


@pytest.mark.parametrize("field", ["headers", "categories", "read_receipt", "from_address", "sender"])
def test_a_field_of_another_type_is_refused_over_http(field: str) -> None:
    with pytest.raises(MessageRefusedError):
        parse_send({"to": [{"address": "b@c.d"}], "user_id": "u", field: 5})
