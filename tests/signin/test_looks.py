"""What the doctor says of the app: its proof, its rights, and whose its mailboxes are."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapter.commands.sign_in_looks import Look, roles_of, sign_in_looks
from adapter.sandbox.entra.directory import Tenant
from adapter.sandbox.issuer import IssuerFault
from adapter.sandbox.signin import TENANT, SandboxSignIn
from adapter.signin.errors import Failure, SignInError
from adapter.signin.microsoft.app_only import AppOnly
from adapter.signin.microsoft.settings import MicrosoftSettings
from controller.cli import rollout

APP = {"MS_AUTH_MODE": "app", "MS_APP_MAILBOXES": "*@corp.example"}


@pytest.fixture
def env(env: dict[str, str]) -> dict[str, str]:
    return {**env, "PROVIDER_MICROSOFT_ENABLED": "true"}


async def looks(env: dict[str, str], **changed: str) -> list[Look]:
    return await asyncio.to_thread(lambda: list(sign_in_looks({**env, **changed})))


async def test_an_app_that_is_set_up_is_well_in_both_modes(env: dict[str, str]) -> None:
    (people,) = await looks(env)
    assert (people.verdict, people.subject) == ("ok", f"microsoft app at {TENANT}")
    app, domain = await looks(env, **APP)
    assert (app.verdict, domain.verdict) == ("ok", "ok")
    assert "it sends for itself, with Mail.Send" in app.seen
    assert domain.subject == "mailboxes at corp.example"
    assert await looks(env, PROVIDER_MICROSOFT_ENABLED="false") == []


Change = Callable[[SandboxSignIn], object]
WRONG: dict[str, tuple[Change, str, str, str]] = {
    "secret": (
        lambda s: setattr(s.issuer.app, "client_secret", "x"),
        "bad",
        "AADSTS7000215",
        "MS_CLIENT_SECRET",
    ),
    "certificate": (lambda s: s.issuer.fail(IssuerFault.WRONG_CERTIFICATE), "bad", "AADSTS700027", "Upload"),
    "app": (lambda s: s.issuer.fail(IssuerFault.UNKNOWN_APP), "bad", "AADSTS700016", "MS_CLIENT_ID"),
    "not let in": (
        lambda s: s.issuer.fail(IssuerFault.NO_SERVICE_PRINCIPAL),
        "bad",
        "7000229",
        "adminconsent",
    ),
    "right": (
        lambda s: setattr(s.issuer.directory.tenants[0], "roles", ()),
        "note",
        "Entra has not granted it Mail.Send",
        "adminconsent",
    ),
    "server": (lambda s: s.issuer.fail(IssuerFault.SERVER_ERROR), "away", "500", "Wait"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_named_with_what_to_do(
    name: str, env: dict[str, str], sandbox: SandboxSignIn
) -> None:
    change, verdict, seen, do = WRONG[name]
    change(sandbox)
    app, _ = await looks(env, **APP)
    assert app.verdict == verdict
    assert seen in app.seen
    assert do in app.do


async def test_each_tenant_and_each_domain_has_a_line(env: dict[str, str], sandbox: SandboxSignIn) -> None:
    sandbox.issuer.directory.tenants.append(
        Tenant("c0000000-0000-4000-8000-000000000003", ("contoso.example",))
    )
    several = {
        **APP,
        "MS_AUTHORITY": sandbox.base,
        "MS_TENANT_ID": "organizations",
        "MS_ALLOWED_TENANTS": f"{TENANT},nowhere.example",
        "MS_APP_MAILBOXES": "*@corp.example, *@contoso.example",
    }
    found = {look.subject: look for look in await looks(env, **several)}
    assert [look.verdict for look in found.values()].count("bad") == 2
    assert found["mailboxes at corp.example"].verdict == found[f"microsoft app at {TENANT}"].verdict == "ok"
    assert "is not a sign-in server with this tenant" in found["microsoft app at nowhere.example"].seen
    assert "not among the tenants that are let in" in found["mailboxes at contoso.example"].seen


async def test_the_doctor_shows_these_lines(env: dict[str, str]) -> None:
    wrong = {**env, "MS_APP_MAILBOXES": "ann@corp.example", "MS_GRAPH_URL": "http://127.0.0.1:9"}
    done = await asyncio.to_thread(CliRunner().invoke, rollout, ["doctor", "--json"], env=wrong)
    told = {one["subject"]: one for one in json.loads(done.stdout)}["microsoft sign-in"]
    assert (told["verdict"], told["seen"]) == ("bad", "MS_APP_MAILBOXES is only for MS_AUTH_MODE=app")


async def test_a_file_that_holds_no_certificate_is_named(env: dict[str, str], tmp_path: Path) -> None:
    (trusted := tmp_path / "ca.pem").write_text("nothing")
    (look,) = await looks(env, **APP, MS_CA_FILE=str(trusted))
    assert look.verdict == "bad"
    assert look.seen.startswith("MS_CA_FILE")
    assert "holds no certificate in PEM; name the file of the authority" in look.seen


async def test_a_file_of_certificates_that_is_gone_later_leaves_the_rest_running(
    env: dict[str, str], tmp_path: Path
) -> None:
    settings = MicrosoftSettings.from_environment({**env, **APP})
    with pytest.raises(SignInError, match="MS_CA_FILE = ") as gone:
        AppOnly(replace(settings, ca_file=str(tmp_path / "gone.pem")))
    assert gone.value.failure is Failure.CLIENT_CONFIG


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.W10.c", "a.bnVsbA.c"])
def test_a_token_that_shows_no_rights_is_not_held_against_the_app(token: str) -> None:
    assert roles_of(token) is None
