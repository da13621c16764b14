"""The codes of a send through Graph, and its closed list of answers that say for certain: not sent."""

from adapter.errors import REFUSALS, Code, Source, code_table
from adapter.providers.closed_list import ClosedList, NotSent
from adapter.providers.provider import RetryAction

UNKNOWN = "MS_SEND_UNKNOWN"
UNREACHABLE = "MS_API_UNREACHABLE"
THROTTLED = "MS_API_THROTTLED_429"
AUTH_INVALID = "MS_AUTH_INVALID"
INSUFFICIENT_PERMS = "MS_AUTH_INSUFFICIENT_PERMS"
APP_ONLY = "MS_AUTH_APP_ONLY"
UNAVAILABLE = "MS_API_UNAVAILABLE_503"

MS_CODES: dict[str, Code] = code_table(
    REFUSALS["INVALID_RECIPIENT"],
    REFUSALS["ATTACHMENT_TOO_LARGE"],
    REFUSALS["TOO_MANY_RECIPIENTS"],
    REFUSALS["INVALID_HEADER"],
    Code(UNKNOWN, Source.PROVIDER, 504, "The mail may have been sent; it was not sent again."),
    Code(UNREACHABLE, Source.PROVIDER, 502, "No connection to Graph, so the mail was not sent."),
    Code(THROTTLED, Source.PROVIDER, 429, "Graph asks to wait; the mail was not sent."),
    Code(AUTH_INVALID, Source.AUTH, 401, "Graph does not take the access token, a renewed one neither."),
    Code("MS_AUTH_EXPIRED", Source.AUTH, 401, "The sign-in is over; the user has to sign in again."),
    Code(
        "MS_AUTH_INTERACTION_REQUIRED",
        Source.AUTH,
        409,
        "The user has to sign in or to agree to something first.",
    ),
    Code(INSUFFICIENT_PERMS, Source.AUTH, 502, "The token lacks the right to send this mail."),
    Code(APP_ONLY, Source.CALLER, 502, "The access token is an app's own, and /me needs a user's."),
    Code(
        "MS_AUTH_CLIENT_CONFIG",
        Source.AUTH,
        502,
        "The app registration, a setting, a key or the clock is wrong.",
    ),
    Code("MS_AUTH_UNAVAILABLE", Source.AUTH, 502, "Microsoft's sign-in service gave no usable answer."),
    Code("MS_PROVIDER_POLICY_BLOCKED", Source.CALLER, 502, "A policy of Microsoft blocks this mail."),
    Code("MS_SEND_AS_DENIED", Source.CALLER, 502, "The user may not send as this address."),
    Code("MS_MAILBOX_NOT_ENABLED", Source.CALLER, 502, "The user has no mailbox that Graph can reach."),
    Code("MS_MAILBOX_FULL", Source.CALLER, 502, "The user's mailbox is full."),
    Code("MS_QUOTA_EXCEEDED", Source.CALLER, 502, "The user's quota of mails is used up for now."),
    Code("RECIPIENT_NOT_FOUND", Source.CALLER, 422, "The recipient does not exist."),
    Code("MS_SENDER_NOT_FOUND", Source.CALLER, 502, "Graph does not know the sending user."),
    Code("MS_INVALID_REQUEST", Source.ADAPTER, 502, "Graph could not read our request: a fault of ours."),
)
"""Every code that a send through Graph can end with."""


