"""Fuzzes mails and replies with coverage guidance: no crash, no injected header, no body over the cap.

Usage: pip install atheris && PYTHONPATH=. python tests/fuzz/messages.py -max_total_time=300
"""

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["adapter"]):
    from adapter.checks.cids import shown_cids
    from adapter.checks.message_checks import check
    from adapter.errors import MessageRefusedError
    from adapter.message import Attachment, EmailAddress, InlineImage, Limits, OutgoingMessage, SendIds
    from adapter.providers.mime.build import build_mime
    from adapter.providers.outlook import Outlook
    from adapter.providers.provider import Reply
    from adapter.sandbox.rules import read_mail

CAP = 3000
IDS = SendIds("5b8f1c0e-0000-4000-8000-000000000001", "<m1@fuzz>")
HEADERS = {b"to", b"cc", b"bcc", b"reply-to", b"subject", b"message-id", b"mime-version", b"content-type"}
HEADERS |= {b"content-transfer-encoding"}


class Wrong(Exception):  # noqa: N818 (what the fuzzer looks for)
    """A promise was broken."""


def message_of(data: "atheris.FuzzedDataProvider") -> OutgoingMessage:
    def seldom() -> bool:
        """Mostly false, or hardly a mail would come through the first checks."""
        return bool(data.ConsumeIntInRange(0, 19) == 0)

    def text(length: int) -> str:
        given = str(data.ConsumeUnicode(data.ConsumeIntInRange(0, length)))
        return given if seldom() else "".join(filter(str.isprintable, given))

    def person() -> EmailAddress:
        given = text(30) if seldom() else f"u{data.ConsumeIntInRange(0, 99)}@corp.example"
        return EmailAddress(given, text(40) if data.ConsumeBool() else None)

    def people() -> tuple[EmailAddress, ...]:
        return tuple(person() for _ in range(data.ConsumeIntInRange(0, 2)))

    return OutgoingMessage(
        to=(EmailAddress("ann@corp.example", text(40)), *people()),
        cc=people(),
        bcc=people(),
        reply_to=people(),
        subject=text(120),
        body_html=text(400) if data.ConsumeBool() else '<img src="cid:a">',
        body_text=text(100) if data.ConsumeBool() else None,
        attachments=tuple(
            Attachment(text(60), text(20) if seldom() else "a/b", data.ConsumeBytes(600))
            for _ in range(data.ConsumeIntInRange(0, 2))
        ),
        inline_images=(InlineImage(text(20), "image/png", b"png", "a"),) if data.ConsumeBool() else (),
    )


def one(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    Outlook().interpret(
        Reply(data.ConsumeIntInRange(200, 599), {"retry-after": data.ConsumeUnicode(30)}, raw), 0
    )
    shown_cids(data.ConsumeUnicode(200))
    try:
        message = check(message_of(data), Limits())
        request = Outlook().prepare(message, IDS, Limits(max_body_bytes=CAP))
    except MessageRefusedError:
        return
    if len(request.body) > CAP or len(bytes(request.body)) != len(request.body):
        raise Wrong("over the cap")
    mail = read_mail(request.headers["Content-Type"], bytes(request.body))
    if mail.recipients != tuple(a.address for a in message.recipients) or mail.subject != message.subject:
        raise Wrong("another mail than the one given")
    check_head(build_mime(message, IDS).skeleton.partition(b"\r\n\r\n")[0])


def check_head(head: bytes) -> None:
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    if not set(names) <= HEADERS or len(names) != len(set(names)):
        raise Wrong(f"an injected header: {names}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
