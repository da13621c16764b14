"""What two controllers must have in common to decide alike, as one short text."""

import hashlib
import json

from controller.config.settings import ControllerSettings
from controller.decision.codec import encode


def deciding_hash(settings: ControllerSettings) -> str:
    """Name in 16 hex digits what a controller decides by: every feature, and the lengths of its evidence.

    Links are shown and not decided by.
    """
    features = {name: encode(one) for name, one in settings.features.items()}
    for one in features.values():
        del one["links"]
    lengths = {"window_s": settings.window_s, "scrape_s": settings.scrape_s}
    deciding = {"features": features, "job": settings.job, "selector": settings.selector, **lengths}
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