NOT_SENT: tuple[NotSent, ...] = (
    NotSent(
        AUTH_INVALID,
        RetryAction.REFRESH,
        "InvalidAuthenticationToken AuthenticationError",
        "The token is checked before the request is carried out (RFC 9110: 401 was not applied).",
        401,
    ),
    NotSent(
        "MS_AUTH_EXPIRED",
        RetryAction.REFRESH,
        "ExpiredAuthenticationToken TokenExpired",
        "As above.",
    ),
    NotSent(
        INSUFFICIENT_PERMS,
        RetryAction.FAIL,
        "InsufficientPermissions ErrorAccessDenied AccessDenied Authorization_RequestDenied",
        "The right to send is checked before the request is carried out (RFC 9110: 403 is a refusal).",
        403,
    ),
    NotSent(
        "ATTACHMENT_TOO_LARGE",
        RetryAction.FAIL,
        """RequestBodyTooLarge AttachmentSizeLimitExceeded ErrorAttachmentSizeLimitExceeded
        ErrorMessageSizeExceeded RequestEntityTooLarge ErrorRequestEntityTooLarge""",
        "The size is checked before the mail is stored, and only a stored mail is sent.",
        413,
    ),
    NotSent(
        THROTTLED,
        RetryAction.WAIT,
        "",
        "Microsoft documents that a throttled request fails. One public report says otherwise: see below.",
        429,
    ),
    NotSent(
        "INVALID_RECIPIENT",
        RetryAction.FAIL,
        "InvalidRecipients ErrorInvalidRecipients ErrorInvalidRecipient ErrorMissingRecipients",
        "The mail is checked before it is stored.",
    ),
    NotSent(
        "TOO_MANY_RECIPIENTS",
        RetryAction.FAIL,
        "ErrorExceededMaxRecipientLimit ErrorTooManyRecipients",
        "The mail is checked before it is stored.",
    ),
    NotSent(
        "INVALID_HEADER",
        RetryAction.FAIL,
        "InvalidInternetMessageHeader ErrorInvalidInternetHeaderName",
        "The mail is checked before it is stored.",
    ),
    NotSent(
        "RECIPIENT_NOT_FOUND",
        RetryAction.FAIL,
        "RecipientNotFound",
        "The mail is checked before it is stored.",
    ),
    NotSent(
        "MS_INVALID_REQUEST",
        RetryAction.FAIL,
        """ErrorInvalidParameter ErrorInvalidRequest ErrorInvalidProperty ErrorSchemaValidation
        ErrorMimeContentInvalidBase64String UnableToDeserializePostBody RequestBodyRead BadRequest
        invalidRequest""",
        "The request could not be read, so nothing could be made of it.",
    ),
    NotSent(
        "MS_PROVIDER_POLICY_BLOCKED",
        RetryAction.FAIL,
        """MessageBlocked ErrorMessageBlocked ErrorMessageSubmissionBlocked ErrorAccountSuspend
        ErrorAccountSuspended ErrorAccountSuspendShowTierUpgrade""",
        "The submission itself was refused.",
    ),
    NotSent("MS_SEND_AS_DENIED", RetryAction.FAIL, "ErrorSendAsDenied", "The submission itself was refused."),
    NotSent(
        "MS_QUOTA_EXCEEDED",
        RetryAction.FAIL,
        "ErrorExceededMessageLimit ErrorSubmissionQuotaExceeded",
        "The submission itself was refused.",
    ),
    NotSent(
        "MS_MAILBOX_FULL",
        RetryAction.FAIL,
        "ErrorQuotaExceeded quotaLimitReached insufficientStorage",
        "The mail could not be stored, and only a stored mail is sent.",
    ),
    NotSent(
        "MS_MAILBOX_NOT_ENABLED",
        RetryAction.FAIL,
        """MailboxNotEnabledForRESTAPI MailboxNotSupportedForRESTAPI MailboxNotHostedInExchangeOnline
        ErrorMailboxNotEnabledForRESTAPI ErrorNonExistentMailbox""",
        "There is no mailbox that could have sent.",
    ),
    NotSent(
        "MS_SENDER_NOT_FOUND",
        RetryAction.FAIL,
        "ErrorInvalidUser ResourceNotFound Request_ResourceNotFound",
        "There is no user who could have sent.",
    ),
)
"""The closed list. An answer that is on no line leaves the outcome unknown."""

MAY_BE_SENT = frozenset(
    name.lower()
    for name in (
        "ErrorItemNotFound",
        "ErrorTimeoutExpired",
        "ErrorInternalServerError",
        "ErrorInternalServerTransientError",
    )
)
"""Codes that take a refusal back: a draft that is gone may have been sent; the others come after a start."""

CLOSED_LIST = ClosedList(UNKNOWN, NOT_SENT, MAY_BE_SENT)

ALIASES: dict[str, str] = {
    **{name: line.code for name, line in CLOSED_LIST.by_name.items()},
    **{
        name.lower(): THROTTLED
        for name in (
            "TooManyRequests",
            "ApplicationThrottled",
            "activityLimitReached",
            "CommandConcurrencyLimitReached",
            "MailboxConcurrency",
            "throttledRequest",
        )
    },
    **dict.fromkeys(("serviceunavailable", "servicenotavailable", "errorserverbusy"), UNAVAILABLE),
}
"""What a code of Graph or of plan.md is called here when it stands alone, without the answer it came in."""
