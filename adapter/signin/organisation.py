"""What Microsoft's sign-in server tells of the organisation behind a mail domain. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapter.signin.errors import word

_SIGN_IN = {"Managed": "signs in at Microsoft", "Federated": "signs in at its own server"}


@dataclass(frozen=True, slots=True)
class Organisation:
    """A domain's tenant. A tenant may have mailboxes in Exchange Online; without one there can be none."""

    domain: str
    tenant: str
    """Its id; empty where Microsoft has no tenant with this domain."""
    realm: str
    """`Managed`, `Federated`, or `Unknown`."""
    cloud: str
    """The name of the cloud instance, as Microsoft writes it."""
    allowed: bool
    """Whether its people may sign in here, and its mailboxes send."""

    @classmethod
    def read(cls, domain: str, tenant: str, realm: Mapping[str, Any], *, allowed: bool) -> "Organisation":
        """Read the answer of the user realm."""
        kind = word(realm.get("account_type"))
        known = kind if kind in _SIGN_IN else "Unknown"
        return cls(domain, tenant, known, word(realm.get("cloud_instance_name")), allowed=allowed)

    @property
    def exchange_online(self) -> bool:
        """Whether mailboxes of this domain can be in Exchange Online at all; the first send proves it."""
        return bool(self.tenant)

    def sentence(self) -> str:
        """Say it in one line."""
        if not self.tenant:
            return f"{self.domain}: no tenant of Microsoft's, so no mailbox in Exchange Online"
        how = _SIGN_IN.get(self.realm, "does not say how it signs in")
        let_in = "" if self.allowed else "; not among the tenants that are let in"
        where = f", {self.cloud}" if self.cloud else ""
        return f"{self.domain}: tenant {self.tenant} ({how}{where}), may have Exchange Online{let_in}"
