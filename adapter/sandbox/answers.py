"""How Graph answers: its headers, and its errors as JSON, or broken in the ways that front ends have."""

import json
import uuid
from email.utils import formatdate
from typing import Any

from adapter.sandbox.faults import Faults
from adapter.sandbox.http import Head, SandboxReply

CODES: dict[int, str] = {
    400: "ErrorInvalidRequest",
    401: "InvalidAuthenticationToken",
    403: "ErrorAccessDenied",
    404: "ResourceNotFound",
    413: "RequestEntityTooLarge",
    429: "ApplicationThrottled",
    500: "ErrorInternalServerError",
    503: "serviceNotAvailable",
    507: "ErrorQuotaExceeded",
}
"""The code that Graph gives with a status, where it gives one."""

HTML = b"<!DOCTYPE html><html><head><title>Our services aren't available right now</title></head></html>"


def fault(head: Head, faults: Faults) -> SandboxReply:
    """Return the answer of a fault as Graph gives it."""
    code = faults.error_code or CODES.get(faults.status, "UnknownError")
    message = faults.error_message or "The sandbox was told to answer so."
    answer = error(head, faults.status, code, message)
    headers = {**answer.headers, **retry_after(faults)}
    if faults.status == 401 and faults.claims:
        headers["www-authenticate"] = (
            f'Bearer realm="", error="insufficient_claims", claims="{faults.claims}"'
        )
    if faults.body == "html":
        return SandboxReply(faults.status, {**headers, "content-type": "text/html"}, HTML)
    if faults.body == "empty":
        return SandboxReply(faults.status, headers)
    return SandboxReply(faults.status, headers, answer.body, cut=faults.body == "half")


def retry_after(faults: Faults) -> dict[str, str]:
    """Return the header Retry-After of a fault; nothing without one."""
    return {} if faults.retry_after is None else {"retry-after": str(faults.retry_after)}


def names(head: Head, request_id: str) -> dict[str, str]:
    """Return the headers that name a request."""
    client_request_id = head.headers.get("client-request-id", request_id)
    return {
        "request-id": request_id,
        "client-request-id": client_request_id,
        "date": formatdate(usegmt=True),
    }


def error(head: Head, status: int, code: str, message: str) -> SandboxReply:
    """Return an error as Graph's JSON has it."""
    named = names(head, str(uuid.uuid4()))
    inner = {name: named[name] for name in ("date", "request-id", "client-request-id")}
    body = json.dumps({"error": {"code": code, "message": message, "innerError": inner}}).encode()
    return SandboxReply(status, {**named, "content-type": "application/json"}, body)


def json_answer(status: int, value: Any) -> SandboxReply:
    """Return a value as a JSON answer."""
    return SandboxReply(status, {"content-type": "application/json"}, json.dumps(value).encode())
