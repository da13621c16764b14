"""How the token endpoint says no."""

import uuid
from typing import Any

CLAIMS_CHALLENGE = '{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}'


class OAuthRefusal(Exception):  # noqa: N818 (an answer, not a failure of ours)
    """The token endpoint says no: an OAuth error with Entra's extras."""

    def __init__(self, error: str, suberror: str, number: int, status: int = 400) -> None:
        super().__init__(error)
        self.status = status
        self.body: dict[str, Any] = {
            "error": error,
            "error_description": f"AADSTS{number}: the sandbox says {error}.",
            "error_codes": [number],
            "correlation_id": str(uuid.uuid4()),
            "trace_id": str(uuid.uuid4()),
        }
        if suberror:
            self.body["suberror"] = suberror
        if error == "interaction_required":
            self.body["claims"] = CLAIMS_CHALLENGE
