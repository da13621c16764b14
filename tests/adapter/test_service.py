"""Sending over HTTP: the answers and statuses of the contract."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import redis
from kit.sending import Sender, open_flags, open_sender
from kit.servers import RedisServer
from kit.waiting import until
from starlette.applications import Starlette

from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.web.service import routes
from controller.contract import flag_key

PATH = "/actions/outlook.send"
MAIL: dict[str, Any] = {
    "to": [{"address": "ann@corp.example", "name": "Ann"}],
    "subject": "Hi",
    "body_html": '<p>Hi</p><img src="cid:logo">',
    "attachments": [{"name": "a.txt", "content_type": "text/plain", "content_base64": "YQ=\r\n="}],
    "inline_images": [
        {"name": "l.png", "content_type": "image/png", "content_base64": "eA==", "content_id": "logo"}
    ],
    "user_id": "u1",
}


@pytest.fixture
async def opened(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> AsyncIterator[Sender]:
    open_flags(redis_client)
    environment = {"ROLLOUT_API_TOKEN": "open-sesame", "ROLLOUT_MAX_BODY_BYTES": "20000"}
    async with open_sender(redis_server.url, graph, environment=environment) as sender:
        yield sender


@pytest.fixture
async def client(opened: Sender) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=routes(opened.runtime))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://adapter",
        headers={"Authorization": "Bearer open-sesame"},
    ) as client:
        yield client


async def test_a_send_answers_with_its_ids(client: httpx.AsyncClient, graph: Sandbox) -> None:
    answer = await client.post(PATH, json=MAIL)
    received = graph.messages[0]
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "sent",
        "request_id": received.request_id,
        "client_request_id": received.client_request_id,
        "internet_message_id": received.mail.internet_message_id,
        "replayed": False,
    }


async def test_a_key_works_over_http(client: httpx.AsyncClient) -> None:
    first = await client.post(PATH, json=MAIL | {"idempotency_key": "k"})
    second = await client.post(PATH, json=MAIL | {"idempotency_key": "k"})
    assert second.json() == first.json() | {"replayed": True}


async def test_the_header_means_the_same_as_the_field(client: httpx.AsyncClient, graph: Sandbox) -> None:
    key = "ordér-1"
    first = await client.post(PATH, json=MAIL | {"idempotency_key": key})
    header = {"Idempotency-Key": key.encode()}
    again = [
        await client.post(PATH, json=MAIL, headers=header),  # type: ignore[arg-type]
        await client.post(PATH, json=MAIL | {"idempotency_key": key}, headers=header),  # type: ignore[arg-type]
    ]
    assert [answer.json() for answer in again] == [first.json() | {"replayed": True}] * 2
    assert graph.posts == 1


@pytest.mark.parametrize(
    ("headers", "field", "code"),
    [
        ([("Idempotency-Key", "a")], "b", "INVALID_REQUEST"),
        ([("Idempotency-Key", "a"), ("Idempotency-Key", "b")], None, "INVALID_REQUEST"),
        ([("Idempotency-Key", "")], None, "INVALID_HEADER"),
        ([("Idempotency-Key", "")], "a", "INVALID_REQUEST"),
        ([("Idempotency-Key", "k" * 257)], None, "INVALID_HEADER"),
    ],
)
async def test_two_keys_or_a_bad_one_are_refused(
    headers: list[tuple[str, str]], field: str | None, code: str, client: httpx.AsyncClient, graph: Sandbox
) -> None:
    answer = await client.post(PATH, json=MAIL | {"idempotency_key": field}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"], graph.posts) == (422, code, 0)


@pytest.mark.parametrize("retry_after", ["9" * 400, "-5", "soon", "Fri, 31 Dec 9999 23:59:59 GMT", "\x7f, 1"])
async def test_whatever_retry_after_graph_writes_the_answer_is_429(
    retry_after: str, client: httpx.AsyncClient, graph: Sandbox
) -> None:
    graph.faults = Faults(throttle=True, retry_after=retry_after)
    answer = await client.post(PATH, json=MAIL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "MS_API_THROTTLED_429")


@pytest.mark.parametrize(
    "body", [b'{"\\ud800": 1}', b'{"user_id": "u", "to": [{"address": "a", "\\udfff": 1}]}']
)
async def test_half_a_character_in_a_name_is_refused_by_that_name(
    body: bytes, client: httpx.AsyncClient
) -> None:
    answer = await client.post(PATH, content=body)
    assert answer.status_code == 422
    assert "unknown field" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("faults", "status", "code"),
    [
        (Faults(status=504), 504, "MS_SEND_UNKNOWN"),
        (Faults(status=401), 401, "MS_AUTH_INVALID"),
        (Faults(status=403), 502, "MS_AUTH_INSUFFICIENT_PERMS"),
        (Faults(status=413), 413, "ATTACHMENT_TOO_LARGE"),
        (Faults(throttle=True, retry_after=3600), 429, "MS_API_THROTTLED_429"),
        (Faults(status=400, error_code="ErrorInvalidRecipients"), 422, "INVALID_RECIPIENT"),
        (Faults(status=200), 504, "MS_SEND_UNKNOWN"),
        (Faults(status=400, error_code="ErrorSendAsDenied"), 502, "MS_SEND_AS_DENIED"),
    ],
)
async def test_an_answer_of_graph_has_its_status(
    faults: Faults, status: int, code: str, client: httpx.AsyncClient, graph: Sandbox
) -> None:
    graph.faults = faults
    answer = await client.post(PATH, json=MAIL)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error.keys() == {"code", "message", "source", "retry_after_s", "request_id"}
    if faults.throttle:
        assert (error["retry_after_s"], answer.headers["Retry-After"]) == (3600, "3600")


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"subject": "a\r\nb"}, 422, "INVALID_HEADER"),
        ({"to": []}, 422, "INVALID_RECIPIENT"),
        ({"to": "ann@corp.example"}, 422, "INVALID_REQUEST"),
        ({"to": [{"address": 1}]}, 422, "INVALID_REQUEST"),
        ({"to": [{"adress": "a@b.com"}]}, 422, "INVALID_REQUEST"),
        ({"subjekt": "x"}, 422, "INVALID_REQUEST"),
        ({"user_id": 1}, 422, "INVALID_REQUEST"),
        ({"user_id": None}, 422, "INVALID_REQUEST"),
        ({"user_id": ""}, 422, "INVALID_REQUEST"),
        ({"user_id": "a\nb"}, 422, "INVALID_REQUEST"),
        ({"user_id": "x" * 257}, 422, "INVALID_REQUEST"),
        ({"to": None}, 422, "INVALID_REQUEST"),
        ({"attachments": [{"name": "a", "content_base64": "*"}]}, 422, "INVALID_REQUEST"),
        ({"attachments": [{"name": "a", "content_base64": "YQ=\r\n"}]}, 422, "INVALID_REQUEST"),
        ({"resend_unknown": "yes"}, 422, "INVALID_REQUEST"),
        (
            {"attachments": [{"name": "a", "content_base64": base64.b64encode(b"x" * 16_000).decode()}]},
            413,
            "ATTACHMENT_TOO_LARGE",
        ),
        ({"body_text": "x" * 200_000}, 413, "ATTACHMENT_TOO_LARGE"),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    changed: dict[str, Any], status: int, code: str, client: httpx.AsyncClient, graph: Sandbox
) -> None:
    answer = await client.post(PATH, json=MAIL | changed)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert graph.posts == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 50_000])
async def test_what_is_no_json_object_is_refused(body: bytes, client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "INVALID_REQUEST")


async def test_a_denial_says_which_and_why(
    client: httpx.AsyncClient, redis_client: redis.Redis, opened: Sender
) -> None:
    redis_client.set(flag_key("microsoft", "rollout_percent"), "0")
    await _obeyed(opened, 0)
    answer = await client.post(PATH, json=MAIL)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["source"]) == (403, "ACTION_GATED", "adapter")
    assert "not reached by the rollout percentage" in error["message"]


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("", 401), ("Basic eDp5", 401), ("Bearer ", 401), ("Bearer wrong", 403), ("Bearer ö", 403)],
)
async def test_who_brings_no_token_is_not_let_in(
    authorization: str, status: int, client: httpx.AsyncClient, graph: Sandbox
) -> None:
    headers = {"Authorization": authorization.encode("latin-1")}
    answer = await client.post(PATH, json=MAIL, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, graph.posts) == (status, 0)


async def test_without_a_configured_token_the_route_is_closed(sender: Sender) -> None:
    transport = httpx.ASGITransport(Starlette(routes=routes(sender.runtime)))
    async with httpx.AsyncClient(transport=transport, base_url="http://adapter") as client:
        answer = await client.post(PATH, json=MAIL, headers={"Authorization": "Bearer x"})
    assert answer.status_code == 403


async def _obeyed(sender: Sender, percent: float) -> None:
    await until(lambda: sender.runtime.gate.percent("microsoft") == percent)
