"""docs/sending.md says what the code does."""

from pages.sending import PAGE, drawn

from adapter.settings import Settings


def test_the_tables_are_those_of_the_code() -> None:
    """`python tests/pages/sending.py` draws them again."""
    text = PAGE.read_text(encoding="utf-8")
    assert drawn(text) == text


def test_the_defaults_are_those_of_the_code() -> None:
    text, settings = PAGE.read_text(encoding="utf-8"), Settings()
    for name, value in (
        ("ROLLOUT_SEND_DEADLINE_S", f"{settings.send_deadline_s:g}"),
        ("ROLLOUT_CONNECT_TIMEOUT_S", f"{settings.connect_timeout_s:g}"),
        ("ROLLOUT_MAX_POSTS", settings.max_posts),
        ("ROLLOUT_SENDS_PER_MAILBOX", settings.sends_per_mailbox),
        ("ROLLOUT_IDEMPOTENCY_TTL_S", settings.idempotency_ttl_s),
    ):
        assert f"| `{name}` | {value} |" in text
