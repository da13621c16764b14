"""The two mails of the benchmarks of sending, as plain values that every contender can use."""

from dataclasses import dataclass

TOKEN = "sandbox-bench"
AT_ONCE = 4


@dataclass(frozen=True)
class Picture:
    """A file of a mail; one with a content id lies inline."""

    name: str
    content_type: str
    content: bytes
    content_id: str = ""


@dataclass(frozen=True)
class Sample:
    """One mail."""

    subject: str
    html: str
    files: tuple[Picture, ...] = ()
    to: str = "bob@corp.example"


HTML = '<p>Hi</p><img src="cid:a"><img src="cid:b">' + "<p>Lorem ipsum dolor sit amet</p>" * 60
PICTURES = tuple(Picture(f"{cid}.png", "image/png", bytes(range(256)) * 80, cid) for cid in "ab")
REPORT = Picture("report.pdf", "application/pdf", bytes(range(256)) * 4096)

MAILS = {
    "1 MB attachment and two pictures": Sample("Quarterly report", HTML, (REPORT, *PICTURES)),
    "a small mail": Sample("Hi", "<p>Hi</p>"),
}
