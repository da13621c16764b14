"""What the leader reports of the live counts it looks at: one text for all features."""

from collections.abc import Mapping
from typing import cast

import msgspec
import redis

from controller.contract import LIVE_SIGHT_KEY
from controller.shared.redis_pool import key_prefix
from controller.store.flag_store import StoreError


class LiveSight(msgspec.Struct, frozen=True):
    """One feature at the newest look."""

    processes: int
    """How many sender processes have counts there."""
    age_s: float | None = None
    """How long ago counts moved last; None if they never did."""
    difference: float | None = None
    """By which share more was counted live than by windows, over minutes; None while that cannot be told."""

    @property
    def text(self) -> str:
        """Say how fast harm is answered."""
        if not self.processes:
            return BY_WINDOWS
        of = "1 process" if self.processes == 1 else f"{self.processes:,} processes"
        age = "nothing counted yet" if self.age_s is None else f"newest count {self.age_s:.0f} s ago"
        return f"live, within seconds ({of}, {age})"


BY_WINDOWS = "by windows only: no sender writes live counts"
NOBODY_LOOKS = "by windows only: no leader looks at live counts"
_DECODER = msgspec.json.Decoder(dict[str, LiveSight])


def sights_text(sights: Mapping[str, LiveSight]) -> str:
    """Encode what the leader reports."""
    return msgspec.json.encode(sights).decode()


def read_sights(client: "redis.Redis") -> dict[str, LiveSight]:
    """Read what the leader reported; empty where none looks, or the text is another's. Raises StoreError."""
    try:
        text = cast("list[str | None]", client.mget([key_prefix(client) + LIVE_SIGHT_KEY]))[0]
        return _DECODER.decode(text or "{}")
    except (msgspec.MsgspecError, ValueError):
        return {}
    except (redis.RedisError, OSError) as error:
        raise StoreError.of(error) from error


def sight_status(sight: LiveSight | None) -> dict[str, object]:
    """Return a feature's live reaction as status, page and API have it."""
    if sight is None:
        return {"processes": 0, "age_s": None, "difference": None, "text": NOBODY_LOOKS}
    return {**msgspec.to_builtins(sight), "text": sight.text}
