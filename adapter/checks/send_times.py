"""When a mail is to be delivered: a time of RFC 3339, neither past nor far ahead. Pure."""

import re
from email.utils import parsedate_to_datetime

from adapter.errors import MessageRefusedError

LONGEST_DAYS = 365
"""A year ahead, of any length."""

_TIME = re.compile(
    r"([2-9]\d{3})-(\d\d)-(\d\d)[Tt ](\d\d:\d\d)(:[0-5]\d)?(?:\.\d{1,9})?(?:[Zz]|([+-]\d\d):?([0-5]\d))",
    re.ASCII,
).fullmatch
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def check_send_time(given: object, now: float) -> str | None:
    """Return the time in UTC, as in `2026-12-24T09:00:00Z`; None where none is given.

    `now` in unix seconds. Raises MessageRefusedError for what Graph would deliver at once or cannot keep.
    """
    if given is None:
        return None
    seconds, written = _read(given)
    if seconds <= now:
        raise _refused(f"{written} is past; a mail without send_at is sent at once")
    if seconds > now + LONGEST_DAYS * 86_400:
        raise _refused(f"{written} is more than a year ahead ({LONGEST_DAYS} days at most)")
    return written


def _read(given: object) -> tuple[float, str]:
    """Return unix seconds and the text in UTC; a mail's date is what the library reads without a clock."""
    found = _TIME(given) if isinstance(given, str) else None
    if found is None or not 1 <= int(found[2]) <= len(_MONTHS):
        raise _refused(_HOW)
    year, month, day, clock, second, hours, minutes = found.groups()
    zone = "+0000" if hours in {None, "-00"} and minutes in {None, "00"} else f"{hours}{minutes}"
    try:
        moment = parsedate_to_datetime(
            f"{day} {_MONTHS[int(month) - 1]} {year} {clock}{second or ':00'} {zone}"
        )
        utc = moment - (moment.utcoffset() or (moment - moment))
        return moment.timestamp(), utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        raise _refused(_HOW) from None


_HOW = "write a time with its zone, as in 2026-12-24T09:00:00Z or 2026-12-24T10:00:00+01:00"


def _refused(problem: str) -> MessageRefusedError:
    return MessageRefusedError("INVALID_REQUEST", problem, "send_at")
