"""The way of a sign-in: a link for one user, a state for one browser, each good once and for ten minutes.

A link is signed, and its id lies in Redis until it is used. The code verifier and the nonce never leave the
server; the state finds them once, and only together with the cookie of the browser that began.
"""

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from adapter.signin.encryption import TokenCipher, UnreadableError
from adapter.signin.grant import Account, Grant, SignInAttempt
from adapter.signin.settings import LINK_TTL_S
from adapter.signin.store import digest
from adapter.signin.tokens import TokenManager

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
    OTHER_ACCOUNT = "OTHER_ACCOUNT"
    LINKED_OTHERWISE = "LINKED_OTHERWISE"


REFUSALS: dict[SignInRefusal, str] = {
    SignInRefusal.LINK_INVALID: "This is not a sign-in link of this service, or it is not complete.",
    SignInRefusal.LINK_EXPIRED: "This link has expired: a link is good for ten minutes.",
    SignInRefusal.LINK_USED: "This link was already used: each is good once.",
    SignInRefusal.CALLBACK_MALFORMED: "The sign-in server's answer is not complete.",
    SignInRefusal.STATE_UNKNOWN: "This sign-in was already finished, or it took longer than ten minutes.",
    SignInRefusal.OTHER_BROWSER: "This sign-in was begun in another browser, and can only be finished there.",
    SignInRefusal.USER_ID_UNUSABLE: "user_id must be a text of 1 to 256 printable characters.",
    SignInRefusal.OTHER_ACCOUNT: "This link is for another account than the one that signed in.",
    SignInRefusal.LINKED_OTHERWISE: "Another mailbox is linked to this user, and stays so. "
    "'rollout auth link USER --replace' prints a link that replaces it.",
}


class RefusedError(Exception):
    """A step that must not go on; nothing was stored."""

    def __init__(self, refusal: SignInRefusal) -> None:
        super().__init__(REFUSALS[refusal])
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sign-in is for."""

    user_id: str
    account: str = ""
    """The one account that may be linked, by its address; any without one."""
    replace: bool = False
    """Whether it may take the place of another account."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and the cookie that it must bring back."""

    url: str = field(repr=False)
    cookie_name: str
    cookie_value: str = field(repr=False)


class Handshake:
    """Links and states of one app; all that it keeps lies in Redis, so any process can go on with it."""

    def __init__(self, manager: TokenManager) -> None:
        self._manager = manager
        self._store = manager.store
        self._cipher = TokenCipher(manager.settings.token_keys)
        self._subject = manager.identity.provider
        """A link is for one provider's accounts."""

    async def link_for(self, user_id: str, *, account: str = "", replace: bool = False) -> str:
        """Make the text of a link that lets its bearer link a mailbox to this user, once."""
        wanted = Wanted(user_id, account, replace)
        link_id = secrets.token_urlsafe(16)
        await self._store.put_once("link", link_id, asdict(wanted))
        ends_at = time.time() + LINK_TTL_S
        return self._cipher.seal("link", self._subject, {**asdict(wanted), "id": link_id, "ends_at": ends_at})

    async def look_at_link(self, link: str) -> Wanted:
        """Return what a link is for without using it up; raises RefusedError for one that is used or none."""
        wanted, link_id = self._read_link(link)
        if not await self._store.is_kept_once("link", link_id):
            raise RefusedError(SignInRefusal.LINK_USED)
        return wanted

    def _read_link(self, link: str) -> tuple[Wanted, str]:
        """Return what a link is for, and its id."""
        try:
            value = self._cipher.open("link", self._subject, link[:_LONGEST])
            wanted = Wanted(value["user_id"], value["account"], value["replace"])
        except (UnreadableError, KeyError):
            raise RefusedError(SignInRefusal.LINK_INVALID) from None
        if value["ends_at"] <= time.time():
            raise RefusedError(SignInRefusal.LINK_EXPIRED)
        return wanted, value["id"]

    async def begin_with_link(self, link: str) -> Begun:
        """Begin the sign-in that a link stands for; it is used up only when the server can be reached."""
        wanted, link_id = self._read_link(link)
        attempt = await self._manager.begin(user_id=wanted.user_id, account=wanted.account)
        if await self._store.take_once("link", link_id) != asdict(wanted):
            raise RefusedError(SignInRefusal.LINK_USED)
        return await self._keep(wanted, attempt)

    async def begin(self, wanted: Wanted) -> Begun:
        """Begin a sign-in for a user; the caller has been authorised otherwise."""
        attempt = await self._manager.begin(user_id=wanted.user_id, account=wanted.account)
        return await self._keep(wanted, attempt)

    async def _keep(self, wanted: Wanted, attempt: SignInAttempt) -> Begun:
        browser = secrets.token_urlsafe(32)
        kept = {
            **asdict(wanted),
            "claims": attempt.claims,
            "code_verifier": attempt.code_verifier,
            "nonce": attempt.nonce,
            "browser": digest(browser),
        }
        await self._store.put_once("state", attempt.state, kept)
        return Begun(attempt.url, cookie_name(attempt.state), browser)

    async def finish(self, answer: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[str, Grant]:
        """Link the mailbox that the server's answer speaks for; gives the user and what is kept.

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
            raise self._manager.refusal(answer)
        pair = await self._manager.exchange_code_for_tokens(
            code, kept["code_verifier"], nonce=kept["nonce"], claims=kept["claims"]
        )
        await self._check_account(Wanted(kept["user_id"], kept["account"], kept["replace"]), pair.account)
        return kept["user_id"], await self._manager.link(kept["user_id"], pair)

    async def _check_account(self, wanted: Wanted, account: Account) -> None:
        """Raise RefusedError for an account that the link is not for, or that would replace another one."""
        if wanted.account and account.name.casefold() != wanted.account.casefold():
            raise RefusedError(SignInRefusal.OTHER_ACCOUNT)
        known = None if wanted.replace else await self._manager.linked_account(wanted.user_id)
        if known and (known.subject, known.tenant) != (account.subject, account.tenant):
            raise RefusedError(SignInRefusal.LINKED_OTHERWISE)


def cookie_name(state: str) -> str:
    """Name a sign-in's cookie, so that two begun in one browser do not hinder each other."""
    return COOKIE + digest(state)[:16]
