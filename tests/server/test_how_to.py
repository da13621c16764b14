"""The how-tos do what they say: their commands and their code, run as they stand there."""

import hmac
import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.servers import RedisServer
from kit.serving import Served, serving
from worlds.fault_rig import Rig

from controller.decision.model import Kind
from controller.notify.messages import signature

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to.md").read_text(encoding="utf-8")


def block(language: str, about: str) -> str:
    """Return the one block that has these words."""
    found = [code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL) if about in code]
    assert len(found) == 1, about
    return str(found[0])


def test_the_check_of_a_signature_takes_ours_and_no_other() -> None:
    names: dict[str, Any] = {"hmac": hmac}
    exec(block("python", "def is_ours"), names)  # noqa: S102 - the page's own code
    body = b'{"event": "pause"}'
    header = signature("secret", body, 1_700_000_000)
    assert names["is_ours"](b"secret", header, body)
    assert not names["is_ours"](b"another", header, body)
    assert not names["is_ours"](b"secret", header, body + b" ")


def test_the_client_prints_what_was_decided(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.person(Kind.ENABLE)
    code = block("python", "daemon.decisions").replace("http://127.0.0.1:8003", served.url)
    exec(code, {})  # noqa: S102 - the page's own code
    assert "enable manual" in capsys.readouterr().out


def test_the_gate_in_the_same_process_answers_openfeature(served: Served) -> None:
    code = block("python", "RolloutProvider").replace("redis://127.0.0.1:6379/0", served.settings.redis_url)
    exec(code, {})  # noqa: S102 - the page's own code


def test_a_token_is_made_and_pauses_by_its_hash_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    kept, told = tmp_path / "api_token", tmp_path / "token"
    making = block("bash", "openssl").replace("/etc/rollout-controller/secrets/api_token", str(kept))
    run(f'{making}\nprintf %s "$TOKEN" > {told}')
    token = told.read_text()
    assert kept.read_text() == f"ann/operate:sha256:{sha256(token.encode()).hexdigest()}\n"
    with serving(redis_server.url, token=kept.read_text().strip()) as served:
        asking = block("bash", "/pause").replace("https://rollout.example", served.url)
        assert '"actor":"ann"' in run(asking, TOKEN=token)
        [stored] = served.store.read(["microsoft"])
        assert stored.flags.paused
        assert '"note":"incident 17"' in run(asking, TOKEN=token)


@pytest.mark.parametrize(("percent", "paused", "code"), [(100.0, False, 0), (5.0, True, 1)])
def test_a_pipeline_waits_for_the_end_and_fails_on_a_pause(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    tmp_path: Path,
    percent: float,
    paused: bool,
    code: int,
) -> None:
    rig = Rig(redis_server.url, redis_client, tmp_path / "decisions.jsonl")
    rig.person(Kind.ENABLE)
    rig.person(Kind.SET, percent)
    if paused:
        rig.person(Kind.PAUSE)
    rig.tick(rig.controller())
    enable, _, waiting = block("bash", "until state=").partition("\n")
    assert "rollout enable microsoft" in enable
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "ROLLOUT_REDIS_URL": redis_server.url}
    ran = subprocess.run(["bash", "-euc", waiting], env=env, cwd=tmp_path, check=False, timeout=60)
    assert ran.returncode == code


def run(script: str, **env: str) -> str:
    ran = subprocess.run(
        ["bash", "-euc", script],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout
