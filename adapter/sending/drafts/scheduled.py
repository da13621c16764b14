"""Takes a mail back that waits for its `send_at`: until then it is a draft, and removed it is never sent."""

from adapter.errors import MessageRefusedError, SendUnknownError
from adapter.providers.provider import DraftPlace, Drafts, Reply
from adapter.sending.delivery import Delivery

MAX_ID_CHARACTERS = 1000


async def cancel_scheduled(delivery: Delivery, drafts: Drafts, mailbox: str, message_id: str) -> bool:
    """Remove a mail that waits for its time; False where there is none, or it was sent already.

    Raises StructuredError: also for a draft that waits for no time, which is somebody's own, and
    SendUnknownError where it went while its removal was not answered.
    """
    if not 0 < len(message_id) <= MAX_ID_CHARACTERS or not message_id.isprintable():
        raise _refused("this is no id of a message")
    place = DraftPlace(mailbox, "", message_id)

    def waits(reply: Reply) -> tuple[bool, bool] | None:
        there = drafts.is_there(reply)
        return None if there is None else (there, drafts.is_deferred(reply))

    there, is_deferred = await delivery.achieved(drafts.look(place), waits)
    if not there:
        return False
    if not is_deferred:
        raise _refused("this draft waits for no time, so it is not one to cancel here")
    in_doubt = False

    async def note_doubt() -> None:
        nonlocal in_doubt
        in_doubt = True

    is_removed = await delivery.achieved(drafts.remove(place), drafts.is_removed, note_doubt)
    if in_doubt and not is_removed:
        raise _unknown(delivery)
    return is_removed


def _unknown(delivery: Delivery) -> SendUnknownError:
    code = delivery.provider.codes[delivery.provider.unknown_code]
    return SendUnknownError(
        code.name,
        "the draft is gone, but its removal was not answered: it was taken back, or sent just before; "
        "look in the sender's Sent Items",
        source=code.source,
        provider=delivery.provider.name,
        client_request_id=delivery.ids.client_request_id,
    )


def _refused(problem: str) -> MessageRefusedError:
    return MessageRefusedError("INVALID_REQUEST", problem, "cancel")
