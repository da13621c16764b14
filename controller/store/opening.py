"""Opens the flag store that the settings name; commands that need nothing else load nothing else."""

from controller.config.settings import ControllerSettings
from controller.shared.redis_pool import open_redis
from controller.store.flag_store import DryRunStore, FlagStore
from controller.store.redis_store import RedisFlagStore

_REDIS_TIMEOUT_S = 2.0


def redis_timeout_s(settings: ControllerSettings) -> float:
    """Return how long one answer of Redis is waited for; a tick waits for several."""
    return min(_REDIS_TIMEOUT_S, settings.tick_deadline_s / 3)


def open_store(settings: ControllerSettings, *, dry_run: bool = False) -> FlagStore:
    """Open the flag store of the settings; a dry run's changes nothing."""
    client = open_redis(settings.redis_url, redis_timeout_s(settings))
    store = RedisFlagStore(client, decisions_kept=settings.decisions_kept)
    return DryRunStore(store) if dry_run else store
