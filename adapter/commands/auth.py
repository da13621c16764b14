"""`rollout auth`: let a person link a mailbox, see whether one is linked, forget it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import click
from click.core import ParameterSource

from adapter.commands.config import config_option
from adapter.commands.logs import log_to_stderr
from adapter.gate.domains import recipient_domain
from adapter.settings import SettingsError
from adapter.signin.errors import Failure, SignInError
from adapter.signin.handshake import Handshake
from adapter.signin.organisation import Organisation
from adapter.signin.settings import LINK_TTL_S
from adapter.signin.tokens import LinkStatus, Revocation, TokenManager
from adapter.web.signin_routes import MANAGERS
from controller.shared.console import (
    DONE,
    NO,
    UNREACHABLE,
    USAGE,
    examples,
    fail,
    json_option,
    print_json,
    say,
)
from controller.shared.environment import Environment
from controller.shared.value_readers import address

T = TypeVar("T")
_MANAGERS = {manager.identity.provider: manager for manager in MANAGERS}
provider_option = click.option(
    "--provider",
    type=click.Choice(list(_MANAGERS)),
    default="microsoft",
    show_default=True,
    help="Whose accounts people sign in with.",
)
DEFAULT_LISTEN = "127.0.0.1:8003"
_EVERYWHERE = {"0.0.0.0", "::", "[::]", ""}  # noqa: S104 (recognised, not bound)


@click.group(epilog=examples("rollout auth link user-17", "rollout auth link user-17 --provider google"))
def auth() -> None:
    """Link users to their mailboxes at Microsoft or Google."""
    log_to_stderr()


@auth.command(
    epilog=examples(
        "rollout auth link user-17", codes="0 done, 2 usage or configuration, 3 Redis cannot be reached"
    )
)
@click.argument("user_id")
@click.option(
    "--listen",
    envvar="ROLLOUT_LISTEN",
    help=f"Where the service listens, as HOST:PORT.  [default: as configured, {DEFAULT_LISTEN}]",
)
@click.option("--account", default="", help="The one mailbox that may be linked, as ann@example.com.")
@click.option("--replace", is_flag=True, help="Let another mailbox take the place of the one linked now.")
@provider_option
@config_option
@json_option
def link(user_id: str, provider: str, listen: str | None, account: str, replace: bool, as_json: bool) -> None:
    """Print a link with which a person links a mailbox to USER_ID.

    The link is good once and for ten minutes. Whoever holds it can link a mailbox to that user: hand it to
    the person themselves. With an https redirect URI it begins with that address. With --account it also
    says whose tenant at Microsoft the domain is, and whether it can have Exchange Online.
    """
    configured = _base_url(listen or _configured_listen())
    source = click.get_current_context().get_parameter_source("listen")
    wanted = configured if source is ParameterSource.COMMANDLINE else ""
    public, token, found = _run(provider, lambda manager: _link(manager, user_id, account, replace))
    path = f"{_MANAGERS[provider].identity.path}/authorize"
    url = f"{wanted or public or configured}{path}?{urlencode({'link': token})}"
    if as_json:
        organisation = {**asdict(found), "exchange_online": found.exchange_online} if found else None
        told = {"user_id": user_id, "provider": provider, "url": url, "expires_in_s": LINK_TTL_S}
        print_json({**told, "organisation": organisation})
    else:
        say(url)
        if found:
            say(f"rollout: {found.sentence()}", err=True)


@auth.command(
    epilog=examples(
        "rollout auth status user-17 --json",
        codes="0 linked, 1 not linked, 2 usage or configuration, 3 Redis cannot be reached",
    )
)
@click.argument("user_id")
@provider_option
@config_option
@json_option
def status(user_id: str, provider: str, as_json: bool) -> None:
    """Tell whether a mailbox is linked to USER_ID, and how long its tokens are kept."""
    found = _run(provider, lambda manager: manager.status(user_id))
    if as_json:
        print_json(asdict(found))
    elif found.linked:
        say(f"{user_id}: linked to {found.account or 'a mailbox'}{_organisation(found)}")
        say(f"  permissions    {' '.join(found.scopes)}")
        say(f"  linked         {_ago(found.linked_at)}, refreshed {_ago(found.refreshed_at)}")
        say(f"  access token   cached for {_span(found.access_token_for_s)}")
        say(f"  refresh token  kept for {_span(found.kept_for_s)} unless used before")
    else:
        option = _MANAGERS[provider].identity.options
        say(f"{user_id}: not linked; 'rollout auth link {user_id}{option}' prints a link to sign in with")
    raise SystemExit(DONE if found.linked else NO)


@auth.command(
    epilog=examples(
        "rollout auth revoke user-17", codes="0 done, 2 usage or configuration, 3 Redis cannot be reached"
    )
)
@click.argument("user_id")
@provider_option
@config_option
@json_option
def revoke(user_id: str, provider: str, as_json: bool) -> None:
    """Forget the tokens of USER_ID here, and revoke them at the provider.

    Google revokes them. Microsoft has no call for it: there they end by themselves, or when an administrator
    revokes the person's sessions.
    """
    gone = _run(provider, lambda manager: manager.revoke_tokens(user_id))
    if as_json:
        print_json(asdict(gone))
    else:
        say(f"{user_id}: {_forgotten(gone, provider)}")


async def _link(
    manager: TokenManager, user_id: str, account: str, replace: bool
) -> tuple[str, str, Organisation | None]:
    """Return the public address of the service, empty without one, a link, and whose its domain is."""
    redirect = urlsplit(manager.settings.redirect_uri)
    public = f"{redirect.scheme}://{redirect.netloc}" if redirect.scheme == "https" else ""
    link = await Handshake(manager).link_for(user_id, account=account, replace=replace)
    domain = recipient_domain(account)
    return public, link, await manager.organisation(domain) if domain else None


def _organisation(found: LinkStatus) -> str:
    return f" in tenant {found.tenant}" if found.tenant else ""


def _forgotten(gone: Revocation, provider: str) -> str:
    done = "forgotten here" if gone.revoked else "nothing was kept here"
    title = _MANAGERS[provider].identity.title
    if gone.server_revoked:
        return f"{done}, and revoked at {title} (server_revoked: true)"
    return f"{done}; {title}'s own copy lives on until it expires (server_revoked: false)"


def _run(provider: str, ask: Callable[[TokenManager], Awaitable[T]]) -> T:
    """Ask a manager made from the environment; its errors end the command with one line."""

    async def asked() -> T:
        async with _MANAGERS[provider].from_env(ahead=False) as manager:
            return await ask(manager)

    try:
        return asyncio.run(asked())
    except SignInError as error:
        fail(error.message, USAGE if error.failure is Failure.CLIENT_CONFIG else UNREACHABLE)


def _configured_listen() -> str:
    try:
        return Environment().setting("listen", address, DEFAULT_LISTEN)
    except SettingsError as error:
        fail(str(error))


def _base_url(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535 or not host.strip("[]"):
        fail(f"ROLLOUT_LISTEN={listen!r} cannot be used: write HOST:PORT, as in {DEFAULT_LISTEN}")
    return f"http://{'localhost' if host in _EVERYWHERE else host}:{port}"


def _ago(at: float | None) -> str:
    return f"{_span(time.time() - at)} ago" if at else "never"


def _span(seconds: float) -> str:
    """Write a length of time in its largest fitting unit."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
