"""The two forms of a mail: Graph's JSON and RFC 5322; they say the same, and fit exactly."""

import base64
import contextlib
import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.checks.message_checks import check
from adapter.errors import MessageRefusedError
from adapter.message import Attachment, EmailAddress, Form, InlineImage, Limits, OutgoingMessage, SendIds
from adapter.providers.mime.build import build_mime
from adapter.providers.mime.reader import read_mime
from adapter.providers.outlook import Outlook, translate_mime_to_graph
from adapter.sandbox.rules import read_mail

IDS = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "<m1@outlook.send.rollout-controller>")
BOB = EmailAddress("bob@corp.example", "Bob")
RICH = OutgoingMessage(
    to=(BOB, EmailAddress("ann@corp.example")),
    cc=(EmailAddress("c@d.com", 'Müller, "X" <m>'),),
    bcc=(EmailAddress("secret@corp.example"),),
    reply_to=(EmailAddress("desk@corp.example", "Desk, Help"),),
    subject="Grüße \U0001f600 and more",
    body_html='<p>Hi</p><img src="cid:logo">',
    attachments=(
        Attachment("Rechnung ü.pdf", "application/pdf", bytes(range(256)) * 3),
        Attachment("empty.bin", "application/octet-stream", b""),
    ),
    inline_images=(InlineImage("logo.png", "image/png", b"\x89PNG", "logo"),),
)
PLAIN = OutgoingMessage(to=(BOB,), subject="Hi", body_text="Hi")


def prepared(message: OutgoingMessage, limits: Limits | None = None) -> Any:
    return Outlook().prepare(message, IDS, limits or Limits())


def test_html_goes_as_json_that_graph_takes() -> None:
    request = prepared(RICH)
    message = json.loads(bytes(request.body))["message"]
    assert request.form is Form.JSON
    assert message["body"] == {"contentType": "HTML", "content": RICH.body_html}
    assert message["internetMessageId"] == IDS.internet_message_id
    assert message["attachments"][2] == {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": "logo.png",
        "contentType": "image/png",
        "contentBytes": base64.b64encode(b"\x89PNG").decode(),
        "contentId": "logo",
        "isInline": True,
    }
    assert read_mail("application/json", bytes(request.body)).recipients == tuple(
        a.address for a in RICH.recipients
    )


def test_text_alone_goes_as_text() -> None:
    assert json.loads(bytes(prepared(PLAIN).body))["message"]["body"] == {
        "contentType": "Text",
        "content": "Hi",
    }


def test_empty_lists_are_left_out_because_graph_refuses_some() -> None:
    message = json.loads(bytes(prepared(PLAIN).body))["message"]
    assert message.keys() == {"subject", "body", "toRecipients", "internetMessageId"}


def test_html_and_text_go_as_mime_that_graph_takes() -> None:
    both = replace(RICH, body_text="Hi")
    request = prepared(both)
    mail = read_mail(request.headers["Content-Type"], bytes(request.body))
    assert request.form is Form.MIME
    assert mail.recipients == tuple(a.address for a in both.recipients)
    assert mail.subject == both.subject
    assert {(name, size) for name, size, _ in mail.attachments} == {
        (file.name, len(file.content)) for file in both.files
    }


def test_html_and_text_that_do_not_fit_as_mime_go_as_html_alone() -> None:
    """2.4 MB is too much for base64 in base64, and fits as JSON."""
    big = replace(PLAIN, body_html="<p>Hi</p>", attachments=(Attachment("a", "a/b", b"x" * 2_400_000),))
    request = prepared(big)
    assert request.form is Form.JSON
    assert json.loads(bytes(request.body))["message"]["body"]["contentType"] == "HTML"


