"""The app as it is registered, and how it has to prove itself: by secret, certificate or federated token."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from adapter.sandbox.entra.refusal import OAuthRefusal

_FEDERATED = {"iss": 700211, "aud": 700212, "sub": 700213}


@dataclass
class RegisteredApp:
    """An app registration."""

    client_id: str
    client_secret: str = field(repr=False)
    certificate: str = ""
    """PEM of the one certificate registered for the app; its secret is not taken then."""
    federated: Mapping[str, str] = field(default_factory=dict)
    """`iss`, `sub` and `aud` of the one federated credential; its secret is not taken then."""

    def check(self, form: Mapping[str, str], audience: str) -> None:
        """Raise OAuthRefusal where a request does not prove that it is the app's."""
        if form.get("client_id") != self.client_id:
            raise OAuthRefusal("unauthorized_client", "", 700016)
        if not self.certificate and not self.federated:
            if form.get("client_secret") != self.client_secret:
                raise OAuthRefusal("invalid_client", "", 7000215, 401)
            return
        assertion = form.get("client_assertion", "")
        if not assertion:
            raise OAuthRefusal("invalid_client", "", 7000218, 401)
        if self.federated:
            self._check_federated(assertion)
        else:
            self._check_signed(assertion, audience)

    def _check_federated(self, assertion: str) -> None:
        claims = claims_of(assertion)
        for name, number in _FEDERATED.items():
            if claims.get(name) != self.federated[name]:
                raise OAuthRefusal("invalid_client", "", number, 401)

    def _check_signed(self, assertion: str, audience: str) -> None:
        claims = claims_of(assertion) if _is_signed(assertion, self.certificate) else {}
        if not claims or not claims.get("iss") == claims.get("sub") == self.client_id:
            raise OAuthRefusal("invalid_client", "", 700027, 401)
        if claims.get("aud") != audience or claims.get("exp", 0) < time.time():
            raise OAuthRefusal("invalid_client", "", 700024, 401)


def claims_of(token: str) -> dict[str, Any]:
    """Return what a JWT says, whoever signed it; nothing for any other text."""
    try:
        return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")))
    except (IndexError, TypeError, ValueError):
        return {}


def _is_signed(assertion: str, certificate: str) -> bool:
    """Whether a JWT was signed (PS256) with this certificate."""
    signed, _, signature = assertion.rpartition(".")
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    if not isinstance(key, RSAPublicKey):
        return False
    try:
        padding = PSS(MGF1(SHA256()), PSS.DIGEST_LENGTH)
        key.verify(base64.urlsafe_b64decode(signature + "=="), signed.encode(), padding, SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
