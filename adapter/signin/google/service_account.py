"""The key of a service account, with which it signs for each mailbox that its domain has delegated to it."""

import json
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account and its private key, as PEM."""

    email: str
    key: str = field(repr=False)


def read_service_account(written: str) -> ServiceAccount:
    """Parse the JSON key of a service account, as Google's console gives it; raises ValueError."""
    try:
        given = json.loads(written)
        account = ServiceAccount(given["client_email"], given["private_key"])
        key = load_pem_private_key(account.key.encode(), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("must be the JSON key of a service account, as Google's console gives it") from None
    if given.get("type") != "service_account" or not isinstance(key, RSAPrivateKey):
        raise ValueError("must be the key of a service account, which is RSA")
    return account
