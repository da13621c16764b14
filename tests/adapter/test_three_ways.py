"""Each field of a mail arrives the same by `outlook_send`, over HTTP and from a shell, in either form."""

import asyncio
import base64
import email.policy
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any

import httpx
import pytest
import redis
from click.testing import CliRunner
from kit.sending import ANN, Sender, open_flags, open_sender
from kit.servers import RedisServer
from starlette.applications import Starlette

from adapter import EmailAddress
from adapter.errors import StructuredError
from adapter.sandbox.graph import Sandbox
from adapter.web.service import routes
from controller.cli import rollout

DESK = EmailAddress("desk@corp.example", "Desk")
FROM = {"from_address": DESK}
FROM_OPTIONS = ["--from", "Desk <desk@corp.example>"]
AT = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()

FIELDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "cc, bcc, reply_to": (
        {"cc": [DESK], "bcc": [DESK], "reply_to": [DESK]},
        [part for name in ("--cc", "--bcc", "--reply-to") for part in (name, FROM_OPTIONS[1])],
    ),
    "importance": ({"importance": "high"}, ["--importance", "high"]),
    "categories": ({"categories": ["Red", "Grün"]}, ["--category", "Red", "--category", "Grün"]),
    "headers": ({"headers": {"X-Run": "42"}}, ["--header", "X-Run: 42"]),
    "another header": ({"headers": {"List-Id": "<l>"}}, ["--header", "List-Id:<l>"]),
    "sender": ({"sender": "desk@corp.example"}, ["--sender", "desk@corp.example"]),
    "from_address": (FROM, FROM_OPTIONS),
    "read_receipt": ({"read_receipt": True, **FROM}, ["--read-receipt", *FROM_OPTIONS]),
    "delivery_receipt": ({"delivery_receipt": True, **FROM}, ["--delivery-receipt", *FROM_OPTIONS]),
    "save_to_sent_items": ({"save_to_sent_items": False}, ["--no-save"]),
    "send_at": ({"send_at": AT}, ["--send-at", AT]),
}
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "importance": ({"importance": "urgent"}, ["--importance", "urgent"]),
    "categories[0]": ({"categories": ["a,b"]}, ["--category", "a,b"]),
    "headers.Bcc": ({"headers": {"Bcc": "x@y.z"}}, ["--header", "Bcc:x@y.z"]),
    "sender": ({"sender": "../me"}, ["--sender", "../me"]),
    "from_address": ({"from_address": EmailAddress("nobody")}, ["--from", "nobody"]),
    "send_at": ({"send_at": "2020-01-01T00:00:00Z"}, ["--send-at", "2020-01-01T00:00:00Z"]),
    "save_to_sent_items": ({"send_at": AT, "save_to_sent_items": False}, ["--send-at", AT, "--no-save"]),
    "headers": (
        {"headers": {"List-Id": "<l>"}, "save_to_sent_items": False},
        ["--header", "List-Id:<l>", "--no-save"],
    ),
}
FORMS = {"json": {"body_html": "<p>Hi</p>"}, "both": {"body_html": "<p>Hi</p>", "body_text": "Hi"}}


@dataclass
class Ways:
    """The three ways to one local Graph."""

    sender: Sender
    client: httpx.AsyncClient
    graph: Sandbox
    environment: dict[str, str]
    folder: Any

    async def by_library(self, given: dict[str, Any]) -> str:
        try:
            await self.sender.send(**given)
        except StructuredError as error:
            return f"{error.code} {error.field}"
        return ""

    async def over_http(self, given: dict[str, Any]) -> str:
        mail = {"to": [ANN], "subject": "Hi", "user_id": "u1", **given}
        answer = await self.client.post("/actions/outlook.send", json=plain(mail))
        if answer.status_code == 200:
            return ""
        error = answer.json()["error"]
        return f"{error['code']} {error['message'].partition(':')[0]}"

    async def from_a_shell(self, given: dict[str, Any], options: list[str]) -> str:
        bodies = ["--text", "-"] if "body_text" in given else []
        if "body_html" in given:
            page = self.folder / "page.html"
            page.write_text(given["body_html"], encoding="utf-8")
            bodies += ["--html", str(page)]
        command = ["send", "--user", "u1", "--to", "Ann <ann@corp.example>", "--subject", "Hi"]
        how = {"input": given.get("body_text", ""), "env": self.environment}
        result = await asyncio.to_thread(CliRunner().invoke, rollout, [*command, *bodies, *options], **how)
        return "" if result.exit_code == 0 else result.stderr

    def arrived(self) -> Any:
        """Return what Graph got, without what differs for each mail, and forget it."""
        drafts = [(one.mailbox, one.mail.recipients, one.due_at) for one in self.graph.drafts.drafts.values()]
        self.graph.drafts.drafts.clear()
        if drafts:
            return drafts
        message = self.graph.messages.pop()
        if message.content_type == "application/json":
            body = json.loads(message.body)
            del body["message"]["internetMessageId"]
            return message.mailbox, body
        mail = BytesParser(policy=email.policy.default).parsebytes(base64.b64decode(message.body))
        heads = {name: value for name, value in mail.items() if name not in {"Message-ID", "Content-Type"}}
        return message.mailbox, {name: str(value) for name, value in heads.items()}


def plain(value: Any) -> Any:
    """Return a mail's fields as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: part for name, part in asdict(value).items() if part is not None}
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


@pytest.fixture
async def ways(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox, tmp_path: Any
) -> AsyncIterator[Ways]:
    open_flags(redis_client)
    environment = {
        "ROLLOUT_REDIS_URL": redis_server.url,
        "MS_GRAPH_URL": graph.url,
        "PROVIDER_MICROSOFT_ENABLED": "true",
        "INTEGRATION_TESTS_ENABLED": "true",
        "MS_INTEGRATION_TOKEN": "sandbox-token",
    }
    async with open_sender(redis_server.url, graph, environment={"ROLLOUT_API_TOKEN": "t"}) as sender:
        sender.defaults = {"to": [ANN], "subject": "Hi", "user_id": "u1"}
        transport = httpx.ASGITransport(Starlette(routes=routes(sender.runtime)))
        headers = {"Authorization": "Bearer t"}
        async with httpx.AsyncClient(transport=transport, base_url="http://a", headers=headers) as client:
            yield Ways(sender, client, graph, environment, tmp_path)


async def test_each_field_arrives_the_same_by_all_three_ways_and_in_either_form(ways: Ways) -> None:
    for field, (given, options) in FIELDS.items():
        for form, bodies in FORMS.items():
            mail = {**given, **bodies}
            assert await ways.by_library(mail) == "", (field, form)
            expected = ways.arrived()
            assert await ways.over_http(mail) == "", (field, form)
            assert ways.arrived() == expected, (field, form)
            assert await ways.from_a_shell(mail, options) == "", (field, form)
            assert ways.arrived() == expected, (field, form)


async def test_a_bad_value_is_refused_by_its_name_by_all_three_ways_before_any_post(ways: Ways) -> None:
    for field, (given, options) in REFUSED.items():
        mail = {**given, "body_text": "Hi"}
        refused = await ways.by_library(mail)
        assert refused.split(" ", 1)[1] == field
        assert await ways.over_http(mail) == refused
        by_shell = await ways.from_a_shell(mail, options)
        assert field.partition("[")[0].partition(".")[0].removesuffix("_address") in by_shell
    assert (ways.graph.posts, ways.graph.steps["create"]) == (0, 0)
