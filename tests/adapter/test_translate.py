"""A mail that is translated to Graph's JSON is carried whole, or refused with the name of what cannot be."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.examples import examples

from adapter.errors import MessageRefusedError
from adapter.message import Attachment, OutgoingMessage, SendIds
from adapter.providers.mime.build import build_mime
from adapter.providers.mime.reader import read_mime
from adapter.providers.outlook import translate_mime_to_graph

MAILS = Path(__file__).parent / "mails"


def translated(raw: bytes) -> dict[str, Any]:
    message: dict[str, Any] = translate_mime_to_graph(raw)["message"]
    return message


def given_mail(name: str) -> dict[str, Any]:
    [path] = MAILS.glob(f"{name}-*.eml")
    return translated(path.read_bytes())


def files(message: dict[str, Any]) -> dict[str, bytes]:
    return {one["name"]: base64.b64decode(one["contentBytes"]) for one in message.get("attachments", ())}


def people(message: dict[str, Any]) -> list[tuple[str, str]]:
    found = [one["emailAddress"] for one in message.get("toRecipients", ())]
    return [(one["address"], one.get("name", "")) for one in found]


def with_part(part: str, *, before: str = "Content-Type: text/plain\n\nHi\n") -> bytes:
    head = "To: bob@corp.example\nContent-Type: multipart/mixed; boundary=m\n\n"
    return f"{head}--m\n{before}--m\n{part}\n--m--\n".encode()


def test_a_root_with_a_content_id_is_the_body() -> None:
    message = given_mail("m01")
    assert message["body"]["content"].startswith("<p>Hello Bob</p>")
    assert message["attachments"][0]["contentId"] == "logo@x"


def test_a_mail_attached_to_a_mail_is_a_file_with_its_bytes_and_no_text_of_the_senders() -> None:
    message = given_mail("m02")
    assert message["body"] == {"contentType": "Text", "content": "Please see the attached complaint."}
    raw = (MAILS / "m02-mail-attached-to-a-mail.eml").read_bytes()
    assert files(message)["complaint.eml"] == raw.partition(b'filename="complaint.eml"\r\n\r\n')[
        2
    ].removesuffix(b"\r\n--m--\r\n")


def test_text_after_a_picture_is_read_too() -> None:
    message = given_mail("m05")
    assert message["body"]["content"] == "Before the picture.\nAFTER the picture: the price is 5000."
    assert files(message) == {"p.jpg": b"\xff\xd8\xff"[:3]}


def test_a_raw_utf8_name_is_read() -> None:
    assert people(given_mail("m06")) == [("bob@corp.example", "J\u00fcrgen M\u00fcller")]


def test_a_picture_that_the_html_shows_is_shown_whatever_its_disposition_says() -> None:
    assert given_mail("m07")["attachments"][0]["isInline"] is True


@pytest.mark.parametrize(
    ("name", "text"),
    [("m15", "\u6731\u9555\u57fa \u5586\n"), ("m16", "Price \u20ac 5 \u2013 it\u2019s \u201cok\u201d\n")],
)
def test_character_sets_mean_what_the_web_means_by_them(name: str, text: str) -> None:
    assert given_mail(name)["body"]["content"] == text


def test_a_thousand_comments_within_each_other_are_read_over() -> None:
    assert people(given_mail("m19")) == [("bob@corp.example", "")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m03", "text/calendar is another form of the text"),
        ("m10", "bob@old.example <bob@corp.example>' has a name that must stand in quotes"),
        ("m11", "has a semicolon"),
        ("m13", "MissingHeaderBodySeparator"),
        ("m18", "multipart/signed is signed or encrypted"),
    ],
)
def test_what_json_cannot_carry_is_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(MessageRefusedError, match=reason):
        given_mail(name)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!!", "is not the base64"),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: x-zip\n\nx", "transfer encoding 'x-zip'"),
        ("Content-Type: text/plain; charset=klingon\n\nx", "character set 'klingon'"),
        ("Content-Type: text/plain; charset=utf-16\n\nx", "character set 'utf-16'"),
        ("Content-Type: multipart/encrypted; boundary=e\n\n--e\n\nx\n--e--", "signed or encrypted"),
        ("Content-Type: multipart/mixed\n\nx", "NoBoundaryInMultipart"),
        ("Content-Type: multipart/mixed; boundary=e\n\n--e\n\nx\n", "CloseBoundaryNotFound"),
        (
            "Content-Type: multipart/related; boundary=e\n\n--e\nContent-Type: text/html\n\nx\n--e--",
            "second text",
        ),
    ],
)
def test_a_part_that_cannot_be_read_is_refused_by_name(part: str, reason: str) -> None:
    with pytest.raises(MessageRefusedError, match=reason) as refused:
        translated(with_part(part))
    assert refused.value.field == "mime_output"


@pytest.mark.parametrize("header", ["Subject", "Content-Transfer-Encoding"])
def test_a_header_that_may_stand_once_and_stands_twice_is_refused(header: str) -> None:
    with pytest.raises(MessageRefusedError, match=f"{header} 2 times"):
        translated(f"To: a@b.com\n{header}: 8bit\n{header}: base64\n\nx".encode())


def test_a_mail_that_is_sealed_as_a_whole_is_refused() -> None:
    with pytest.raises(MessageRefusedError, match="signed or encrypted"):
        translated(b"To: a@b.com\nContent-Type: application/pkcs7-mime; name=smime.p7m\n\nx")


def test_every_header_of_recipients_counts() -> None:
    raw = b"To: a@corp.example\nTO: Team: b@corp.example, C <c@corp.example>;\n\nx"
    assert [address for address, _ in people(translated(raw))] == [f"{n}@corp.example" for n in "abc"]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("Content-Type: image/png\n\nx", "part-1.png"),
        ("Content-Type: message/rfc822\n\nSubject: s\n\nx", "part-1.eml"),
        ("Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nStatus: 5.1.1\n", "part-1"),
        ("Content-Type: text/html\n\n<p>more</p>", "part-1.html"),
        ("Content-Type: text/plain; name=notes.txt\n\nx", "notes.txt"),
        (
            "Content-Type: text/plain\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.txt\n\nx",
            "\u00fc.txt",
        ),
        ('Content-Type: a/b; name="=?utf-8?q?=C3=BC=2Etxt?="\n\nx', "\u00fc.txt"),
        ('Content-Type: a/b; name="\u00fc.txt"\n\nx', "\u00fc.txt"),
        ("Content-Type: a/b; name=../../etc/passwd\n\nx", "passwd"),
    ],
)
def test_a_file_has_its_own_name_or_one_made_for_it(part: str, name: str) -> None:
    assert list(files(translated(with_part(part)))) == [name]


def test_a_files_type_keeps_what_it_says_of_the_content() -> None:
    kind = 'text/calendar; method=REQUEST; charset="utf-8"; name=i.ics'
    part = f"Content-Type: {kind}\nContent-Disposition: attachment\n\nx"
    assert (
        translated(with_part(part))["attachments"][0]["contentType"]
        == "text/calendar; method=REQUEST; charset=utf-8"
    )


def test_the_mime_form_keeps_the_parameters_of_a_type() -> None:
    sent = OutgoingMessage(
        body_text="Hi",
        attachments=(Attachment("i.ics", "text/calendar; method=REQUEST; charset=utf-8", b"BEGIN"),),
    )
    assert read_mime(build_mime(sent, SendIds("c", "<m@x>")))[0].attachments == sent.attachments


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert (
        translated("To: a@b.com\nContent-Type: text/plain; charset=utf-8\n\n\ufeffHi".encode())["body"][
            "content"
        ]
        == "Hi"
    )


def test_twenty_thousand_parts_are_read_in_one_pass() -> None:
    part = b"--m\r\nContent-Type: application/x\r\n\r\nabc\r\n"
    raw = b"To: a@b.com\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n" + part * 20_000 + b"--m--\r\n"
    assert len(read_mime(raw)[0].attachments) == 20_000


def test_a_mail_that_nests_too_deep_is_refused() -> None:
    opening = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(2000))
    with pytest.raises(MessageRefusedError, match="more than 30 multiparts"):
        translated(opening.encode())


@dataclass(frozen=True)
class Leaf:
    """A part with content that is found again by its number."""

    kind: str
    disposition: str
    has_name: bool
    encoding: str
    cid: bool


@dataclass(frozen=True)
class Node:
    kind: str
    children: "tuple[Leaf | Node, ...]"


leaves = st.builds(
    Leaf,
    st.sampled_from(
        ["text/plain", "text/html", "text/calendar", "image/png", "application/pdf", "message/rfc822"]
    ),
    st.sampled_from(["", "inline", "attachment"]),
    st.booleans(),
    st.sampled_from(["", "8bit", "base64", "quoted-printable"]),
    st.booleans(),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        Node,
        st.sampled_from(["mixed", "alternative", "related", "signed", "report", "digest"]),
        st.lists(inner, min_size=1, max_size=4).map(tuple),
    ),
    max_leaves=8,
)


def written(tree: Leaf | Node, marks: list[str], boundaries: list[str]) -> str:
    """Write the tree as MIME; each leaf's content is a mark of its own."""
    if isinstance(tree, Node):
        boundary = f"b{len(boundaries)}"
        boundaries.append(boundary)
        inner = "".join(f"--{boundary}\n{written(child, marks, boundaries)}\n" for child in tree.children)
        return f"Content-Type: multipart/{tree.kind}; boundary={boundary}\n\n{inner}--{boundary}--"
    mark = f"mark-{len(marks)}-end"
    marks.append(mark)
    lines = [f"Content-Type: {tree.kind}" + (f"; name=f{len(marks)}" if tree.has_name else "")]
    lines += [f"Content-Disposition: {tree.disposition}"] if tree.disposition else []
    lines += [f"Content-Transfer-Encoding: {tree.encoding}"] if tree.encoding else []
    lines += [f"Content-ID: <{mark}>"] if tree.cid else []
    content = base64.b64encode(mark.encode()).decode() if tree.encoding == "base64" else mark
    return "\n".join(lines) + f"\n\n{content}"


@examples(20_000)
@given(trees)
def test_every_leaf_of_a_random_mail_is_found_again_or_the_mail_is_refused(tree: Leaf | Node) -> None:
    marks: list[str] = []
    raw = "To: bob@corp.example\n" + written(tree, marks, [])
    try:
        message, _ = read_mime(raw.encode())
    except MessageRefusedError as error:
        named = str(error)
        assert "the part " in named, named
        return
    contents = [file.content[:].decode() for file in message.files]
    texts = [message.body_html or "", message.body_text or ""]
    for mark in marks:
        places = sum(content.count(mark) for content in contents) + sum(text.count(mark) for text in texts)
        assert places == 1, (mark, raw)
