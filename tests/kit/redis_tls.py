"""Certificates for Redis servers of tests that answer over TLS alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme


@dataclass(frozen=True)
class RedisCertificates:
    """A certificate for 127.0.0.1, its key, and the authority that signed it."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def made_in(cls, folder: Path) -> "RedisCertificates":
        made = cls(folder / "ca.pem", folder / "redis.pem", folder / "redis.key")
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(made.ca)
        issued.cert_chain_pems[0].write_to_path(made.certificate)
        issued.private_key_pem.write_to_path(made.key)
        return made

    def settings(self, port: int) -> dict[str, str]:
        """Return what a server or a sentinel is told: TLS to everybody, without clients' certificates."""
        return {
            "port": "0",
            "tls-port": str(port),
            "tls-cert-file": str(self.certificate),
            "tls-key-file": str(self.key),
            "tls-ca-cert-file": str(self.ca),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
            "tls-cluster": "yes",
        }

    @property
    def client(self) -> dict[str, Any]:
        """How redis-py connects."""
        return {"ssl": True, "ssl_ca_certs": str(self.ca), "host": "127.0.0.1"}

    @property
    def query(self) -> str:
        """What a URL of ours names."""
        return f"?ssl_ca_certs={self.ca}"
