"""Asking the gate loads little: not the HTTP client, not the metrics, not msal, and redis only to read."""

import subprocess
import sys

import pytest

import adapter

HEAVY = {"asyncio", "httpx", "idna", "msal", "prometheus_client", "redis", "rich", "starlette", "structlog"}


def loaded_by(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_pure_gate_loads_nothing_heavy() -> None:
    assert not loaded_by("import adapter.gate, adapter.gate.snapshot") & HEAVY


@pytest.mark.parametrize("statement", ["from adapter import RolloutGate", "import adapter.gate.rollout_gate"])
def test_the_live_gate_loads_nothing_heavy_before_it_is_made(statement: str) -> None:
    assert not loaded_by(statement) & HEAVY


@pytest.mark.parametrize("name", [name for name in dir(adapter) if not name.startswith("_")])
def test_every_name_that_is_offered_is_there(name: str) -> None:
    assert getattr(adapter, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exchange_send'"):
        _ = adapter.exchange_send
