"""Microsoft's sign-in server as every mode asks it: apps of MSAL, documents of tenants, tokens in answers.

All calls block. Each uses a fresh MSAL app with an empty token cache: what a check refuses is gone with it,
and MSAL's memory of old errors ends with the call that made it. Making one takes a third of a millisecond.
"""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msal

from adapter.signin.errors import SignInError
from adapter.signin.grant import AccessToken, Account, lifetime_s_of
from adapter.signin.http import SignInHttp
from adapter.signin.microsoft.assertion import credential_of
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.settings import MicrosoftSettings
from adapter.signin.organisation import Organisation

CAPABILITIES = ["CP1"]
"""We understand claims challenges, so Graph may revoke a token before its time and say why."""
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class _Quiet(logging.Filter):
    """MSAL's debug log shows authorization codes and code verifiers, so none of it below a warning passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


for _name in ("msal.token_cache", "msal.application", "msal.oauth2cli.oauth2", "msal.oauth2cli.oidc"):
    logging.getLogger(_name).addFilter(_Quiet())


class Authority:
    """The sign-in server of one cloud, for one app."""

    def __init__(self, settings: MicrosoftSettings) -> None:
        self._settings = settings
        self._credential = credential_of(settings)
        self._http = SignInHttp(
            MICROSOFT, settings.authority_url, ca_file=settings.ca_file, timeout_s=settings.http_timeout_s
        )

    def app(self, tenant: str = "", account: Account | None = None) -> msal.ConfidentialClientApplication:
        """Make an app for one call; raises SignInError where the authority does not answer as one."""
        url = self._settings.authority_of(tenant)
        try:
            return msal.ConfidentialClientApplication(
                self._settings.client_id,
                client_credential=self._credential,
                authority=url,
                instance_discovery=False,
                azure_region=False,
                client_capabilities=CAPABILITIES,
                http_client=_Routed(self._http, account),
                token_cache=msal.TokenCache(),
                http_cache={},
            )
        except (ValueError, KeyError):
            pass
        raise MICROSOFT.client_config(
            f"{url} is not a sign-in server with this tenant",
            act="Correct MS_TENANT_ID or MS_ALLOWED_TENANTS; MS_CLOUD where the tenant is in another cloud; "
            "MS_AUTHORITY where it is set.",
        )

    def issuer(self, tenant: str = "") -> str:
        """Return who issues a tenant's tokens; empty where there is no such tenant."""
        url = f"{self._settings.authority_of(tenant)}/v2.0/.well-known/openid-configuration"
        return str(json.loads(self._http.get(url).text).get("issuer", ""))

    def tenant_id(self, name: str) -> str:
        """Return the id of a tenant that is named by it or by a domain; empty where there is none."""
        if _GUID.match(name.lower()):
            return name.lower()
        return urlsplit(self.issuer(name)).path.strip("/").split("/")[0].lower()

    def lets_in(self, tenant: str) -> bool:
        """Whether a tenant, by its id, is one of those that are configured; a domain is looked up."""
        several, own = self._settings.tenants, self._settings.tenant_id.lower()
        if self._settings.is_multi_tenant:
            return tenant in several or tenant in map(self.tenant_id, several)
        return tenant == (own if _GUID.match(own) else self.tenant_id(""))

    def organisation(self, domain: str) -> Organisation:
        """Return what the server knows of the organisation behind a domain; raises SignInError."""
        tenant = self.tenant_id(domain)
        common = self._settings.authority_of("common")
        url = f"{common}/userrealm/{quote(f'someone@{domain}', safe='@')}?api-version=1.0"
        realm = json.loads(self._http.get(url).text)
        return Organisation.read(domain, tenant, realm, allowed=bool(tenant) and self.lets_in(tenant))

    def close(self) -> None:
        """Close what is open."""
        self._http.close()


class _Routed:
    """The shared HTTP client, with the header that leads Entra to where this account's data lies."""

    def __init__(self, http: SignInHttp, account: Account | None) -> None:
        self._http = http
        known = account is not None and account.subject
        self._extra = (
            {"X-AnchorMailbox": f"Oid:{account.subject}@{account.tenant}"} if account and known else {}
        )

    def get(self, url: str, **kwargs: Any) -> Any:
        return self._http.get(url, **kwargs)

    def post(self, url: str, **kwargs: Any) -> Any:
        kwargs["headers"] = {**(kwargs.get("headers") or {}), **self._extra}
        return self._http.post(url, **kwargs)

    def close(self) -> None:
        """Leave the pool open: it outlives every app."""


def asked(method: Any, *args: Any, **kwargs: Any) -> Any:
    """Call MSAL; what it raises besides our own errors is dropped, for it may quote the answer."""
    try:
        return method(*args, **kwargs)
    except SignInError:
        raise
    except Exception as error:  # noqa: BLE001
        name = type(error).__name__
    raise MICROSOFT.unavailable(f"The sign-in server's answer cannot be read ({name})")


def access_token_of(reply: Mapping[str, Any], now: float) -> AccessToken:
    """Read the access token of an answer; raises SignInError where there is none."""
    secret, lifetime_s = reply.get("access_token"), lifetime_s_of(reply.get("expires_in"))
    if not isinstance(secret, str) or not secret or not lifetime_s:
        raise MICROSOFT.unavailable("The sign-in server answered without a token")
    return AccessToken(secret, now, now + lifetime_s)
