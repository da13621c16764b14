"""A mail in RFC 5322 taken apart. Pure.

One rule: every recipient, every body and every part is carried, or the mail is refused with the name of what
cannot be. Of a text in two forms (multipart/alternative) both are read. A second plain text continues the
first, as mail programs show it; every other part is a file.
"""

from dataclasses import dataclass, field

from adapter.checks.addresses import check_address
from adapter.checks.cids import shown_cids
from adapter.checks.encoded_words import decode_words
from adapter.checks.filenames import safe_name
from adapter.checks.headers import check_header
from adapter.checks.mailbox_text import parse_mailbox_list
from adapter.message import Attachment, EmailAddress, InlineImage, OutgoingMessage
from adapter.providers.mime.build import MimeOutput
from adapter.providers.mime.part import (
    Part,
    content_id,
    content_of,
    described,
    file_name,
    full_type,
    header_text,
    header_texts,
    is_attachment,
    made_up_name,
    parse,
    refuse,
    text_of,
    type_of,
)

PROTECTED = {"multipart/signed", "multipart/encrypted"}
"""Whoever rewrites these breaks the signature or loses the text."""
SEALED = {"application/pkcs7-mime", "application/x-pkcs7-mime"}


@dataclass(slots=True)
class _Read:
    """What was found so far, in the order of the mail."""

    plain: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    files: list[Part] = field(default_factory=list)

    def add(self, other: "_Read") -> None:
        if self.plain and other.plain and not self.plain[-1].endswith("\n"):
            self.plain.append("\n")
        self.plain += other.plain
        self.html += other.html
        self.files += other.files


def read_mime(mime_output: MimeOutput | bytes) -> tuple[OutgoingMessage, str]:
    """Return the mail and its Message-ID. Raises MessageRefusedError with the name of what cannot be carried.

    The code is INVALID_RECIPIENT for an address, INVALID_HEADER for everything else.
    """
    mail = parse(bytes(mime_output))
    found = _read(mail)
    html = "".join(found.html) if found.html else None
    shown = shown_cids(html or "")
    images = [part for part in found.files if content_id(part) in shown]
    names = {
        id(part): safe_name(file_name(part) or made_up_name(part, n)) for n, part in enumerate(found.files, 1)
    }
    return OutgoingMessage(
        to=_addresses(mail, "To"),
        cc=_addresses(mail, "Cc"),
        bcc=_addresses(mail, "Bcc"),
        reply_to=_addresses(mail, "Reply-To"),
        subject=check_header(decode_words(header_text(mail, "Subject") or ""), "subject"),
        body_html=html,
        body_text="".join(found.plain) if found.plain else None,
        attachments=tuple(
            Attachment(names[id(part)], full_type(part), content_of(part))
            for part in found.files
            if content_id(part) not in shown
        ),
        inline_images=tuple(
            InlineImage(names[id(part)], full_type(part), content_of(part), content_id(part))
            for part in images
        ),
    ), (header_text(mail, "Message-ID") or "").strip()


def _addresses(mail: Part, name: str) -> tuple[EmailAddress, ...]:
    place = name.lower().replace("-", "_")
    return tuple(
        check_address(address, f"{place}[{number}]", allow_local=True)
        for text in header_texts(mail, name)
        for number, address in enumerate(parse_mailbox_list(text, place))
    )


def _read(part: Part) -> _Read:
    kind = type_of(part)
    if kind in PROTECTED or kind in SEALED:
        refuse(f"{described(part)} is signed or encrypted; as JSON it would be broken")
    if not part.is_multipart():
        return _leaf(part)
    children: list[Part] = part.get_payload()  # type: ignore[assignment]
    if kind == "multipart/alternative":
        return _alternative(children)
    if kind == "multipart/related":
        return _related(part, children)
    return _mixed(children)


def _leaf(part: Part) -> _Read:
    kind = type_of(part)
    if is_attachment(part) or kind not in {"text/plain", "text/html"}:
        return _Read(files=[part])
    return _Read(html=[text_of(part)]) if kind == "text/html" else _Read(plain=[text_of(part)])


def _alternative(children: list[Part]) -> _Read:
    """Read the forms of one text: at most one of each kind, for a reader sees one of them."""
    found = _Read()
    for child in children:
        form = _read(child)
        if not (form.plain or form.html) or (form.plain and found.plain) or (form.html and found.html):
            refuse(f"{described(child)} is another form of the text, for which JSON has no place")
        found.add(form)
    return found


def _related(part: Part, children: list[Part]) -> _Read:
    """Read a body and the files that it shows; the `start` parameter may name another than the first."""
    start = str(part.get_param("start", "") or "").strip().removeprefix("<").removesuffix(">")
    root = next((child for child in children if start and content_id(child) == start), children[0])
    found = _read(root)
    for child in children:
        if child is root:
            continue
        if child.is_multipart():
            refuse(f"{described(child)} is a second text beside the body")
        found.files.append(child)
    return found


def _mixed(children: list[Part]) -> _Read:
    """Read the body, which comes first, and what follows it; a plain text goes on after a plain text."""
    found = _Read()
    for child in children:
        has_body = bool(found.plain or found.html)
        if has_body and not child.is_multipart() and not _continues(found, child):
            found.files.append(child)
            continue
        later = _read(child)
        if has_body and (later.html or (later.plain and found.html)):
            refuse(f"{described(child)} is a second text beside the body")
        found.add(later)
    return found


def _continues(found: _Read, part: Part) -> bool:
    return (
        not found.html and type_of(part) == "text/plain" and not is_attachment(part) and not file_name(part)
    )
