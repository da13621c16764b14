"""What to do where Redis answers and lets nobody in; found by its words, because redis-py's types vary."""

_LOGIN = "as in redis://USER:PASSWORD@127.0.0.1:6379/0 (without a user redis://:PASSWORD@...)"
_REFUSALS = (
    (("called without any password",), "Redis has no password; take the one in the URL out"),
    (
        ("noauth", "authentication required", "already authenticated", "unauthenticated"),
        f"Redis wants a password; write it into the URL, {_LOGIN}",
    ),
    (
        ("wrongpass", "invalid username-password", "invalid password"),
        f"Redis refuses this user and password; write the right ones into the URL, {_LOGIN}",
    ),
    (
        ("noperm", "no permissions"),
        "Redis does not allow this user what is needed; docs/operations.md has the ACL lines",
    ),
)


def refusal(error: BaseException) -> str:
    """Return what Redis refuses and what to do; nothing for any other error."""
    said = str(error).lower()
    return next((what for words, what in _REFUSALS if any(word in said for word in words)), "")
