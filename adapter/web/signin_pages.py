"""The pages of signing in: plain HTML with no script, and the headers that every answer carries."""

import base64
import hashlib
from html import escape

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}"
    "h1{font-size:1.5rem}code{background:#eee;padding:.1em .3em}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1b1b}code{background:#333}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

SECURITY_HEADERS: dict[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""No script, no frame, no cache; and no address of ours, which may hold a state, in another site's log."""


def headers_of_form(server: str) -> dict[str, str]:
    """Return the headers of the page whose form leads to the sign-in server (its origin)."""
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    return {"Content-Security-Policy": policy.replace("form-action 'none'", f"form-action 'self' {server}")}


def confirm(title: str, user_id: str, account: str, link: str) -> str:
    """Ask a person to go on to a provider; what only opens links, as a scanner of mail, uses none up."""
    mailbox = f"the mailbox <strong>{escape(account)}</strong>" if account else "your mailbox"
    return _page(
        "Link your mailbox",
        f"<p>This links {mailbox} to the user <strong>{escape(user_id)}</strong>, who may then send from it. "
        "Go on only if you asked for this link.</p>"
        f'<form method="post" action="authorize"><input type="hidden" name="link" value="{escape(link)}">'
        f"<button>Go on to {escape(title)}</button></form>",
    )


def linked(user_id: str, account: str) -> str:
    """Return the page that says which mailbox is linked."""
    mailbox = f"The mailbox <strong>{escape(account)}</strong>" if account else "The mailbox"
    return _page(
        "Mailbox linked",
        f"<p>{mailbox} is now linked to the user <strong>{escape(user_id)}</strong>.</p>"
        "<p>You can close this window. If this is not your mailbox or not your user, tell whoever sent you "
        "the link, so that they run <code>rollout auth revoke</code>.</p>",
    )


def failed(title: str, why: str, code: str, request_id: str = "") -> str:
    """Tell a person what went wrong and what to do; `code` and `request_id` are for who they ask."""
    quoted = f" and the correlation id <code>{escape(request_id)}</code>" if request_id else ""
    return _page(
        title,
        f"<p>{escape(why)}</p><p>No mailbox was linked by this. If you ask for help, give the code "
        f"<code>{escape(code)}</code>{quoted}.</p>",
    )


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )
