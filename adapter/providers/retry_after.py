"""How long a server asks to wait. Pure: whatever a server writes here gives a number of seconds or None."""

import re
from email.utils import parsedate_to_datetime

LONGEST_S = 86_400.0
"""A server may name any time; nobody is asked to wait for longer than a day."""

_TIME = re.compile(
    r"retry after (\d{4})-(\d\d)-(\d\d)t(\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:z|([+-]\d\d):?(\d\d))",
    re.ASCII | re.IGNORECASE,
).search
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECONDS = re.compile(r"\d+(\.\d*)?", re.ASCII).fullmatch


def retry_after_s(text: str | None, now: float, replied: str = "") -> float | None:
    """Parse Retry-After, seconds or a date, to 0 to LONGEST_S seconds; None where it is neither.

    A date is compared with the reply's own Date, `replied`, where that is one, else with `now`, unix seconds.
    """
    text = (text or "").strip()
    if _SECONDS(text):
        return min(float(text), LONGEST_S)
    return _wait_s(_date_s(text), now, replied)


def retry_time_s(message: str, now: float, replied: str = "") -> float | None:
    """Return the seconds to the time that a message names, as in `Retry after 2026-01-02T03:04:05Z`.

    None where it names none; `now` and `replied` are as above.
    """
    found = _TIME(message)
    return _wait_s(_time_s(*found.groups("00")), now, replied) if found else None


def _wait_s(asked_for: float | None, now: float, replied: str) -> float | None:
    if asked_for is None:
        return None
    replied_at = _date_s(replied)
    return min(max(asked_for - (now if replied_at is None else replied_at), 0.0), LONGEST_S)


def _time_s(year: str, month: str, day: str, clock: str, hours: str, minutes: str) -> float | None:
    """Read a time of RFC 3339 as the date of a mail, which the standard library reads without a clock."""
    if not 1 <= int(month) <= 12:
        return None
    zone = f"{'+' if hours == '00' else ''}{hours}{minutes}"
    return _date_s(f"{day} {_MONTHS[int(month) - 1]} {year} {clock} {zone}")


def _date_s(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
