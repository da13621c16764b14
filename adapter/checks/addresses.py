"""Mail addresses as they may be sent: one plain address each, its domain in ASCII. Pure."""

import re

from email_validator import EmailNotValidError, validate_email

from adapter.checks.headers import check_header, without_bidi
from adapter.errors import MessageRefusedError
from adapter.message import EmailAddress

PUBLIC_ENDING = ".com"
"""Added for the check alone: the library refuses reserved names such as `.test` and `.local`, and some
companies use them inside. Whether a domain can be reached is the provider's to say."""

_BLANKS = re.compile(r"[ \t]+")
_ORDINARY = re.compile(r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@[a-z0-9]+(?:[.-][a-z0-9]+)*")
"""What most addresses look like. The library takes all of these as they are, in fifty times as long."""
_ORDINARY_CHARACTERS = 63
"""No part of a shorter one is too long."""


def check_address(given: EmailAddress, field: str, *, allow_local: bool = False) -> EmailAddress:
    """Return the address as it may be sent; raises MessageRefusedError.

    `allow_local` takes domains without a dot too.
    """
    if not isinstance(given, EmailAddress):
        raise MessageRefusedError("INVALID_RECIPIENT", "give it as EmailAddress(address)", field)
    address = _plain(given.address, field)
    if not allow_local and "." not in address.rpartition("@")[2]:
        raise MessageRefusedError("INVALID_RECIPIENT", "the domain has no dot", field)
    return EmailAddress(address, _name(given.name, field))


def _plain(address: str, field: str) -> str:
    if not isinstance(address, str):
        raise MessageRefusedError("INVALID_RECIPIENT", "the address is not text", field)
    if len(address) <= _ORDINARY_CHARACTERS and _ORDINARY.fullmatch(address):
        return address
    try:
        found = validate_email(
            address + PUBLIC_ENDING, check_deliverability=False, strict=True, allow_smtputf8=False
        )
    except EmailNotValidError as error:
        raise MessageRefusedError("INVALID_RECIPIENT", _sentence(error), field) from None
    return f"{found.local_part}@{found.ascii_domain.removesuffix(PUBLIC_ENDING)}"


def _sentence(error: EmailNotValidError) -> str:
    """Say what is wrong in one line; the library quotes single characters only, escaped."""
    return "".join(character if character.isprintable() else "?" for character in str(error))


def _name(name: str | None, field: str) -> str | None:
    """Check the name; direction marks are left out of it, they could make another name of it.

    Blanks in a row count as one in a name (RFC 5322, 3.2.2), and mail readers make one of them.
    """
    if not name:
        return None
    return _BLANKS.sub(" ", without_bidi(check_header(name, f"{field}.name"))).strip() or None
