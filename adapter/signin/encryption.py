"""Tokens at rest: encrypted, and bound to the kind of value and to the user that they were written for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from adapter.settings import SettingsError


class UnreadableError(Exception):
    """No key opens the value, or it was written for another use or another user."""


class TokenCipher:
    """Seals JSON values with the first key and opens them with any; a key is retired by moving it back."""

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise SettingsError(
                "ROLLOUT_TOKEN_KEYS: each key must be 32 bytes in base64url, separated by commas"
            ) from None

    def seal(self, kind: str, subject: str, value: Mapping[str, Any]) -> str:
        """Encrypt a value. Fernet knows no associated data, so kind and subject are sealed with it."""
        plain = json.dumps([kind, subject, value], separators=(",", ":"))
        return self._fernet.encrypt(plain.encode()).decode()

    def open(self, kind: str, subject: str, sealed: str) -> dict[str, Any]:
        """Decrypt a value; raises UnreadableError, also for one that belongs to another kind or subject."""
        try:
            plain = self._fernet.decrypt(sealed.encode())
        except (InvalidToken, UnicodeEncodeError):
            plain = b"null"
        try:
            found = json.loads(plain)
        except ValueError:
            found = None
        if not (isinstance(found, list) and len(found) == 3 and found[:2] == [kind, subject]):
            raise UnreadableError(kind)
        value: dict[str, Any] = found[2]
        return value
