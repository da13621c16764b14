"""What `rollout doctor` says of signing in with Microsoft: whether each tenant takes the app."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from adapter.settings import SettingsError
from adapter.signin.errors import Failure, SignInError
from adapter.signin.microsoft.app_only import AppOnly
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.settings import APP, MicrosoftSettings

MOST_LOOKED_AT = 20
"""Tenants, and domains, that are asked for; each is a request or two."""


class Look(NamedTuple):
    """One line: as the doctor has it."""

    subject: str
    verdict: str
    """`ok`, `note`, `bad` or `away`."""
    seen: str
    do: str = ""


def sign_in_looks(environ: Mapping[str, str]) -> Iterator[Look]:
    """Ask the sign-in server for a token of the app itself: a right one shows that its proof is taken."""
    needed = ("MS_CLIENT_ID", "MS_TENANT_ID")
    for_tests = environ.get("INTEGRATION_TESTS_ENABLED") == "true" and environ.get("MS_INTEGRATION_TOKEN")
    if environ.get("PROVIDER_MICROSOFT_ENABLED") != "true" or for_tests or not all(map(environ.get, needed)):
        return
    try:
        settings = MicrosoftSettings.from_environment(environ)
    except SettingsError as error:
        yield Look("microsoft sign-in", "bad", str(error), f"see {MICROSOFT.guide}")
        return
    with closing(AppOnly(settings)) as app:
        for tenant in (settings.tenants or ("",))[:MOST_LOOKED_AT]:
            yield _proof(app, tenant, settings)
        domains = settings.mailboxes.domains if settings.mailboxes else ()
        for domain in domains[:MOST_LOOKED_AT]:
            yield _domain(app, domain)


def _proof(app: AppOnly, tenant: str, settings: MicrosoftSettings) -> Look:
    subject = f"microsoft app at {tenant or settings.tenant_id}"
    try:
        roles = roles_of(app.token_of(tenant).secret)
    except SignInError as error:
        return _trouble(subject, error)
    if settings.mode != APP:
        return Look(subject, "ok", "its proof is taken; people sign in (delegated)")
    wanted = ["Mail.Send", "Mail.ReadWrite"] if settings.drafts else ["Mail.Send"]
    missing = [right for right in wanted if roles is not None and right not in roles]
    if missing:
        return Look(
            subject,
            "note",
            f"its proof is taken, but Entra has not granted it {' and '.join(missing)}",
            f"unless Exchange has (RBAC for Applications), an administrator opens {app.consent_at(tenant)}",
        )
    return Look(subject, "ok", f"its proof is taken; it sends for itself, with {' and '.join(wanted)}")


def _domain(app: AppOnly, domain: str) -> Look:
    try:
        found = app.organisation(domain)
    except SignInError as error:
        return _trouble(f"mailboxes at {domain}", error)
    good = found.exchange_online and found.allowed
    do = "" if good else "correct MS_APP_MAILBOXES, MS_TENANT_ID or MS_ALLOWED_TENANTS"
    return Look(f"mailboxes at {domain}", "ok" if good else "bad", found.sentence(), do)


def _trouble(subject: str, error: SignInError) -> Look:
    why, _, act = error.message.partition(". ")
    number = f" ({error.provider_code})" if error.provider_code else ""
    away = error.failure is Failure.UNAVAILABLE
    return Look(subject, "away" if away else "bad", f"{why}{number}", act)


def roles_of(token: str) -> list[str] | None:
    """Return the application permissions in a token; None where it is no JWT, which Graph may change to."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return list(claims.get("roles", ()))
    except (IndexError, ValueError, AttributeError, TypeError):
        return None
