"""The systemd units: nothing to complain of, hardened, and every secret they load is one that is read."""

import re
import subprocess
from pathlib import Path

import pytest

from controller.config.settings import SECRETS
from controller.web.guard.connections import MOST_CONNECTIONS

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
ADAPTERS_SECRETS = {"ROLLOUT_TOKEN_KEYS", "MS_CLIENT_SECRET", "MS_CLIENT_CERTIFICATE"}


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_there_is_one_for_the_controller_and_one_for_a_sender() -> None:
    assert [unit.name for unit in UNITS] == ["rollout-controller.service", "rollout-sender.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_has_nothing_to_complain_of(unit: Path) -> None:
    done = analyze("verify", "--recursive-errors=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_its_exposure_is_at_most_1_5_of_10(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=15", str(unit))
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_each_credential_is_a_secret_that_is_read_by_that_name(unit: Path) -> None:
    loaded = set(re.findall(r"^LoadCredential=(\w+):", unit.read_text(), re.MULTILINE))
    assert loaded <= {f"ROLLOUT_{name.upper()}" for name in SECRETS} | ADAPTERS_SECRETS
    assert "ROLLOUT_REDIS_URL" in loaded


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_dumps_no_core_and_has_files_for_all_connections_that_it_takes(unit: Path) -> None:
    limits = dict(re.findall(r"^Limit(\w+)=(\d+)$", unit.read_text(), re.MULTILINE))
    assert limits["CORE"] == "0"
    assert int(limits["NOFILE"]) > 2 * MOST_CONNECTIONS


def test_only_finished_ticks_feed_the_watchdog() -> None:
    sources = {
        path.name
        for path in (FOLDER.parent / "controller").rglob("*.py")
        if "WATCHDOG=1" in path.read_text(encoding="utf-8")
    }
    assert sources == {"process.py"}
    assert "WatchdogSec" in (FOLDER / "rollout-controller.service").read_text()


def test_controller_and_sender_share_neither_a_token_nor_a_user_of_redis() -> None:
    files = [
        dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", unit.read_text(), re.MULTILINE)) for unit in UNITS
    ]
    for name in ("ROLLOUT_API_TOKEN", "ROLLOUT_REDIS_URL"):
        assert len({one[name] for one in files}) == len(UNITS)
