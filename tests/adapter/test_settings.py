"""The adapter's settings: what is read, from where, and what is refused."""

from pathlib import Path

import pytest

from adapter.settings import Settings, SettingsError


def test_everything_has_a_default_and_the_provider_is_off() -> None:
    settings = Settings.from_environment({})
    assert settings.providers_enabled == frozenset()
    assert (settings.send_deadline_s, settings.sends_per_mailbox) == (30.0, 4)
    assert (settings.limits.max_body_bytes, settings.limits.large_attachments) == (0, False)


def test_the_environment_is_read() -> None:
    settings = Settings.from_environment(
        {
            "PROVIDER_MICROSOFT_ENABLED": "true",
            "PROVIDER_GOOGLE_ENABLED": "false",
            "MS_GRAPH_URL": "http://127.0.0.1:1/v1.0/",
            "INTERNAL_DOMAINS": "corp.example, .corp.example",
            "ROLLOUT_SEND_DEADLINE_S": "2.5",
            "ROLLOUT_MAX_RECIPIENTS": "500",
            "MS_LARGE_ATTACHMENTS": "true",
        }
    )
    assert settings.limits.large_attachments
    assert settings.providers_enabled == {"microsoft"}
    assert settings.base_urls == {"microsoft": "http://127.0.0.1:1/v1.0"}
    assert settings.internal_domains == ("corp.example", ".corp.example")
    assert (settings.send_deadline_s, settings.limits.max_recipients) == (2.5, 500)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PROVIDER_MICROSOFT_ENABLED", "yes", "true or false"),
        ("MS_LARGE_ATTACHMENTS", "150", "true or false"),
        ("ROLLOUT_SEND_DEADLINE_S", "soon", "must be a number"),
        ("ROLLOUT_SEND_DEADLINE_S", "0", "from 0.1 to 600"),
        ("ROLLOUT_SEND_DEADLINE_S", "nan", "must be a number"),
        ("ROLLOUT_MAX_RECIPIENTS", "1.5", "whole number"),
        ("ROLLOUT_MAX_RECIPIENTS", "5000", "from 1 to 1000"),
        ("MS_GRAPH_URL", "graph.microsoft.com", "URL"),
        ("ROLLOUT_REDIS_URL", "http://x", "URL"),
        ("ROLLOUT_REDIS_URL", "redis://:[hush]@x/0", "is no URL"),
        ("MS_CA_FILE", "/nowhere/ca.pem", "is no file"),
        ("MS_CA_FILE", __file__, "holds no certificate"),
        ("GOOGLE_CA_FILE", __file__, "holds no certificate"),
        ("ROLLOUT_API_TOKEN_FILE", "/nowhere/token", "cannot be read"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_reason(name: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        Settings.from_environment({name: value})
    assert name in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_secret_may_lie_in_a_file_or_in_systemds_credentials(tmp_path: Path) -> None:
    (tmp_path / "ROLLOUT_API_TOKEN").write_text("from systemd\n")
    (tmp_path / "named").write_text("from a file\n")
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    named = {"ROLLOUT_API_TOKEN_FILE": str(tmp_path / "named")}
    assert Settings.from_environment(systemd).api_token == "from systemd"
    assert Settings.from_environment(systemd | named).api_token == "from a file"
    assert Settings.from_environment(named | {"ROLLOUT_API_TOKEN": "direct"}).api_token == "direct"


def test_the_integration_token_counts_only_while_it_is_allowed() -> None:
    token = {"MS_INTEGRATION_TOKEN": "t"}
    assert Settings.from_environment(token).integration_tokens == {}
    allowed = token | {"INTEGRATION_TESTS_ENABLED": "true"}
    assert Settings.from_environment(allowed).integration_tokens == {"microsoft": "t"}


def test_settings_do_not_print_their_secrets() -> None:
    settings = Settings.from_environment(
        {"ROLLOUT_API_TOKEN": "s3cret", "MS_INTEGRATION_TOKEN": "s3cret", "INTEGRATION_TESTS_ENABLED": "true"}
    )
    assert "s3cret" not in repr(settings)


def test_a_named_and_a_hashed_token_open_the_routes_that_send() -> None:
    assert Settings.from_environment({"ROLLOUT_API_TOKEN": "ann:one,bob:two"}).api_token == "ann:one,bob:two"
    with pytest.raises(SettingsError, match="sha256"):
        Settings.from_environment({"ROLLOUT_API_TOKEN": "ann:sha256:12"})
