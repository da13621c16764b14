"""The codes of a send through Gmail, and its closed list of answers that say for certain: not sent."""

from adapter.errors import REFUSALS, Code, Source, code_table
from adapter.providers.closed_list import ClosedList, NotSent
from adapter.providers.provider import RetryAction

UNKNOWN = "GOOGLE_SEND_UNKNOWN"
UNREACHABLE = "GOOGLE_API_UNREACHABLE"
THROTTLED = "GOOGLE_API_THROTTLED_429"
QUOTA = "GOOGLE_QUOTA_EXCEEDED"
AUTH_INVALID = "GOOGLE_AUTH_INVALID"
AUTH_UNAVAILABLE = "GOOGLE_AUTH_UNAVAILABLE"
INSUFFICIENT_PERMS = "GOOGLE_AUTH_INSUFFICIENT_PERMS"
CLIENT_CONFIG = "GOOGLE_AUTH_CLIENT_CONFIG"
INVALID_REQUEST = "GOOGLE_INVALID_REQUEST"

GOOGLE_CODES: dict[str, Code] = code_table(
    REFUSALS["INVALID_RECIPIENT"],
    REFUSALS["ATTACHMENT_TOO_LARGE"],
    REFUSALS["INVALID_HEADER"],
    Code(UNKNOWN, Source.PROVIDER, 504, "The mail may have been sent; it was not sent again."),
    Code(UNREACHABLE, Source.PROVIDER, 502, "No connection to Gmail, so the mail was not sent."),
    Code(THROTTLED, Source.PROVIDER, 429, "Gmail asks to wait; the mail was not sent."),
    Code(QUOTA, Source.CALLER, 502, "The user's quota of mails is used up for now."),
    Code(
        "GOOGLE_PROJECT_QUOTA_EXCEEDED",
        Source.PROVIDER,
        502,
        "The Google Cloud project's quota is used up, which stops every user; it is raised in the console.",
    ),
    Code(AUTH_INVALID, Source.AUTH, 401, "Gmail does not take the access token, a renewed one neither."),
    Code("GOOGLE_AUTH_EXPIRED", Source.AUTH, 401, "The sign-in is over; the user has to sign in again."),
    Code(
        "GOOGLE_AUTH_INTERACTION_REQUIRED",
        Source.AUTH,
        409,
        "The user has to sign in or to agree to something first.",
    ),
    Code(INSUFFICIENT_PERMS, Source.AUTH, 502, "The token lacks the right to send this mail."),
    Code(CLIENT_CONFIG, Source.AUTH, 502, "The OAuth client, a setting, a key or the clock is wrong."),
    Code(AUTH_UNAVAILABLE, Source.AUTH, 502, "Google's sign-in service gave no usable answer."),
    Code("GOOGLE_PROVIDER_POLICY_BLOCKED", Source.CALLER, 502, "The user's organisation blocks this app."),
    Code("GOOGLE_MAILBOX_NOT_ENABLED", Source.CALLER, 502, "The user's account has no Gmail."),
    Code("GOOGLE_SENDER_NOT_FOUND", Source.CALLER, 502, "Gmail does not know the sending user."),
    Code(INVALID_REQUEST, Source.ADAPTER, 502, "Gmail could not read our request: a fault of ours."),
)
"""Every code that a send through Gmail can end with."""

NOT_SENT: tuple[NotSent, ...] = (
    NotSent(
        AUTH_INVALID,
        RetryAction.REFRESH,
        "authError UNAUTHENTICATED",
        "The token is checked before the request is carried out (RFC 9110: 401 was not applied).",
        401,
    ),
    NotSent(
        QUOTA,
        RetryAction.FAIL,
        "mailSendingLimit",
        "The limit of a user's mails is checked before one is taken. Gmail has no reason of its own for it: "
        "it is a throttling whose message names `(Mail sending)`.",
    ),
    NotSent(
        THROTTLED,
        RetryAction.WAIT,
        "userRateLimitExceeded rateLimitExceeded RATE_LIMIT_EXCEEDED concurrentLimitExceeded "
        "RESOURCE_EXHAUSTED",
        "Google documents that a request over the rate is refused; the same comes with 403 and with 429.",
        429,
    ),
    NotSent(
        "GOOGLE_PROJECT_QUOTA_EXCEEDED",
        RetryAction.FAIL,
        "dailyLimitExceeded quotaExceeded limitExceeded",
        "The project's quota is checked before the request is carried out.",
    ),
    NotSent(
        CLIENT_CONFIG,
        RetryAction.FAIL,
        "accessNotConfigured SERVICE_DISABLED CONSUMER_INVALID keyInvalid API_KEY_INVALID",
        "The project may not use the Gmail API, which is checked first.",
    ),
    NotSent(
        "GOOGLE_PROVIDER_POLICY_BLOCKED",
        RetryAction.FAIL,
        "domainPolicy",
        "The organisation's administrator closed the API to this app, which is checked first.",
    ),
    NotSent(
        INSUFFICIENT_PERMS,
        RetryAction.FAIL,
        "insufficientPermissions ACCESS_TOKEN_SCOPE_INSUFFICIENT forbidden PERMISSION_DENIED",
        "The right to send is checked before the request is carried out (RFC 9110: 403 is a refusal).",
        403,
    ),
    NotSent(
        "ATTACHMENT_TOO_LARGE",
        RetryAction.FAIL,
        "uploadTooLarge messageTooLarge",
        "The size is checked before the mail is taken.",
        413,
    ),
    NotSent(
        "INVALID_RECIPIENT",
        RetryAction.FAIL,
        "invalidRecipient",
        "The mail is checked before it is taken. Gmail calls it `invalidArgument`; its message names the "
        "recipient, or the header To, Cc or Bcc.",
    ),
    NotSent(
        "GOOGLE_MAILBOX_NOT_ENABLED",
        RetryAction.FAIL,
        "failedPrecondition FAILED_PRECONDITION",
        "There is no mailbox that could have sent.",
    ),
    NotSent(
        "GOOGLE_SENDER_NOT_FOUND",
        RetryAction.FAIL,
        "notFound NOT_FOUND",
        "There is no user who could have sent.",
    ),
    NotSent(
        INVALID_REQUEST,
        RetryAction.FAIL,
        "invalidArgument INVALID_ARGUMENT badRequest parseError invalid required wrongUrlForUpload",
        "The request could not be read, so nothing could be made of it.",
    ),
)
"""The closed list. An answer that is on no line leaves the outcome unknown, `backendError` among them."""

MAY_BE_SENT = frozenset({"backenderror", "internalerror", "internal", "deadline_exceeded", "aborted"})
"""Reasons that take a refusal back, in small letters: they come after a start."""

CLOSED_LIST = ClosedList(UNKNOWN, NOT_SENT, MAY_BE_SENT)
