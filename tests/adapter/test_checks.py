"""What is refused before anything is sent: code and field, and what is cleaned instead."""

from dataclasses import replace
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st
from kit.examples import examples

from adapter.checks.addresses import PUBLIC_ENDING, check_address
from adapter.checks.message_checks import check
from adapter.errors import MessageRefusedError
from adapter.message import Attachment, EmailAddress, InlineImage, Limits, OutgoingMessage

BOB = EmailAddress("bob@corp.example")
MAIL = OutgoingMessage(to=(BOB,), subject="Hi", body_html="<p>Hi</p>")
PICTURE = InlineImage("logo.png", "image/png", b"png", "logo")
FILE = Attachment("a.txt", "text/plain", b"a")


def mail(**changed: Any) -> OutgoingMessage:
    return replace(MAIL, **changed)


def to(address: str, name: str | None = None) -> OutgoingMessage:
    return mail(to=(EmailAddress(address, name),))


REFUSED: list[tuple[str, OutgoingMessage, str, str]] = [
    ("no recipient", mail(to=()), "INVALID_RECIPIENT", "to"),
    ("text in the place of an address", mail(to=("a@b.com",)), "INVALID_RECIPIENT", "to[0]"),
    ("no address", to(""), "INVALID_RECIPIENT", "to[0]"),
    ("two addresses in one", to("a@b.com;c@d.com"), "INVALID_RECIPIENT", "to[0]"),
    ("a list of addresses", to("a@b.com, c@d.com"), "INVALID_RECIPIENT", "to[0]"),
    ("a header behind an address", to("a@b.com\r\nBcc: x@y.com"), "INVALID_RECIPIENT", "to[0]"),
    ("a line break behind an address", to("a@b.com\n"), "INVALID_RECIPIENT", "to[0]"),
    ("NUL in an address", to("a\0@b.com"), "INVALID_RECIPIENT", "to[0]"),
    ("text that turns round", to("a\u202e@b.com"), "INVALID_RECIPIENT", "to[0]"),
    ("no domain", to("bob"), "INVALID_RECIPIENT", "to[0]"),
    ("a domain without a dot", to("bob@localhost"), "INVALID_RECIPIENT", "to[0]"),
    ("a local part of 65 letters", to("a" * 65 + "@b.com"), "INVALID_RECIPIENT", "to[0]"),
    ("letters Exchange does not take", to("bö@b.com"), "INVALID_RECIPIENT", "to[0]"),
    ("half a character", to("a\ud800@b.com"), "INVALID_RECIPIENT", "to[0]"),
    ("cc", mail(cc=(BOB, EmailAddress("x"))), "INVALID_RECIPIENT", "cc[1]"),
    ("bcc", mail(bcc=(EmailAddress("x"),)), "INVALID_RECIPIENT", "bcc[0]"),
    ("reply to", mail(reply_to=(EmailAddress("x"),)), "INVALID_RECIPIENT", "reply_to[0]"),
    ("151 recipients", mail(to=(BOB,) * 100, bcc=(BOB,) * 51), "TOO_MANY_RECIPIENTS", "to"),
    ("21 attachments", mail(attachments=(FILE,) * 21), "TOO_MANY_ATTACHMENTS", "attachments"),
    ("a break in the subject", mail(subject="Hi\r\nBcc: x@y.com"), "INVALID_HEADER", "subject"),
    ("NUL in the subject", mail(subject="Hi\0"), "INVALID_HEADER", "subject"),
    ("Unicode's own line break", mail(subject="Hi\u2028Bcc: x"), "INVALID_HEADER", "subject"),
    ("a break in a name", to("a@b.com", "A\nBcc: x"), "INVALID_HEADER", "to[0].name"),
    (
        "a break in a file name",
        mail(attachments=(Attachment("a\r\nX: y", "a/b", b""),)),
        "INVALID_HEADER",
        "attachments[0].name",
    ),
    (
        "a break in a type",
        mail(attachments=(Attachment("a", "text/plain\r\nX: y", b""),)),
        "INVALID_HEADER",
        "attachments[0].content_type",
    ),
    (
        "no type at all",
        mail(attachments=(Attachment("a", "nonsense", b""),)),
        "INVALID_HEADER",
        "attachments[0].content_type",
    ),
    (
        "a break in a content id",
        mail(inline_images=(replace(PICTURE, content_id="a\r\nb"),)),
        "INVALID_HEADER",
        "inline_images[0].content_id",
    ),
    (
        "a blank in a content id",
        mail(inline_images=(replace(PICTURE, content_id="a b"),)),
        "INVALID_HEADER",
        "inline_images[0].content_id",
    ),
    ("no picture", mail(body_html="<img src='cid:logo'>"), "ORPHAN_CID", "body_html"),
    (
        "a picture that is not shown",
        mail(inline_images=(PICTURE,)),
        "ORPHAN_CID",
        "inline_images[0].content_id",
    ),
    (
        "a picture without HTML",
        mail(body_html=None, body_text="Hi", inline_images=(PICTURE,)),
        "ORPHAN_CID",
        "inline_images[0].content_id",
    ),
    (
        "two pictures of one id",
        mail(body_html="<img src=cid:logo>", inline_images=(PICTURE, PICTURE)),
        "ORPHAN_CID",
        "inline_images[1].content_id",
    ),
    (
        "another case of letters",
        mail(body_html="<img src=cid:LOGO>", inline_images=(PICTURE,)),
        "ORPHAN_CID",
        "body_html",
    ),
    ("no body", mail(body_html=None), "EMPTY_MESSAGE", "body_html"),
    ("blanks for a body", mail(body_html=" \n", body_text=""), "EMPTY_MESSAGE", "body_html"),
]