@pytest.mark.parametrize("both", [False, True])
def test_a_body_of_exactly_the_cap_fits_and_one_byte_more_does_not(both: bool) -> None:
    message = replace(RICH, body_text="Hi" if both else None)
    size = len(prepared(message).body)
    form = prepared(message).form
    assert prepared(message, Limits(max_body_bytes=size)).form is form
    if both:
        assert prepared(message, Limits(max_body_bytes=size - 1)).form is Form.JSON
        return
    with pytest.raises(MessageRefusedError) as caught:
        prepared(message, Limits(max_body_bytes=size - 1))
    assert caught.value.code == "ATTACHMENT_TOO_LARGE"


def test_the_largest_attachment_is_three_quarters_of_the_cap() -> None:
    fits = replace(PLAIN, attachments=(Attachment("a", "a/b", b"x" * 3_145_000),))
    assert len(prepared(fits).body) <= 4 * 1024 * 1024
    with pytest.raises(MessageRefusedError):
        prepared(replace(PLAIN, attachments=(Attachment("a", "a/b", b"x" * 3_145_728),)))


@pytest.mark.parametrize("both", [False, True])
def test_building_needs_at_most_2_2_times_the_body(both: bool) -> None:
    content = b"x" * (2_000_000 if both else 3_000_000)
    message = replace(RICH, body_text="Hi" if both else None, attachments=(Attachment("a", "a/b", content),))
    prepared(PLAIN)
    tracemalloc.start()
    body = bytes(prepared(message).body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 2.2 * len(body)


@pytest.mark.parametrize("both", [False, True])
def test_a_body_that_is_sent_block_by_block_needs_little_memory(both: bool) -> None:
    content = bytes(range(256)) * 8000
    message = replace(RICH, body_text="Hi" if both else None, attachments=(Attachment("a", "a/b", content),))
    tracemalloc.start()
    size = sum(len(block) for block in prepared(message).body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 0.5 * size


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 58_368, 58_369, 196_607, 196_608, 196_609, 400_001])
def test_files_of_any_size_come_through_both_forms(size: int) -> None:
    content = (bytes(range(251)) * 1600)[:size]
    message = replace(
        PLAIN, body_html="<p>Hi</p>", body_text=None, attachments=(Attachment("a", "a/b", content),)
    )
    request = prepared(message)
    sent = json.loads(bytes(request.body))["message"]["attachments"][0]["contentBytes"]
    assert base64.b64decode(sent, validate=True) == content
    mime = build_mime(message, IDS)
    assert len(bytes(mime)) == mime.size
    assert read_mime(mime)[0].attachments[0].content == content
    both = prepared(replace(message, body_text="Hi"))
    assert len(bytes(both.body)) == len(both.body)
    assert base64.b64decode(bytes(both.body), validate=True) == bytes(
        build_mime(replace(message, body_text="Hi"), IDS)
    )


def test_mime_translates_to_the_same_json_as_is_sent_directly() -> None:
    assert translate_mime_to_graph(build_mime(RICH, IDS)) == json.loads(bytes(prepared(RICH).body))


def test_a_name_that_is_folded_is_one_word_again_when_it_is_translated() -> None:
    """RFC 2047, 6.2: blanks between two encoded words are no part of the text."""
    name = "Jürgen Müller-Lüdenscheidt, Geschäftsführung der Städtischen Wäscherei"
    [recipient] = translate_mime_to_graph(
        build_mime(replace(RICH, to=(EmailAddress("j@corp.example", name),)), IDS)
    )["message"]["toRecipients"]
    assert recipient["emailAddress"]["name"] == name


def test_a_mail_of_another_builder_translates_too() -> None:
    raw = bytes(build_mime(RICH, IDS))
    assert translate_mime_to_graph(raw) == json.loads(bytes(prepared(RICH).body))


def test_a_mail_in_an_unknown_character_set_is_refused() -> None:
    with pytest.raises(MessageRefusedError, match="the character set 'none'") as refused:
        translate_mime_to_graph(b"Content-Type: text/plain; charset=none\r\n\r\nH\xff")
    assert (refused.value.code, refused.value.field) == ("INVALID_HEADER", "mime_output")


