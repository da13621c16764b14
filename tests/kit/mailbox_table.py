"""The table of address texts, read by whichever Python runs this: `python mailbox_table.py` prints JSON."""

import json
from pathlib import Path

from adapter.checks.mailbox_text import parse_mailbox
from adapter.errors import MessageRefusedError

ROWS = [
    tuple(json.loads(f'"{cell}"') for cell in line.split("\t"))
    for line in Path(__file__).with_name("mailboxes.tsv").read_text("utf-8").splitlines()
]
"""Text, address or `-` for a refusal, and name."""


def read(text: str) -> tuple[str, str]:
    """Return address and name, or `-` where the text is refused."""
    try:
        found = parse_mailbox(text, "to")
    except MessageRefusedError:
        return "-", ""
    return found.address, found.name or ""


if __name__ == "__main__":
    print(json.dumps([read(text) for text, *_ in ROWS]))
