"""Settings from the environment and a file: what overrides what, what follows, and what is refused."""

from pathlib import Path

import pytest

from controller.config.settings import load_settings, masked, shown
from controller.shared.config_file import ConfigError


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load_settings(environ={})
    assert (settings.interval_s, settings.window_s, settings.scrape_s) == (30, 30, 10)
    assert settings.listen == "127.0.0.1:8003"
    assert settings.api_token == ""


def test_lengths_that_are_not_given_follow_from_the_tick() -> None:
    settings = load_settings(environ={"ROLLOUT_INTERVAL_S": "3"})
    assert (settings.window_s, settings.scrape_s, settings.lease_s) == (3, 1, 9)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text('[controller]\nredis_url = "redis://file:1"\ninterval_s = 5\n')
    settings = load_settings(environ={"ROLLOUT_CONFIG": str(config), "ROLLOUT_REDIS_URL": "redis://env:2"})
    assert settings.redis_url == "redis://env:2"
    assert settings.interval_s == 5


def test_a_secret_may_come_from_a_file_or_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "rollout_api_token").write_text("from-systemd\n")
    other = tmp_path / "token"
    other.write_text("from-file")
    assert load_settings(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).api_token == "from-systemd"
    assert load_settings(environ={"ROLLOUT_API_TOKEN_FILE": str(other)}).api_token == "from-file"


def test_a_secret_is_not_in_the_printed_settings() -> None:
    settings = load_settings(environ={"ROLLOUT_API_TOKEN": "hush-hush"})
    assert "hush-hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("ROLLOUT_INTERVAL_S", "30s", "must be a number from 0.1 to 86400 seconds"),
        ("ROLLOUT_INTERVAL_S", "0", "0.1"),
        ("ROLLOUT_LISTEN", "8003", "HOST:PORT"),
        ("ROLLOUT_PROMETHEUS_URL", "localhost:9090", "http://"),
        ("ROLLOUT_REDIS_URL", "http://x", "redis://"),
        ("ROLLOUT_REDIS_URL", "redis://127.0.0.1:70000/0", "1 to 65535"),
        ("ROLLOUT_REDIS_URL", "redis://:half/hush@127.0.0.1/0", "number"),
        ("ROLLOUT_REDIS_URL", "redis://127.0.0.1/flags", "number"),
        ("ROLLOUT_REDIS_URL", "REDIS://127.0.0.1/0", "redis://"),
        ("ROLLOUT_REDIS_URL", "unix:/run/redis.sock", "unix://"),
        ("ROLLOUT_REDIS_URL", "redis+cluster://127.0.0.1:70000/mail", "HOST:PORT"),
        ("ROLLOUT_REDIS_URL", "redis+sentinel://127.0.0.1/mail?db=1", "options"),
        ("ROLLOUT_REDIS_URL", "redis+cluster://127.0.0.1/mail?ssl_ca_certs=ca.pem", "no options"),
        ("ROLLOUT_REDIS_URL", "rediss+cluster://127.0.0.1:x/mail", "HOST:PORT"),
        ("ROLLOUT_REDIS_URL", "redis://127.0.0.1/0?db=x", "number"),
        ("ROLLOUT_REDIS_URL", "redis://127.0.0.1/0?socket_timeout=600", "options"),
        ("ROLLOUT_REDIS_URL", "redis://127.0.0.1/0?ssl_ca_certs=ca.pem", "options"),
        ("ROLLOUT_PROMETHEUS_URL", "http://127.0.0.1:0", "1 to 65535"),
        ("ROLLOUT_SCRAPE_S", "31", "longer than window_s"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(environ={name: text})
    assert reason in str(refused.value)


@pytest.mark.parametrize("name", ["ROLLOUT_REDIS_URL", "ROLLOUT_PROMETHEUS_URL", "ROLLOUT_RULES_URL"])
def test_a_bad_secret_is_refused_without_being_shown(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(environ={name: "ftp://user:hush@x"})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["ROLLOUT_REDIS_URL", "ROLLOUT_PROMETHEUS_URL"])
@pytest.mark.parametrize("login", [":[hush]@", ":hush\u2100@"])
def test_a_url_that_python_cannot_read_is_refused_without_being_shown(name: str, login: str) -> None:
    scheme = "redis" if name == "ROLLOUT_REDIS_URL" else "http"
    with pytest.raises(ConfigError, match="is no URL") as refused:
        load_settings(environ={name: f"{scheme}://{login}h/0"})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["redis_url", "prometheus_url", "rules_url"])