SCRAPS = ["=?", "?=", "utf-8", "?q?", "?b?", "YQ==", "a", *'@<>,;:()[]"\\ =', "\r\n ", "ü", "filename*0="]
scraps = st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join)


@given(scraps, scraps, scraps, scraps)
@example("<", "", "", "")
@example("", "", "<a@", "")
def test_a_broken_mail_is_read_or_refused(to: str, subject: str, message_id: str, file: str) -> None:
    """The standard library raises errors of many kinds at some of them, each version at others."""
    raw = (
        f"To: {to}\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\nContent-Disposition: {file}\r\n\r\nHi"
    )
    with contextlib.suppress(MessageRefusedError):
        translate_mime_to_graph(raw.encode())


TRICKY = 'aä, "\\=?_\t<>@();:.𐀀'
tricky = st.text(TRICKY, max_size=120)
names = st.one_of(st.none(), st.text(max_size=80), tricky)
domains = st.sampled_from(["corp.example", "bücher.de", "a.test"])
people = st.lists(
    st.builds(lambda n, d, name: EmailAddress(f"u{n}@{d}", name), st.integers(0, 999), domains, names),
    max_size=4,
).map(tuple)
files = st.lists(
    st.builds(
        Attachment,
        st.one_of(st.text(max_size=40), tricky),
        st.sampled_from(["a/b", "text/plain", ""]),
        st.binary(max_size=90),
    ),
    max_size=3,
).map(tuple)
messages = st.builds(
    OutgoingMessage,
    to=people,
    cc=people,
    bcc=people,
    reply_to=people,
    subject=st.one_of(st.text(max_size=200), tricky),
    body_html=st.one_of(st.none(), st.text(max_size=200)),
    body_text=st.one_of(st.none(), st.text(max_size=200)),
    attachments=files,
)


@given(messages)
def test_no_mail_crashes_and_none_injects_a_header(message: OutgoingMessage) -> None:
    """What is not refused is taken by Graph's rules, and says as MIME what it says as JSON."""
    try:
        checked = check(message, Limits())
    except MessageRefusedError:
        return
    request = prepared(checked)
    assert len(bytes(request.body)) == len(request.body), "the size is known before the body is made"
    mail = read_mail(request.headers["Content-Type"], bytes(request.body))
    assert mail.recipients == tuple(a.address for a in checked.recipients)
    assert mail.subject == checked.subject
    mime = build_mime(checked, IDS)
    head = mime.skeleton.partition(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 998
    back, message_id = read_mime(mime)
    assert message_id == IDS.internet_message_id
    assert list(back.named_addresses()) == list(checked.named_addresses())
    assert back.subject == checked.subject
    assert [file.content for file in back.attachments] == [file.content for file in checked.attachments]
    assert [file.name for file in back.attachments] == [file.name for file in checked.attachments]


@given(st.integers(0, 3000), st.integers(1, 6000), st.booleans())
def test_no_body_is_over_the_cap(size: int, cap: int, both: bool) -> None:
    message = replace(
        PLAIN, body_html="<p>Hi</p>" if both else None, attachments=(Attachment("a", "a/b", b"x" * size),)
    )
    with contextlib.suppress(MessageRefusedError):
        assert len(bytes(prepared(message, Limits(max_body_bytes=cap)).body)) <= cap


def test_the_sandbox_takes_the_spelling_of_microsofts_own_sdk() -> None:
    body = {
        "Message": {
            "@odata.type": "#microsoft.graph.message",
            "attachments": [],
            "body": {"content": "<p>Hi</p>", "contentType": "html"},
            "subject": "Hi",
            "toRecipients": [{"emailAddress": {"address": "bob@corp.example"}}],
        },
        "SaveToSentItems": True,
    }
    assert read_mail("application/json", json.dumps(body).encode()).recipients == ("bob@corp.example",)
