"""How long a server asks to wait. Pure: whatever a server writes here gives a number of seconds or None."""

import re
from email.utils import parsedate_to_datetime

LONGEST_S = 86_400.0
"""A server may name any time; nobody is asked to wait for longer than a day."""

_SECONDS = re.compile(r"\d+(\.\d*)?", re.ASCII).fullmatch


def retry_after_s(text: str | None, now: float, replied: str = "") -> float | None:
    """Parse Retry-After, seconds or a date, to 0 to LONGEST_S seconds; None where it is neither.

    A date is compared with the reply's own Date, `replied`, where that is one, else with `now`, unix seconds.
    """
    text = (text or "").strip()
    if _SECONDS(text):
        return min(float(text), LONGEST_S)
    asked_for = _date_s(text)
    if asked_for is None:
        return None
    replied_at = _date_s(replied)
    return min(max(asked_for - (now if replied_at is None else replied_at), 0.0), LONGEST_S)


def _date_s(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
