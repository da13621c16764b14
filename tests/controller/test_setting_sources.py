"""One reader of settings for both packages: variables, files of secrets, credentials, and the TOML file."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from adapter.settings import Settings
from adapter.signin.microsoft.settings import MicrosoftSettings
from controller.config.settings import NO_SETTINGS, ControllerSettings, load_settings, variable
from controller.doctor.surroundings import look_at_variables
from controller.shared.config_file import ConfigError
from controller.shared.environment import SECRETS, VARIABLES, Environment, misspelt

HOUSE = Path(__file__).resolve().parents[2]
REDIS = "redis://elsewhere.example:7777/3"
SIGN_IN = {
    "MS_CLIENT_ID": "id",
    "MS_CLIENT_SECRET": "s3cret",
    "MS_TENANT_ID": "contoso.example",
    "ROLLOUT_TOKEN_KEYS": "a" * 43 + "=",
}


def of_controller(env: dict[str, str]) -> str:
    return load_settings(environ=env).redis_url


def of_adapter(env: dict[str, str]) -> str:
    return Settings.from_environment(env).redis_url


def of_sign_in(env: dict[str, str]) -> str:
    return MicrosoftSettings.from_environment(SIGN_IN | env).redis_url


Read = Callable[[dict[str, str]], str]
readers = pytest.mark.parametrize("read", [of_controller, of_adapter, of_sign_in])


@readers
@pytest.mark.parametrize("name", ["ROLLOUT_REDIS_URL", "rollout_redis_url"])
def test_a_systemd_credential_is_read_in_either_case(tmp_path: Path, read: Read, name: str) -> None:
    (tmp_path / name).write_text(f"{REDIS}\n")
    assert read({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == REDIS


@readers
def test_a_secret_is_read_from_the_file_that_its_variable_names(tmp_path: Path, read: Read) -> None:
    (tmp_path / "url").write_text(f"{REDIS}\n")
    assert read({"ROLLOUT_REDIS_URL_FILE": str(tmp_path / "url")}) == REDIS


@readers
def test_the_file_of_the_configuration_names_the_redis_of_both_packages(tmp_path: Path, read: Read) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text(f'[controller]\nredis_url = "{REDIS}"\n')
    assert read({"ROLLOUT_CONFIG": str(config)}) == REDIS
    over = {"ROLLOUT_CONFIG": str(config), "ROLLOUT_REDIS_URL": "redis://127.0.0.1:1/0"}
    assert read(over) == "redis://127.0.0.1:1/0"


@readers
def test_an_empty_file_of_a_secret_counts_as_not_set(tmp_path: Path, read: Read) -> None:
    (tmp_path / "ROLLOUT_REDIS_URL").write_text("\n")
    config = tmp_path / "rollout.toml"
    config.write_text(f'[controller]\nredis_url = "{REDIS}"\n[features.microsoft]\n')
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read({**credentials, "ROLLOUT_CONFIG": str(config)}) == REDIS
    assert read(credentials) == read({})


@readers
def test_a_secret_that_cannot_be_read_is_named_with_its_file(tmp_path: Path, read: Read) -> None:
    (tmp_path / "latin").write_bytes(b"redis://:p\xe4ss@h/0")
    with pytest.raises(ConfigError, match=r"ROLLOUT_REDIS_URL_FILE names .*latin, which is not UTF-8"):
        read({"ROLLOUT_REDIS_URL_FILE": str(tmp_path / "latin")})
    with pytest.raises(ConfigError, match=r"names .*nowhere, which cannot be read \(No such file"):
        read({"ROLLOUT_REDIS_URL_FILE": str(tmp_path / "nowhere")})


@readers
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ROLLOUT_REDIS_URI", "ROLLOUT_REDIS_URL"),
        ("ROLLOUT_PROMETEUS_URL", "ROLLOUT_PROMETHEUS_URL"),
        ("ROLLOUT_INTERVAL", "ROLLOUT_INTERVAL_S"),
        ("rollout_redis_url", "ROLLOUT_REDIS_URL"),
        ("MS_TENANT", "MS_TENANT_ID"),
        ("ROLLOUT_MAX_RECIPIENT", "ROLLOUT_MAX_RECIPIENTS"),
        ("PROVIDER_MICROSOFT_ENABLE", "PROVIDER_MICROSOFT_ENABLED"),
        ("INTERNAL_DOMAIN", "INTERNAL_DOMAINS"),
    ],
)
def test_a_misspelt_variable_is_refused_with_what_was_probably_meant(
    read: Read, name: str, meant: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is not a setting .* did you mean {meant}\?$"):
        read({name: "x"})


def test_variables_of_others_are_left_alone() -> None:
    others = [
        *("ROLLOUT_CONTROLLER_SERVICE_HOST", "ROLLOUT_CONTROLLER_PORT", "ROLLOUT_LISTEN_SERVICE_PORT_HTTP"),
        *("ROLLOUT_CONTROLLER_PORT_8003_TCP_ADDR", "MS_TEAMS_URL", "PATH", "PROVIDER_ACME_ENABLED"),
    ]
    assert not list(misspelt(others))
    assert not list(misspelt([*VARIABLES, *(f"{name}_FILE" for name in SECRETS)]))


def test_doctor_names_a_variable_of_ours_that_nothing_reads() -> None:
    [found] = look_at_variables(["ROLLOUT_TICK_S", "ROLLOUT_INTERVAL_S", "ROLLOUT_API_TOKEN_FILE", "HOME"])
    assert (found.verdict, found.seen) == ("note", "nothing reads ROLLOUT_TICK_S")
    assert not list(look_at_variables(VARIABLES))


def test_every_key_of_the_controller_has_a_known_variable() -> None:
    keys = {field.name for field in fields(ControllerSettings)} - NO_SETTINGS - {"notify"}
    assert {variable(key) for key in keys} <= VARIABLES


def read_in_code() -> Iterator[str]:
    for path in [*HOUSE.glob("adapter/**/*.py"), *HOUSE.glob("controller/**/*.py")]:
        if path.name != "environment.py":
            text = path.read_text(encoding="utf-8")
            yield from re.findall(r"\b(?:ROLLOUT|MS|GOOGLE|INTERNAL|INTEGRATION)_[A-Z_]+\b", text)


def test_every_known_variable_is_read_somewhere() -> None:
    used = {*read_in_code(), *(variable(field.name) for field in fields(ControllerSettings))}
    assert used >= VARIABLES


def test_a_variable_that_is_not_known_cannot_be_read() -> None:
    with pytest.raises(LookupError, match="ROLLOUT_NEW"):
        Environment({}).text("ROLLOUT_NEW")


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"\xef\xbb\xbf[controller]\n", 1, "begins with a byte order mark; save the file as UTF-8"),
        ("[controller]\n".encode("utf-16"), 1, "begins with a byte order mark; save the file as UTF-8"),
        ("[controller]\n# H\u00e4user\n".encode("latin-1"), 2, "is not UTF-8"),
        (b"[controller]\n\nlisten = \n", 3, "is not TOML"),
        (b'[controller]\nlisten = "x\n', 2, "is not TOML"),
        (b"[controller]\ninterval_s = '30'\n", 2, "must be a number from 0.1 to 86400 seconds"),
        (b"[controller]\nintervall_s = 30\n", 2, "did you mean interval_s?"),
        (b"\ninterval_s = 30\n", 2, "unknown key 'interval_s'; known are [controller]"),
        (b"[controller]\njournal = 5\n", 2, "must be a text"),
        (b"controller = 5\n", 1, "must be a table"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, 1, "is not TOML"),
    ],
)
def test_a_broken_file_is_one_line_with_the_place_and_what_to_do(
    tmp_path: Path, content: bytes, line: int, reason: str
) -> None:
    config = tmp_path / "rollout.toml"
    config.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_settings(config, environ={})
    assert str(refused.value).startswith(f"{config}:{line}: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"ROLLOUT_INTERVAL_S": "30s"}, "ROLLOUT_INTERVAL_S = '30s' must be a number"),
        ({"ROLLOUT_REDIS_URI": "redis://x"}, "did you mean ROLLOUT_REDIS_URL?"),
    ],
)
def test_a_command_ends_with_exit_code_2_and_one_line(env: dict[str, str], reason: str) -> None:
    command = [sys.executable, "-m", "controller", "config", "check"]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
