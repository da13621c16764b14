"""The tenants of a cloud: which domains they have, and what their administrators granted to the app."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapter.sandbox.entra.refusal import OAuthRefusal

SEVERAL = frozenset({"common", "organizations"})


@dataclass
class Tenant:
    """One organisation."""

    id: str
    domains: tuple[str, ...] = ()
    has_app: bool = True
    """Whether an administrator has let the app in: it has a service principal."""
    roles: tuple[str, ...] = ("Mail.Send",)
    """Application permissions that were granted to the app."""
    federated: bool = False
    """Whether its people sign in at a server of its own."""


@dataclass
class Directory:
    """All tenants; the first one is the app's own."""

    tenants: list[Tenant] = field(default_factory=list)
    multi_tenant: bool = True
    """Whether the app is registered for accounts in any organisation."""

    def find(self, name: str) -> Tenant | None:
        """Return a tenant by its id or a domain."""
        return next((one for one in self.tenants if name.lower() in (one.id, *one.domains)), None)

    def home_of(self, account: str) -> Tenant:
        """Return the tenant of an account; who belongs to none belongs to the first."""
        return self.find(account.rpartition("@")[2]) or self.tenants[0]

    def check(self, authority: str, account: str = "") -> None:
        """Raise OAuthRefusal where an authority does not serve the app, or this account."""
        if authority in SEVERAL:
            if not self.multi_tenant:
                raise OAuthRefusal("invalid_request", "", 50194)
            tenant = self.home_of(account) if account else None
        else:
            tenant = self.named(authority)
            if account and self.home_of(account) is not tenant:
                raise OAuthRefusal("invalid_request", "", 90072)
        if tenant and not tenant.has_app:
            raise OAuthRefusal("unauthorized_client", "", 700016)

    def named(self, authority: str) -> Tenant:
        """Return the one tenant of an authority; raises OAuthRefusal."""
        if authority in SEVERAL:
            raise OAuthRefusal("invalid_request", "", 50059)
        tenant = self.find(authority)
        if tenant is None:
            raise OAuthRefusal("invalid_request", "", 90002)
        return tenant

    def realm(self, account: str) -> Mapping[str, Any]:
        """Answer as the user realm does."""
        domain = account.rpartition("@")[2]
        tenant = self.find(domain)
        if tenant is None:
            return {"ver": "1.0", "account_type": "Unknown", "cloud_instance_name": "microsoftonline.com"}
        return {
            "ver": "1.0",
            "account_type": "Federated" if tenant.federated else "Managed",
            "domain_name": domain,
            "cloud_instance_name": "microsoftonline.com",
            "cloud_audience_urn": "urn:federation:MicrosoftOnline",
        }
