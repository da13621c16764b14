"""Tokens that the app gets for itself, with which it sends from the mailboxes that are listed for it."""

import time
from collections.abc import Mapping

from adapter.errors import Source
from adapter.signin.errors import Failure
from adapter.signin.grant import AccessToken
from adapter.signin.microsoft.authority import Authority, access_token_of, asked
from adapter.signin.microsoft.errors import MICROSOFT, of_app
from adapter.signin.microsoft.settings import MicrosoftSettings
from adapter.signin.organisation import Organisation


class AppOnly:
    """The sign-in server as an app asks it that needs no person. All calls block and raise SignInError."""

    identity = MICROSOFT

    def __init__(self, settings: MicrosoftSettings) -> None:
        self._settings = settings
        self._authority = Authority(settings)

    def key_of(self, mailbox: str) -> str:
        """Return what a mailbox's token is kept under: one token serves all mailboxes of a tenant."""
        if self._settings.mailboxes is None or not self._settings.mailboxes.has(mailbox):
            raise MICROSOFT.error(
                Failure.INSUFFICIENT_PERMS,
                "MS_APP_MAILBOXES does not list this mailbox",
                act="Add it there, if it may be sent from.",
                source=Source.CALLER,
            )
        return mailbox.rpartition("@")[2].lower() if self._settings.is_multi_tenant else ""

    def access_token(self, key: str, claims: str | None = None) -> AccessToken:
        """Get a token for the tenant of a domain, or for the one tenant where the key is empty."""
        return self.token_of(self._tenant(key), claims)

    def token_of(self, tenant: str, claims: str | None = None) -> AccessToken:
        """Get a token for a tenant."""
        app = self._authority.app(tenant)
        scope = f"{self._settings.cloud.graph}/.default"
        reply = asked(app.acquire_token_for_client, [scope], claims_challenge=claims)
        if not isinstance(reply, Mapping) or "error" in reply:
            raise of_app(reply if isinstance(reply, Mapping) else {}, self.consent_at(tenant))
        return access_token_of(reply, time.time())

    def _tenant(self, domain: str) -> str:
        if not domain:
            return ""
        tenant = self._authority.tenant_id(domain)
        if tenant and self._authority.lets_in(tenant):
            return tenant
        raise MICROSOFT.client_config(
            f"{domain} belongs to tenant {tenant}, which MS_ALLOWED_TENANTS does not list"
            if tenant
            else f"{domain} belongs to no tenant of this cloud",
            act="Add the tenant to MS_ALLOWED_TENANTS, or take the mailbox out of MS_APP_MAILBOXES.",
        )

    def consent_at(self, tenant: str) -> str:
        """Return the page where an administrator of the tenant grants the app its permissions."""
        named = self._settings.authority_of(tenant)
        return f"{named}/adminconsent?client_id={self._settings.client_id}"

    def organisation(self, domain: str) -> Organisation:
        """Return whose tenant a domain is; raises SignInError."""
        return self._authority.organisation(domain)

    def close(self) -> None:
        """Close what is open."""
        self._authority.close()
