"""When a stretch of failures is an outage, which needs no test: at least half of many sends failed.

This spends no alpha: it is outside of the promise, and made so that neither one mailbox nor a blip causes it.
"""

from math import floor, sqrt

from controller.decision.model import Window

OUTAGE_SENDS = 20
"""A window with fewer sends is left to the tests."""
OUTAGE_SHARE = 0.5
OUTAGE_SURE = 60
"""So many sends of one window are not one mailbox's alone."""
OUTAGE_MAILBOXES = 3
"""At least so many mailboxes must have failed, where the counts tell."""
OUTAGE_Z = {2: 0.0, 3: 1.0, 4: 1.0}
"""By the form of a record: so many standard deviations above half must have failed, where mailboxes are not
told; else a burst of a third passes for half now and then."""


def half_failed(window: Window, z: float) -> bool:
    """Whether at least half of many sends failed, and of more mailboxes than may fail by themselves."""
    known = window.failed_mailboxes
    if window.sends < OUTAGE_SENDS or not (known is None or known >= OUTAGE_MAILBOXES):
        return False
    chance = z * sqrt(window.sends) / 2 if known is None else 0.0
    return window.errors >= OUTAGE_SHARE * window.sends + chance


def windows_in_a_row(windows: tuple[Window, ...], before: int, z: float) -> list[int]:
    """Return for each window how many, up to it and one after the other, have half failed."""
    runs, run = [], before
    for window in windows:
        run = run + 1 if half_failed(window, z) else 0
        runs.append(run)
    return runs


def outage_windows(window: Window, window_s: float, blip_s: float) -> int:
    """Return how many windows in a row must have half failed, up to this one, to be an outage."""
    longer_than_a_blip = 1 if blip_s < OUTAGE_SHARE * window_s else floor(blip_s / window_s) + 2
    sure = window.failed_mailboxes is not None or window.sends >= OUTAGE_SURE
    return longer_than_a_blip if sure else max(longer_than_a_blip, 2)
