"""Where access tokens come from, as the sending path sees it."""

from dataclasses import dataclass, field
from typing import Protocol


class TokenSource(Protocol):
    """Return a user's access token; its errors carry `.code`, such as `MS_AUTH_EXPIRED`."""

    async def get_access_token(self, user_id: str) -> str:
        """Return an access token for a user; raises SignInError."""

    async def refresh_access_token(self, user_id: str, *, claims: str | None = None) -> str:
        """Get a new one, now; `claims` is the challenge that a provider answered with."""
        ...


@dataclass(frozen=True, slots=True)
class StaticTokens:
    """One token for everybody: for the integration test and the sandbox."""

    token: str = field(repr=False)

    async def get_access_token(self, user_id: str) -> str:  # noqa: ARG002
        """Return an access token for a user; raises SignInError."""
        return self.token

    async def refresh_access_token(self, user_id: str, *, claims: str | None = None) -> str:  # noqa: ARG002
        """Return a new access token for a user; raises SignInError."""
        return self.token
