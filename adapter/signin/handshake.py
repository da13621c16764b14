"""The way of a sign-in: a link for one user, a state for one browser, each good once and for ten minutes.

A link is signed, and its id lies in Redis until it is used. The code verifier and the nonce never leave the
server; the state finds them once, and only together with the cookie of the browser that began.
"""

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from adapter.signin.encryption import TokenCipher, UnreadableError
from adapter.signin.entra import SignInAttempt
from adapter.signin.errors import from_reply
from adapter.signin.grant import Grant
from adapter.signin.settings import LINK_TTL_S
from adapter.signin.store import digest
from adapter.signin.tokens import MicrosoftTokenManager

COOKIE = "rollout_signin_"
_LONGEST = 4096


class SignInRefusal(StrEnum):
    """Why a step of a sign-in is refused; `REFUSALS` has the sentence for each."""

    LINK_INVALID = "LINK_INVALID"
    LINK_EXPIRED = "LINK_EXPIRED"
    LINK_USED = "LINK_USED"
    CALLBACK_MALFORMED = "CALLBACK_MALFORMED"
    STATE_UNKNOWN = "STATE_UNKNOWN"
    OTHER_BROWSER = "OTHER_BROWSER"
    USER_ID_UNUSABLE = "USER_ID_UNUSABLE"


REFUSALS: dict[SignInRefusal, str] = {
    SignInRefusal.LINK_INVALID: "This is not a sign-in link of this service, or it is not complete.",
    SignInRefusal.LINK_EXPIRED: "This link has expired: a link is good for ten minutes.",
    SignInRefusal.LINK_USED: "This link was already used: each is good once.",
    SignInRefusal.CALLBACK_MALFORMED: "Microsoft's answer is not complete.",
    SignInRefusal.STATE_UNKNOWN: "This sign-in was already finished, or it took longer than ten minutes.",
    SignInRefusal.OTHER_BROWSER: "This sign-in was begun in another browser, and can only be finished there.",
    SignInRefusal.USER_ID_UNUSABLE: "user_id must be a text of 1 to 256 printable characters.",
}


class RefusedError(Exception):
    """A step that must not go on; nothing was stored."""

    def __init__(self, refusal: SignInRefusal) -> None:
        super().__init__(REFUSALS[refusal])
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and the cookie that it must bring back."""

    url: str = field(repr=False)
    cookie_name: str
    cookie_value: str = field(repr=False)


class Handshake:
    """Links and states of one app; all that it keeps lies in Redis, so any process can go on with it."""

    def __init__(self, manager: MicrosoftTokenManager) -> None:
        self._manager = manager
        self._store = manager.store
        self._cipher = TokenCipher(manager.settings.token_keys)

    async def link_for(self, user_id: str) -> str:
        """Make the text of a link that lets its bearer link a mailbox to this user, once."""
        link_id = secrets.token_urlsafe(16)
        await self._store.put_once("link", link_id, {"user_id": user_id})
        ends_at = time.time() + LINK_TTL_S
        return self._cipher.seal("link", "", {"user_id": user_id, "id": link_id, "ends_at": ends_at})

    async def begin_with_link(self, link: str) -> Begun:
        """Begin the sign-in that a link stands for; it is used up only when Microsoft can be reached."""
        try:
            value = self._cipher.open("link", "", link[:_LONGEST])
        except UnreadableError:
            raise RefusedError(SignInRefusal.LINK_INVALID) from None
        if value["ends_at"] <= time.time():
            raise RefusedError(SignInRefusal.LINK_EXPIRED)
        attempt = await self._manager.begin()
        if await self._store.take_once("link", value["id"]) != {"user_id": value["user_id"]}:
            raise RefusedError(SignInRefusal.LINK_USED)
        return await self._keep(value["user_id"], attempt)

    async def begin(self, user_id: str) -> Begun:
        """Begin a sign-in for a user; the caller has been authorised otherwise."""
        return await self._keep(user_id, await self._manager.begin())

    async def _keep(self, user_id: str, attempt: SignInAttempt) -> Begun:
        browser = secrets.token_urlsafe(32)
        kept = {
            "user_id": user_id,
            "code_verifier": attempt.code_verifier,
            "nonce": attempt.nonce,
            "browser": digest(browser),
        }
        await self._store.put_once("state", attempt.state, kept)
        return Begun(attempt.url, cookie_name(attempt.state), browser)

    async def finish(self, answer: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[str, Grant]:
        """Link the mailbox that Microsoft's answer speaks for; gives the user and what is kept.

        The state is used up first, whatever comes then. Raises RefusedError or SignInError.
        """
        state, code = answer.get("state", ""), answer.get("code", "")
        if not 8 <= len(state) <= 512 or not (code or answer.get("error")):
            raise RefusedError(SignInRefusal.CALLBACK_MALFORMED)
        kept = await self._store.take_once("state", state)
        if kept is None:
            raise RefusedError(SignInRefusal.STATE_UNKNOWN)
        if not hmac.compare_digest(digest(cookies.get(cookie_name(state), "")), kept["browser"]):
            raise RefusedError(SignInRefusal.OTHER_BROWSER)
        if not code:
            raise from_reply(answer)
        pair = await self._manager.exchange_code_for_tokens(code, kept["code_verifier"], nonce=kept["nonce"])
        return kept["user_id"], await self._manager.link(kept["user_id"], pair)


def cookie_name(state: str) -> str:
    """Name a sign-in's cookie, so that two begun in one browser do not hinder each other."""
    return COOKIE + digest(state)[:16]
