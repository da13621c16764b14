"""How an app proves who it is without a secret of its own: by a token that another issuer gives it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msal

from adapter.signin.errors import SignInError
from adapter.signin.http import SignInHttp
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.microsoft.settings import IDENTITIES_AT, MicrosoftSettings
from controller.shared.value_readers import read_secret_file

METADATA = "http://169.254.169.254"
"""Where a machine in Azure asks for its identity, unless IDENTITY_ENDPOINT says otherwise."""


def credential_of(settings: MicrosoftSettings) -> str | dict[str, Any]:
    """Return what MSAL is given as proof: a secret, a certificate, or a function that fetches a token."""
    if settings.certificate:
        return dict(settings.certificate.credential)
    if settings.federated_token_file:
        return {"client_assertion": lambda: _from_file(settings.federated_token_file)}
    if settings.managed_identity:
        return {"client_assertion": _of_machine(settings)}
    return settings.client_secret


def _from_file(path: str) -> str:
    """Read a federated token, each time again: who writes it renews it."""
    try:
        token = read_secret_file(Path(path))
    except ValueError as error:
        raise MICROSOFT.client_config(f"MS_FEDERATED_TOKEN_FILE {error}") from None
    if not token:
        raise MICROSOFT.client_config("The file of MS_FEDERATED_TOKEN_FILE is empty")
    return token


def _of_machine(settings: MicrosoftSettings) -> Callable[[], str]:
    """Return a function that fetches a token of the machine's identity; MSAL keeps it while it lives."""
    named = settings.managed_identity
    client = msal.ManagedIdentityClient(
        msal.SystemAssignedManagedIdentity()
        if named == "system"
        else msal.UserAssignedManagedIdentity(client_id=named),
        http_client=_MachineHttp(settings.http_timeout_s),
    )

    def fetch() -> str:
        try:
            answer = client.acquire_token_for_client(resource=IDENTITIES_AT)
        except SignInError:
            answer = None
        except Exception as error:  # noqa: BLE001 - what MSAL raises may quote the answer
            answer = {"error": type(error).__name__}
        return _token_of(answer, named)

    return fetch


def _token_of(answer: Mapping[str, Any] | None, named: str) -> str:
    if answer is None:
        raise MICROSOFT.unavailable("This machine's identity cannot be asked for (MS_MANAGED_IDENTITY)")
    token = answer.get("access_token")
    if not isinstance(token, str):
        raise MICROSOFT.client_config(
            f"This machine has no identity {named!r} that could prove who the app is",
            act="Assign it to this machine in Azure, or correct MS_MANAGED_IDENTITY.",
        )
    return token


class _MachineHttp:
    """The HTTP client in the shape that MSAL wants here. It is asked once a day, so it keeps nothing open."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def get(self, url: str, **kwargs: Any) -> Any:
        http = SignInHttp(MICROSOFT, METADATA, timeout_s=self._timeout_s)
        try:
            return http.get_fresh(url, **kwargs)
        finally:
            http.close()

    def post(self, url: str, **kwargs: Any) -> Any:
        """Raise NotImplementedError: no kind of machine is asked so."""
        raise NotImplementedError(url, kwargs)

    def close(self) -> None:
        """Do nothing: nothing is open."""