@pytest.mark.parametrize(("message", "code", "field"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_a_mail_is_refused_with_its_code_and_field(message: OutgoingMessage, code: str, field: str) -> None:
    with pytest.raises(MessageRefusedError) as caught:
        check(message, Limits())
    assert (caught.value.code, caught.value.field, str(caught.value.source)) == (code, field, "caller")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("bob@Corp.Example", "bob@corp.example"),
        ("bob@bücher.example", "bob@xn--bcher-kva.example"),
        ("a@b。com", "a@b.com"),
        ("bob+tag@sub.corp.test", "bob+tag@sub.corp.test"),
        ("o'neil@printer.local", "o'neil@printer.local"),
        ("Bob@corp.internal", "Bob@corp.internal"),
    ],
)
def test_an_address_is_sent_in_ascii(given: str, sent: str) -> None:
    assert check(to(given), Limits()).to[0].address == sent


@given(st.text("aZ0._+-", min_size=1, max_size=66), st.text("az09.-", min_size=1, max_size=66))
@example("a", "b--c.example")
@example("a", "xn--c.example")
@example("a", f"{'b' * 63}.example")
@example("a" * 65, "b.example")
@example("INFO", "b.example")
@example("Postmaster", "b.example")
@examples(1000)
def test_an_address_is_taken_where_the_library_takes_it(local_part: str, domain: str) -> None:
    address = f"{local_part}@{domain}"
    try:
        taken = validate_email(address + PUBLIC_ENDING, check_deliverability=False, strict=True).normalized
    except EmailNotValidError:
        with pytest.raises(MessageRefusedError):
            check_address(EmailAddress(address), "to", allow_local=True)
    else:
        assert check_address(EmailAddress(address), "to", allow_local=True).address + PUBLIC_ENDING == taken


def test_a_domain_without_a_dot_can_be_allowed() -> None:
    assert check(to("bob@exchange"), Limits(), allow_local=True).to[0].address == "bob@exchange"


def test_a_name_loses_the_marks_that_turn_it_round() -> None:
    assert check(to("a@b.com", "\u202eBob\u2069"), Limits()).to[0].name == "Bob"


def test_blanks_in_a_row_are_one_in_a_name() -> None:
    assert check(to("a@b.com", " Bob\t  Brown"), Limits()).to[0].name == "Bob Brown"


def test_150_recipients_and_20_files_are_taken() -> None:
    full = mail(to=(BOB,) * 50, cc=(BOB,) * 50, bcc=(BOB,) * 50, attachments=(FILE,) * 20)
    assert check(full, Limits()).recipients == full.recipients


def test_the_limits_are_settings() -> None:
    with pytest.raises(MessageRefusedError, match="at most 1"):
        check(mail(to=(BOB, BOB)), Limits(max_recipients=1))


def test_a_content_id_may_be_given_in_angle_brackets() -> None:
    shown = mail(body_html="<img src=cid:logo>", inline_images=(replace(PICTURE, content_id="<logo>"),))
    assert check(shown, Limits()).inline_images[0].content_id == "logo"


def test_an_attachment_alone_makes_a_mail() -> None:
    assert check(mail(body_html="", attachments=(FILE,)), Limits()).body_html is None


def test_a_file_of_no_type_is_sent_as_bytes() -> None:
    sent = check(mail(attachments=(replace(FILE, content_type=""),)), Limits())
    assert sent.attachments[0].content_type == "application/octet-stream"


def test_half_a_character_in_a_body_is_replaced() -> None:
    assert check(mail(body_html="a\ud800b"), Limits()).body_html == "a?b"
