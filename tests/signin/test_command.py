"""`rollout auth` and the sandbox's own command, as processes and in process."""

import asyncio
import json
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from click.testing import CliRunner, Result
from kit.servers import RedisServer
from kit.signin import Browser, link_user

from adapter.commands.auth import auth
from adapter.sandbox.signin import TENANT, SandboxSignIn
from adapter.signin.microsoft.manager import MicrosoftTokenManager


async def ask(env: Mapping[str, str | None], *arguments: str) -> Result:
    """Run the command in a thread of its own: it brings its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, auth, list(arguments), env=env)


async def test_link_prints_one_url_on_the_listen_address(env: dict[str, str], browser: Browser) -> None:
    result = await ask({**env, "ROLLOUT_LISTEN": "127.0.0.1:8123"}, "link", "user-1")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert line.startswith("http://127.0.0.1:8123/oauth/microsoft/authorize?link=")
    assert "user-1" not in line
    link = parse_qs(urlsplit(line).query)["link"][0]
    assert (await browser.sign_in(link)).status_code == 200


async def test_behind_a_public_address_the_link_begins_with_it(env: dict[str, str]) -> None:
    public = {**env, "MS_REDIRECT_URI": "https://mail.example.com/oauth/microsoft/callback"}
    printed = await ask(public, "link", "user-1")
    assert printed.stdout.startswith("https://mail.example.com/oauth/microsoft/authorize?link=")
    named = await ask(public, "link", "user-1", "--listen", "127.0.0.1:9000")
    assert named.stdout.startswith("http://127.0.0.1:9000/oauth/microsoft/authorize?link=")


async def test_link_takes_redis_and_the_listen_address_from_the_configuration(
    env: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "rollout.toml"
    config.write_text(f'[controller]\nredis_url = "{env["ROLLOUT_REDIS_URL"]}"\nlisten = "127.0.0.1:8124"\n')
    bare = {**env, "ROLLOUT_REDIS_URL": None, "ROLLOUT_LISTEN": None}
    named = await ask(bare, "link", "user-1", "--config", str(config))
    assert named.stdout.startswith("http://127.0.0.1:8124/oauth/microsoft/authorize?link="), named.output
    by_variable = await ask({**bare, "ROLLOUT_CONFIG": str(config)}, "status", "user-1")
    assert (by_variable.exit_code, "not linked" in by_variable.stdout) == (1, True)
    broken = await ask(bare, "link", "user-1", "--config", str(tmp_path / "nothing.toml"))
    assert (broken.exit_code, broken.stderr.count("\n")) == (2, 1)


async def test_redis_may_be_named_in_a_file(env: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "redis"
    secret.write_text(env["ROLLOUT_REDIS_URL"] + "\n")
    bare = {**env, "ROLLOUT_REDIS_URL": None, "ROLLOUT_REDIS_URL_FILE": str(secret)}
    assert (await ask(bare, "status", "user-1")).exit_code == 1


async def test_link_as_json_and_on_every_address(env: dict[str, str]) -> None:
    result = await ask(env, "link", "user-1", "--listen", "0.0.0.0:9000", "--json")
    told = json.loads(result.stdout)
    assert told["user_id"] == "user-1"
    assert told["expires_in_s"] == 600
    assert told["url"].startswith("http://localhost:9000/")


async def test_a_link_for_an_account_tells_whose_its_domain_is(env: dict[str, str]) -> None:
    known = await ask(env, "link", "user-1", "--account", "ann@corp.example", "--json")
    told = json.loads(known.stdout)["organisation"]
    assert (told["tenant"], told["realm"], told["exchange_online"]) == (TENANT, "Managed", True)
    unknown = await ask(env, "link", "user-1", "--account", "ann@nowhere.example")
    assert (unknown.exit_code, len(unknown.stdout.splitlines())) == (0, 1)
    assert "no mailbox in Exchange Online" in unknown.stderr
    away = await ask(
        {**env, "MS_AUTHORITY": "https://localhost:1/x"}, "link", "u", "--account", "a@b.example"
    )
    assert (away.exit_code, away.stderr) == (0, "")


async def test_where_the_app_signs_in_a_link_is_refused(env: dict[str, str]) -> None:
    app_only = {**env, "MS_AUTH_MODE": "app", "MS_APP_MAILBOXES": "ann@corp.example"}
    refused = await ask(app_only, "link", "user-1")
    assert refused.exit_code == 2
    assert "nobody signs in" in refused.stderr


async def test_status_and_revoke_tell_no_token(
    env: dict[str, str], browser: Browser, manager: MicrosoftTokenManager, outputs: list[str]
) -> None:
    assert (await ask(env, "status", "user-1")).exit_code == 1
    await link_user(browser, manager, "user-1")
    for arguments in (("status", "user-1"), ("status", "user-1", "--json"), ("revoke", "user-1", "--json")):
        result = await ask(env, *arguments)
        assert result.exit_code == 0
        outputs.append(result.output)
    assert json.loads(outputs[1])["account"] == "ann@corp.example"
    assert json.loads(outputs[2]) == {"user_id": "user-1", "revoked": True, "server_revoked": False}
    assert (await ask(env, "status", "user-1")).exit_code == 1
    assert (await ask(env, "revoke", "user-1")).exit_code == 0


@pytest.mark.parametrize(
    "missing", ["MS_CLIENT_ID", "MS_CLIENT_SECRET", "MS_TENANT_ID", "ROLLOUT_TOKEN_KEYS"]
)
async def test_a_missing_setting_is_named(env: dict[str, str], missing: str) -> None:
    result = await ask({**env, missing: ""}, "status", "user-1")
    assert result.exit_code == 2
    assert missing in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROLLOUT_TOKEN_KEYS", "short"),
        ("ROLLOUT_TOKEN_KEYS", "not-ascii-\u00e4"),
        ("MS_TENANT_ID", "common"),
        ("MS_AUTHORITY", "http://localhost/tenant"),
        ("MS_CA_FILE", "/no/such/file"),
    ],
)
async def test_a_bad_setting_is_named(env: dict[str, str], name: str, value: str) -> None:
    result = await ask({**env, name: value}, "status", "user-1")
    assert result.exit_code == 2
    assert name in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert value not in result.stderr or name != "ROLLOUT_TOKEN_KEYS"


async def test_a_bad_listen_address_is_usage(env: dict[str, str]) -> None:
    assert (await ask(env, "link", "user-1", "--listen", "nowhere")).exit_code == 2


async def test_without_redis_the_exit_code_is_three(env: dict[str, str], redis_server: RedisServer) -> None:
    unreachable = {**env, "ROLLOUT_REDIS_URL": "redis://127.0.0.1:1/0"}
    for command in ("link", "status", "revoke"):
        result = await ask(unreachable, command, "user-1")
        assert result.exit_code == 3
        assert "Redis" in result.stderr


async def test_secrets_may_lie_in_files(env: dict[str, str], tmp_path: Path) -> None:
    in_files = {"MS_CLIENT_SECRET", "ROLLOUT_TOKEN_KEYS"}
    for name in in_files:
        (tmp_path / name).write_text(env[name] + "\n")
    rest = {name: value for name, value in env.items() if name not in in_files}
    result = await ask({**rest, "CREDENTIALS_DIRECTORY": str(tmp_path)}, "status", "user-1")
    assert result.exit_code == 1


@asynccontextmanager
async def sandbox_command(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run the sandbox as a process and give what it prints; it must end well when asked to."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adapter.sandbox.signin", "--port", "0", "--cert-dir", str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        lines = [(await process.stdout.readline()).decode().strip() for _ in range(5)]
        yield dict(line.split("=", 1) for line in lines)
    finally:
        process.send_signal(signal.SIGTERM)
        status = await process.wait()
    assert status == 0


async def test_the_sandbox_runs_as_a_command_and_takes_faults_over_http(tmp_path: Path) -> None:
    async with sandbox_command(tmp_path / "tls") as told:
        authority, context = told["MS_AUTHORITY"], ssl.create_default_context(cafile=told["MS_CA_FILE"])
        base = authority.rpartition("/")[0]
        async with httpx.AsyncClient(verify=context) as client:
            found = await client.get(f"{authority}/v2.0/.well-known/openid-configuration")
            assert found.json()["issuer"] == f"{authority}/v2.0"
            fault = {"fault": "429", "times": 1}
            assert (await client.put(f"{base}/sandbox/fault", json=fault)).json() == {"fault": "429"}
            assert (await client.put(f"{base}/sandbox/fault", json={"fault": "none"})).status_code == 400
            throttled = await client.post(f"{authority}/oauth2/v2.0/token", data={})
            assert throttled.status_code == 429
            assert throttled.headers["retry-after"] == "3"
            assert (await client.get(f"{base}/sandbox/stats")).json()["token_requests"] == {"": 1}


async def test_the_sandbox_refuses_a_request_that_entra_would_refuse(
    sandbox: SandboxSignIn, env: dict[str, str], browser: Browser, manager: MicrosoftTokenManager
) -> None:
    url = (await manager.begin()).url
    for old, new in (
        ("client_id=", "client_id=x"),
        ("localhost%3A8003", "evil.example"),
        ("=S256", "=plain"),
        ("response_type=code", "response_type=token"),
    ):
        assert old in url
        assert (await browser.get(url.replace(old, new))).status_code == 400
