"""Takes a mail back that waits for its `send_at`: until then it is a draft, and removed it is never sent."""

from adapter.errors import MessageRefusedError
from adapter.providers.provider import DraftPlace, Drafts, Reply
from adapter.sending.delivery import Delivery

MAX_ID_CHARACTERS = 1000


async def cancel_scheduled(delivery: Delivery, drafts: Drafts, mailbox: str, message_id: str) -> bool:
    """Remove a mail that waits for its time; False where there is none, or it was sent already.

    Raises StructuredError: also for a draft that waits for no time, which is somebody's own.
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
    return await delivery.achieved(drafts.remove(place), drafts.is_removed)


def _refused(problem: str) -> MessageRefusedError:
    return MessageRefusedError("INVALID_REQUEST", problem, "cancel")
