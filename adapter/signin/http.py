"""The HTTP client of signing in, which MSAL is given too: pooled, and bounded in time and size.

MSAL on its own has no time-out, repeats requests, replays an old error for up to an hour, lets
REQUESTS_CA_BUNDLE override the certificates asked for, and writes a body that is not JSON to the log.
So whatever is not a plain answer becomes a SignInError here, before a library sees it.
"""

import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from adapter.providers.retry_after import retry_after_s
from adapter.signin.errors import Identity, SignInError

MAX_BODY_BYTES = 256 * 1024
DISCOVERY_TTL_S = 86_400.0
"""As long as MSAL itself keeps one."""
_NEAR = {"localhost", "127.0.0.1", "::1", "169.254.169.254"}
"""This machine, and what answers for it in a data centre."""


@dataclass(frozen=True, slots=True)
class SignInResponse:
    """An HTTP answer in the shape that MSAL reads."""

    identity: Identity
    status_code: int
    text: str
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Raise SignInError for a status from 400 up."""
        if self.status_code >= 400:
            raise self.identity.unavailable(f"The sign-in server answered {self.status_code}")


def _trust(identity: Identity, ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        why = f"{identity.prefix}_CA_FILE = {ca_file!r} cannot be used ({type(error).__name__})"
    raise identity.client_config(why, act="Put the certificates of the authority back there, in PEM.")


class SignInHttp:
    """One pool of connections to the sign-in server; safe to share between threads."""

    def __init__(
        self,
        identity: Identity,
        server: str,
        *,
        ca_file: str = "",
        timeout_s: float = 4.0,
        pool_size: int = 20,
    ) -> None:
        self._identity = identity
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            verify=_trust(identity, ca_file),
            # Each part has its own limit; with the check in _exchange they end any request within 1.75 times.
            timeout=httpx.Timeout(timeout_s / 4, read=timeout_s * 0.75),
            limits=httpx.Limits(max_connections=pool_size, max_keepalive_connections=pool_size),
            # A proxy named in the environment has no business between us and this machine.
            trust_env=urlsplit(server).hostname not in _NEAR,
            headers={"User-Agent": "rollout-controller"},
        )
        self._lock = threading.Lock()
        self._discovered: dict[str, tuple[float, SignInResponse]] = {}

    def get(self, url: str, **kwargs: Any) -> SignInResponse:
        """Fetch discovery documents, which are good for a day; errors are never kept."""
        with self._lock:
            until, known = self._discovered.get(url, (0.0, None))
        if known is not None and time.monotonic() < until:
            return known
        answer = self.get_fresh(url, **kwargs)
        if answer.status_code == 200:
            with self._lock:
                self._discovered[url] = (time.monotonic() + DISCOVERY_TTL_S, answer)
        return answer

    def get_fresh(self, url: str, **kwargs: Any) -> SignInResponse:
        """Fetch what changes; raises SignInError."""
        return self._request("GET", url, headers=kwargs.get("headers"), params=kwargs.get("params"))

    def post(self, url: str, **kwargs: Any) -> SignInResponse:
        """Post a form, given by its fields or written; raises SignInError."""
        # MSAL's signed assertion is bytes, which httpx would write as Python does.
        given = kwargs.get("data") or {}
        if isinstance(given, str):
            form_type = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
            return self._request("POST", url, headers=form_type, content=given)
        form = {name: text.decode() if isinstance(text, bytes) else text for name, text in given.items()}
        return self._request(
            "POST", url, headers=kwargs.get("headers"), params=kwargs.get("params"), data=form
        )

    def close(self) -> None:
        """Close what is open."""
        self._client.close()

    def _request(self, method: str, url: str, **kwargs: Any) -> SignInResponse:
        try:
            answer = self._exchange(method, url, **kwargs)
            failure = self._unusable(answer)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            failure = self._refused(error)
        # Raised out here, because a chained exception would carry the request and its secrets along.
        if failure is not None:
            raise failure
        return answer

    def _exchange(self, method: str, url: str, **kwargs: Any) -> SignInResponse:
        ends_at = time.monotonic() + self._timeout_s
        body = bytearray()
        with self._client.stream(method, url, **kwargs) as response:
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_BODY_BYTES or time.monotonic() > ends_at:
                    raise httpx.ReadTimeout("the answer takes too long or is too large")
        return SignInResponse(
            self._identity, response.status_code, body.decode("utf-8", "replace"), dict(response.headers)
        )

    def _refused(self, error: Exception) -> SignInError:
        """Name a failed request; bad certificates are a setting, everything else heals by itself."""
        seen: BaseException | None = error
        while seen is not None:
            if isinstance(seen, ssl.SSLCertVerificationError):
                return self._identity.client_config(
                    f"The sign-in server's certificate is not trusted ({seen.verify_message})",
                    act=f"Set {self._identity.prefix}_CA_FILE to the file of the authority that issued it.",
                )
            seen = seen.__cause__ or seen.__context__
        if isinstance(error, httpx.TimeoutException):
            return self._identity.unavailable("The sign-in server did not answer in time")
        return self._identity.unavailable(f"The sign-in server cannot be reached ({type(error).__name__})")

    def _unusable(self, answer: SignInResponse) -> SignInError | None:
        if answer.status_code == 429 or answer.status_code >= 500:
            return self._identity.unavailable(
                f"The sign-in server answered {answer.status_code}",
                retry_after_s=retry_after_s(answer.headers.get("retry-after"), time.time()),
            )
        try:
            is_object = isinstance(json.loads(answer.text), dict)
        except ValueError:
            is_object = False
        if is_object:
            return None
        return self._identity.unavailable(
            f"The sign-in server answered {answer.status_code} with something that is not JSON"
        )
