"""What signing in tells Prometheus and the access log."""

import logging
import os
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from kit.secret_search import Notes
from prometheus_client import CollectorRegistry, generate_latest

from adapter.signin.errors import Identity
from adapter.signin.metrics import OUTCOMES, SignInMetrics
from adapter.signin.providers import IDENTITIES
from adapter.web.signin_routes import routes
from controller.contract import METRIC_LABELS

PATHS = [identity.path for identity in IDENTITIES]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.provider)
def test_every_outcome_stands_at_nought_before_the_first_refresh(identity: Identity) -> None:
    registry = CollectorRegistry()
    SignInMetrics.of(identity, registry)
    for outcome in OUTCOMES:
        assert registry.get_sample_value(identity.metric("refresh_total"), {"outcome": outcome}) == 0
    assert "_created" not in generate_latest(registry).decode()


def test_the_names_are_those_of_the_contract() -> None:
    registry = CollectorRegistry()
    for identity in IDENTITIES:
        SignInMetrics.of(identity, registry)
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name in METRIC_LABELS


@pytest.mark.parametrize(
    "target",
    [f"{path}/{rest}=SECRET" for path in PATHS for rest in ("callback?state=SECRET&code", "authorize?link")],
)
def test_the_access_log_shows_the_path_alone(target: str) -> None:
    routes()
    notes, logger = Notes(), logging.getLogger("uvicorn.access")
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    logger.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", target, "1.1", 200)
    logger.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/api?since=7d", "1.1", 200)
    logger.removeHandler(notes)
    assert "SECRET" not in "".join(notes.lines)
    assert "/oauth/" in notes.lines[0]
    assert "since=7d" in notes.lines[1]


def test_a_sender_that_brings_its_own_tokens_does_not_load_msal() -> None:
    asked = "import sys, adapter.sending.runtime, adapter.signin.metrics; sys.exit('msal' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def test_a_sender_whose_provider_is_on_has_msal_before_its_first_send() -> None:
    asked = (
        "import asyncio, sys\n"
        "from adapter.sending.runtime import Runtime\n"
        "async def start():\n"
        "    async with Runtime.open() as runtime:\n"
        "        return 'msal' in sys.modules, list(runtime.tokens)\n"
        "print(asyncio.run(start()))"
    )
    told = {"MS_CLIENT_ID": "a", "MS_CLIENT_SECRET": "b", "MS_TENANT_ID": "c"}
    keys = {"ROLLOUT_TOKEN_KEYS": Fernet.generate_key().decode()}
    nowhere = "https://localhost:1/c"
    on = {"PROVIDER_MICROSOFT_ENABLED": "true", "MS_AUTHORITY": nowhere, **os.environ}
    for settings, expected in (({**told, **keys}, "(True, ['microsoft'])"), (told, "(True, [])")):
        done = subprocess.run(
            [sys.executable, "-c", asked], env={**on, **settings}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
