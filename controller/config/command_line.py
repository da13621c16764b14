"""The line that a person types so that it meets the Redis and the configuration of these settings."""

import shlex

from controller.config.settings import ControllerSettings, shown

REDIS_VARIABLE = "ROLLOUT_REDIS_URL"


def redis_text(settings: ControllerSettings) -> str:
    """Name the Redis without its password, and where its address was given."""
    return f"{shown(settings.redis_url)} (from {settings.redis_from})"


def command_line(settings: ControllerSettings, *words: str) -> str:
    """Write `rollout WORDS`; `...` is left for the person to fill in, in quotation marks."""
    return rollout_line(settings, " ".join(_quoted(word) for word in words))


def rollout_line(settings: ControllerSettings, words: str) -> str:
    """Write `rollout WORDS`, whose words are quoted already.

    An address with a password is not written out: the variable that holds it is named by `redis_text`.
    """
    url, written = settings.redis_url, {str(settings.config_path), shown(ControllerSettings().redis_url)}
    given = settings.redis_from not in written and url not in written and shown(url) == url
    before = [f"{REDIS_VARIABLE}={shlex.quote(url)}"] if given else []
    config = ["--config", shlex.quote(str(settings.config_path.absolute()))] if settings.config_path else []
    return " ".join([*before, "rollout", words, *config])


def _quoted(word: str) -> str:
    return '"..."' if word == "..." else shlex.quote(word)
