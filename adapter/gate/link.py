"""FlagLink: the one connection over which a process hears hints and asks Redis.

RESP3 lets a connection that is subscribed ask as well. So a link that is half-open, whose hints would be lost
forever, is found by the next reading: no command asks whether it still works.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from controller.contract import FLAGS_CHANNEL

if TYPE_CHECKING:
    import redis

HINTS_AT_ONCE = 100
"""One reading serves this many waiting hints; more of them cannot keep it from reading."""


class FlagLink:
    """Subscribed from `with` on; each method raises what redis-py raises, and then the link is to be left."""

    def __init__(self, client: "redis.Redis") -> None:
        """Take the client whose server and login are used."""
        pool: Any = client.connection_pool
        self._connection = pool.connection_class(**{**pool.connection_kwargs, "protocol": 3})
        self._hinted = False

    def __enter__(self) -> Self:
        self._connection.connect()
        try:
            self._connection.send_command("SUBSCRIBE", FLAGS_CHANNEL)
            self._connection.read_response(push_request=True)
        except BaseException:
            self._connection.disconnect()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()

    def hinted(self, within_s: float) -> bool:
        """Wait for a hint, and take those that wait behind it; whether one came since this was asked last."""
        hinted, self._hinted = self._hinted, False
        for _ in range(HINTS_AT_ONCE):
            if not self._connection.can_read(0.0 if hinted else within_s):
                break
            self._connection.read_response(push_request=True)
            hinted = True
        return hinted

    def ask(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """Ask in one round trip; a refusal stands in place of an answer."""
        self._connection.send_packed_command(self._connection.pack_commands(commands))
        return [self._answer() for _ in commands]

    def _answer(self) -> Any:
        from hiredis import PushNotification  # noqa: PLC0415 (these are slow to import, and here by now)
        from redis import ResponseError  # noqa: PLC0415

        try:
            while isinstance(answer := self._connection.read_response(push_request=True), PushNotification):
                self._hinted = True
        except ResponseError as error:
            return error
        return answer
