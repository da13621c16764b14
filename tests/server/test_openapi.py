"""The OpenAPI document is valid, lists just what is served, and describes what is really answered."""

import re
from typing import Any

import pytest
from kit.serving import Served
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from adapter.web import payload
from controller.cli import adapter_routes
from controller.decision.model import Kind
from controller.shared.api_tokens import Tokens
from controller.shared.openapi import operations_of
from controller.web.openapi import document


@pytest.fixture
def described(served: Served) -> dict[str, Any]:
    document: dict[str, Any] = served.http.get("/openapi.json").json()
    return document


def test_the_document_is_valid_openapi(described: dict[str, Any]) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(described).iter_errors()] == []
    ids = [one["operationId"] for path in described["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))


def test_every_described_route_is_served_and_every_other_is_not(
    served: Served, described: dict[str, Any]
) -> None:
    for path, operations in described["paths"].items():
        asked = re.sub(r"{[a-z]+}", "nothing", path)
        if path == "/api/v1/events":
            continue
        for method in ("get", "post", "put", "delete"):
            answer = served.http.request(method, asked)
            assert (answer.status_code == 405) == (method not in operations), (method, path)


def test_what_is_secured_is_refused_without_a_token(served: Served, described: dict[str, Any]) -> None:
    secured = [
        (method, path)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if "security" in operation
    ]
    assert len(secured) >= 6
    for method, path in secured:
        assert served.http.request(method, re.sub(r"{[a-z]+}", "microsoft", path)).status_code == 401


def test_sending_and_signing_in_stand_in_the_document_too() -> None:
    told = document(operations_of(adapter_routes(Tokens.parse("ann").caller)))
    assert [str(error) for error in OpenAPIV31SpecValidator(told).iter_errors()] == []
    assert sorted(told["paths"]) == [
        "/actions/gmail.send",
        "/actions/outlook.send",
        *(
            f"/oauth/{provider}/{name}"
            for provider in ("google", "microsoft")
            for name in ("authorize", "callback", "refresh", "revoke")
        ),
    ]
    send = told["paths"]["/actions/outlook.send"]["post"]
    assert {"200", "401", "403", "409", "413", "422", "429", "502", "504"} <= set(send["responses"])
    reads = send["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(reads) == set(payload._READERS)


def checked(described: dict[str, Any], name: str) -> OAS31Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return OAS31Validator(schema)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/features/microsoft", "Feature"),
        ("/api/v1/features/google", "Feature"),
        ("/readyz", "Readiness"),
        ("/api/v1/features/nothing", "Problem"),
        ("/nothing", "Problem"),
    ],
)
def test_answers_are_as_described(served: Served, described: dict[str, Any], path: str, name: str) -> None:
    served.person(Kind.ENABLE)
    checked(described, name).validate(served.http.get(path).json())


def test_records_and_evaluations_are_as_described(served: Served, described: dict[str, Any]) -> None:
    checked(described, "Record").validate(served.act("enable", reason="x").json())
    path = "/ofrep/v1/evaluate/flags/microsoft"
    known = served.http.post(path, json={"context": {"targetingKey": "user-1"}})
    checked(described, "FlagAnswer").validate(known.json())
    checked(described, "FlagError").validate(served.http.post(path, json={}).json())