@pytest.mark.parametrize(
    "text",
    [
        "https://ann:hush@x:1/a",
        "redis+sentinel://ann:hush@one:1,two:2/0/flags",
        "redis://x/0?db=1&password=hush&protocol=2",
        "rediss://x/0?ssl_password=hush&db=1",
        "rediss+sentinel://x:1/mail?sentinel_password=hush",
    ],
)
def test_a_url_is_shown_without_its_password(name: str, text: str) -> None:
    assert masked(name, text) == text.replace("hush", "***")
    assert masked(name, "https://x:1/a") == "https://x:1/a"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[controller]\nredis = 1\n", ":2:"),
        ("\n[controler]\n", ":2:"),
        ("[controller]\n\ninterval_s = 'x'\n", ":3:"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_its_line(tmp_path: Path, text: str, place: str) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_settings(config, environ={})
    assert place in str(refused.value)


@pytest.mark.parametrize(
    ("text", "env", "place"),
    [
        ("[controller]\nlease_s = 1\n", {}, ":2: lease_s = 1 is shorter than interval_s = 30"),
        ("[controller]\nscrape_s = 40\n", {}, ":2: scrape_s = 40 is longer than window_s = 30"),
        ("", {"ROLLOUT_LEASE_S": "1"}, "ROLLOUT_LEASE_S: lease_s = 1 is shorter"),
        ("[controller]\nscrape_s = 10\n", {"ROLLOUT_WINDOW_S": "3"}, ":2: scrape_s = 10 is longer"),
    ],
)
def test_lengths_that_do_not_go_together_are_refused_where_they_were_given(
    tmp_path: Path, text: str, env: dict[str, str], place: str
) -> None:
    path = tmp_path / "rollout.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_settings(path, env)
    assert place in str(refused.value)


def test_a_short_window_alone_needs_no_other_length() -> None:
    assert load_settings(environ={"ROLLOUT_WINDOW_S": "3"}).scrape_s == 1


def test_headers_for_prometheus_are_pairs_and_their_values_are_kept_secret() -> None:
    given = {"ROLLOUT_PROMETHEUS_HEADERS": "X-Scope-OrgID=mail, X-Key=a=b", "ROLLOUT_PROMETHEUS_TOKEN": "t0k"}
    settings = load_settings(environ=given)
    assert settings.access_to_prometheus.headers == {
        "X-Scope-OrgID": "mail",
        "X-Key": "a=b",
        "Authorization": "Bearer t0k",
    }
    assert "a=b" not in repr(settings)
    for mistake in ("s3cret", "=s3cret", "X Y=s3cret", "X=", "X=s3cret\nA: b"):
        with pytest.raises(ConfigError, match="NAME=VALUE") as refused:
            load_settings(environ={"ROLLOUT_PROMETHEUS_HEADERS": mistake})
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis+sentinel://one:1,two:2", "redis+sentinel://one:x/flags"])
def test_a_sentinel_url_that_says_too_little_is_a_mistake_in_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match="ROLLOUT_REDIS_URL"):
        load_settings(environ={"ROLLOUT_REDIS_URL": url})


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
        ("https://ann:s3cret@prom/select/0", "https://ann:***@prom/select/0"),
        ("https://ann:s3:c@ret@prom", "https://ann:***@prom"),
        ("https://s3cret@prom/", "https://***@prom/"),
        ("https://prom/?token=s3cret", "https://prom/?token=***"),
        ("https://prom/?tenant=mail&X-Api-Key=s3cret", "https://prom/?tenant=***&X-Api-Key=***"),
        ("https://prom/?s3cret", "https://prom/?***"),
        ("https://prom/#s3cret", "https://prom/"),
        ("https://prom/?mail=ann@corp.example", "https://prom/?mail=***"),
        ("rediss://:s3cret@r:1/0?ssl_ca_certs=/ca.pem", "rediss://:***@r:1/0?ssl_ca_certs=/ca.pem"),
        ("redis://r/0?password=s3cret&db=3", "redis://r/0?password=***&db=3"),
        ("rediss://r/0?ssl_password=s3cret", "rediss://r/0?ssl_password=***"),
        (
            "unix:///run/redis.sock?username=ann&password=s3cret",
            "unix:///run/redis.sock?username=***&password=***",
        ),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url: str, written: str) -> None:
    assert shown(url) == written
    assert masked("prometheus_url", url) == written


def test_the_senders_are_those_of_a_job_and_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    path.write_text('[controller]\njob = "mail"\n[controller.selector]\nenv = "prod"\ncluster = "eu"\n')
    told = load_settings(path, {}).scope
    assert told.senders('x="1"') == '{job="mail",cluster="eu",env="prod",x="1"}'
    assert told.recorded() == '{cluster="eu",env="prod"}'
    given = load_settings(path, {"ROLLOUT_JOB": "m", "ROLLOUT_SELECTOR": "env=test, zone=a b"}).scope
    assert given.senders() == '{job="m",env="test",zone="a b"}'


@pytest.mark.parametrize(
    "selector", ['{provider = "x"}', '{env = ""}', '{"a b" = "x"}', '{env = "`"}', "{env = 1}", '"prod"']
)
def test_a_selector_that_tells_nothing_apart_is_refused(tmp_path: Path, selector: str) -> None:
    path = tmp_path / "rollout.toml"
    path.write_text(f"[controller]\nselector = {selector}\n")
    with pytest.raises(ConfigError, match=r"rollout.toml:2: \[controller\] selector"):
        load_settings(path, {})
