"""The app's certificate, with which it signs instead of showing a secret: tenants may forbid secrets."""

import re
import time
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate and its private key, both as PEM."""

    public: str
    key: str = field(repr=False)

    @property
    def credential(self) -> dict[str, str]:
        """The form that MSAL takes; it signs with PS256 and names the certificate by its SHA-256."""
        return {"private_key": self.key, "public_certificate": self.public}


def read_certificate(pem: str) -> ClientCertificate:
    """Parse the PEM of a certificate and its private key, in either order; raises ValueError."""
    blocks = {match[1]: match[0] for match in _BLOCK.finditer(pem)}
    public = blocks.get("CERTIFICATE")
    key = next((block for kind, block in blocks.items() if kind.endswith("PRIVATE KEY")), None)
    if public is None or key is None:
        raise ValueError("must hold a certificate and its private key, both as PEM")
    try:
        certificate = x509.load_pem_x509_certificate(public.encode())
        private = load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError):
        raise ValueError("cannot be read; the key must be PEM without a passphrase") from None
    if not isinstance(certificate.public_key(), RSAPublicKey):
        raise ValueError("must be an RSA certificate: Microsoft takes no other")  # noqa: TRY004
    if private.public_key() != certificate.public_key():
        raise ValueError("holds a private key that belongs to another certificate")
    if certificate.not_valid_after_utc.timestamp() < time.time():
        raise ValueError(f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return ClientCertificate(public, key)
