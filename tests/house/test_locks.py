"""The locks: what runs apart from what tests need, every file by its hash, and nothing beside them."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", ".ci/build.lock")
RUNTIME, DEV, BUILD = (ROOT / name for name in LOCKS)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: Path) -> dict[str, str]:
    """Return the version of each package of a lock."""
    return {
        normal(name): version
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    }


def needed(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[\s\[<>=!~;(]", one)[0]) for one in requirements}


@pytest.mark.parametrize("lock", [RUNTIME, DEV, BUILD], ids=lambda lock: lock.name)
def test_every_package_of_a_lock_has_its_hashes_and_no_registry_is_named(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = re.findall(r"^[\w.-]+==.*(?:\n    .*)*", text, re.MULTILINE)
    assert len(entries) == len(locked(lock))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "".join(f"{entry}\n" for entry in entries) == text
    assert not re.search(r"://|--index|--find-links", text)


def test_what_runs_is_locked_and_nothing_that_only_tests_need() -> None:
    runtime = locked(RUNTIME)
    assert needed(PROJECT["project"]["dependencies"]) | {"pip"} <= set(runtime)
    assert "setuptools" not in runtime
    only_tests = {"pytest", "mypy", "ruff", "hypothesis", "uv", "playwright", "pip-audit", "hatchling"}
    assert only_tests <= set(locked(DEV))
    assert not only_tests & set(runtime)


def test_the_tests_run_with_just_the_versions_that_run_elsewhere() -> None:
    for smaller in (RUNTIME, BUILD):
        assert locked(smaller).items() <= locked(DEV).items()


def test_nothing_is_installed_here_that_is_in_no_lock() -> None:
    installed = {normal(one.metadata["Name"]): one.version for one in distributions()}
    ours = installed.pop("rollout-controller")
    assert ours == PROJECT["project"]["version"]
    assert installed.items() <= locked(DEV).items()
