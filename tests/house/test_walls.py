"""The walls between the rooms hold: an import that a contract forbids makes the linter fail.

Each case plants one import in a copy of both packages and runs the linter there with the project's contracts.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = "touches no clock, socket or file"
FLOORS = "rooms are floors"

PLANTED = [
    ("controller/decision/judging/judge.py", "import time", f"deciding {CORE}"),
    ("controller/decision/model.py", "from controller.shared import redis_pool", f"deciding {CORE}"),
    ("controller/contract.py", "import os", f"deciding {CORE}"),
    ("adapter/gate/rule.py", "import controller.loop.tick", f"the gate's rule {CORE}"),
    ("adapter/gate/rule.py", "import controller.shared.redis_pool", f"the gate's rule {CORE}"),
    ("adapter/gate/snapshot.py", "import controller.features", f"the gate's rule {CORE}"),
    ("adapter/gate/domains.py", "import socket", f"the gate's rule {CORE}"),
    ("adapter/providers/outlook.py", "import httpx", "a mail, its checks and its providers touch no clock"),
    ("adapter/checks/addresses.py", "import time", "a mail, its checks and its providers touch no clock"),
    ("controller/loop/tick.py", "import adapter", "the controller never imports the adapter"),
    ("controller/web/api.py", "import adapter.errors", "the controller never imports the adapter"),
    ("adapter/sending/actions.py", "import controller.loop.tick", "contract, features and shared, nothing"),
    ("adapter/settings.py", "import controller.config.settings", "contract, features and shared, nothing"),
    ("controller/store/lease.py", "import controller.web.api", f"the controller's {FLOORS}"),
    ("controller/whatif/trace.py", "import controller.loop.tick", f"the controller's {FLOORS}"),
    ("controller/shared/console.py", "import controller.contract", f"the controller's {FLOORS}"),
    ("adapter/transport/post.py", "import adapter.sending.delivery", f"the adapter's {FLOORS}"),
    ("adapter/gate/rule.py", "import adapter.message", f"the adapter's {FLOORS}"),
    (
        "adapter/message.py",
        "import adapter.errors\nimport adapter.checks.cids",
        "nothing is imported in a circle",
    ),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with both packages and the contracts, without what Python compiled."""
    for package in ("controller", "adapter"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter in `folder`, where it finds the copy before what is installed."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "COLUMNS": "200", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_hold_in_the_copy(copy: Path) -> None:
    done = linted(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("place", "statement", "contract"), PLANTED, ids=lambda value: str(value).replace("\n", ";")
)
def test_a_planted_import_breaks_the_contract_that_forbids_it(
    copy: Path, place: str, statement: str, contract: str
) -> None:
    file = copy / place
    file.write_text(f"{statement}\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
    done = linted(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = " ".join(done.stdout.partition("Broken contracts")[2].split())
    assert contract in broken, broken


def test_a_module_outside_every_floor_breaks_the_contract(copy: Path) -> None:
    (copy / "adapter" / "helpers.py").write_text("", encoding="utf-8")
    assert linted(copy).returncode == 1
