"""The documented fallback to the old provider: no mail twice by both ways, none lost without an error.

`make test` sends some; SOAK_MAILS asks for more, and SOAK_FIRST_SEED for another course.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from kit.examples import amount
from kit.sending import ANN, Sender, open_flags, open_sender
from kit.servers import Proxy, RedisServer

from adapter import SendUnknownError, StructuredError
from adapter.sandbox.faults import Faults
from adapter.sandbox.graph import Sandbox
from adapter.sending.one_send import new_ids
from controller.contract import FLAGS_CHANNEL

ROOT = Path(__file__).resolve().parents[2]
MAILS = amount("MAILS", soak=1000, usually=150)
SEED = amount("FIRST_SEED", soak=20, usually=20)
FAULTS = [
    *(
        Faults(status=status, delivered_share=share)
        for status in (200, 408, 500, 503, 504)
        for share in (0, 1)
    ),
    Faults(status=400, error_code="ErrorTimeoutExpired", delivered_share=1.0),
    Faults(status=404, error_code="ErrorItemNotFound", delivered_share=1.0),
    Faults(status=429, retry_after=0.02),
    Faults(status=401),
    Faults(status=403),
    Faults(reset="before"),
    Faults(reset="in"),
    Faults(reset="after", delivered_share=1.0),
    Faults(hang=True, delivered_share=1.0),
    Faults(hang=True),
]
"""None of them delivers and calls it a refusal of the closed list."""


class RefusedError(Exception):
    """The old provider did not take a mail."""


@dataclass
class OldProvider:
    """Sends, refuses, or sends and fails, as a real one does; it knows nothing of keys."""

    dice: random.Random
    copies: Counter[str] = field(default_factory=Counter)
    Refused = RefusedError

    async def send(self, mail: "Mail") -> None:
        await asyncio.sleep(self.dice.random() / 100)
        luck = self.dice.random()
        if luck < 0.1:
            raise RefusedError
        self.copies[mail.id] += 1
        await asyncio.sleep(self.dice.random() / 100)
        if luck < 0.15:
            raise ConnectionError


class Outbox:
    """A caller's table of mails."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    async def is_begun(self, mail_id: str) -> bool:
        return mail_id in self._begun

    async def begin(self, mail_id: str) -> None:
        self._begun.add(mail_id)

    async def take_back(self, mail_id: str) -> None:
        self._begun.remove(mail_id)


@dataclass(frozen=True)
class Mail:
    id: str
    user_id: str
    fields: dict[str, Any]

    @property
    def message_id(self) -> str:
        return new_ids("outlook.send", self.user_id, self.id).internet_message_id


@dataclass
class Storm:
    """Throws a fault at a fifth of the requests."""

    dice: random.Random

    def throw(self) -> Faults:
        return self.dice.choice(FAULTS) if self.dice.random() < 0.2 else Faults()


def example(page: str, about: str) -> dict[str, Any]:
    """Return the names that the page's own code defines."""
    text = (ROOT / page).read_text(encoding="utf-8")
    [code] = [found for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if about in found]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 (the page's own code)
    return names


@dataclass
class Course:
    """Mails that are delivered through the example while everything around it fails."""

    sender: Sender
    dice: random.Random
    old: OldProvider
    outbox: Outbox = field(default_factory=Outbox)
    names: dict[str, Any] = field(default_factory=lambda: example("docs/sending.md", "async def deliver"))
    ways: Counter[str] = field(default_factory=Counter)

    async def until_it_ends(self, mail: Mail, crew: asyncio.Semaphore) -> str:
        """Call again until the mail is sent or nobody can say; gives which."""
        async with crew:
            while True:
                try:
                    way = await self._once(mail)
                except (SendUnknownError, self.names["MayBeSent"]):
                    return "unknown"
                except (StructuredError, RefusedError, ConnectionError, TimeoutError) as error:
                    self.ways[getattr(error, "code", type(error).__name__)] += 1
                    await asyncio.sleep(self.dice.random() / 20)
                else:
                    self.ways[way] += 1
                    if way == "new" and self.dice.random() < 0.3:
                        await self._again(mail)
                    return "sent"

    async def _again(self, mail: Mail) -> None:
        """Call once more, as a caller does that died before it could note the result."""
        await asyncio.sleep(self.dice.random() / 5)
        with suppress(StructuredError):
            assert await self.names["deliver"](mail, self.outbox, self.old) == "new"

    async def _once(self, mail: Mail) -> str:
        """Deliver, and give up at a random moment now and then, as a caller's own time-out does."""
        patience_s = self.dice.random() / 20 if self.dice.random() < 0.15 else None
        async with asyncio.timeout(patience_s):
            return str(await self.names["deliver"](mail, self.outbox, self.old))


async def change_flags(client: redis.Redis, dice: random.Random) -> None:
    """Pause, resume and set another percentage, as the controller and people do."""
    while True:
        paused = "true" if dice.random() < 0.2 else "false"
        open_flags(client, paused=paused, rollout_percent=str(dice.choice([5, 50, 90, 100])))
        client.publish(FLAGS_CHANNEL, "microsoft")
        await asyncio.sleep(dice.random() / 5)


async def cut_redis(proxy: Proxy, dice: random.Random) -> None:
    while True:
        await asyncio.sleep(dice.random())
        proxy.cut()


@pytest.fixture
def redis_proxied(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


async def test_no_mail_goes_twice_by_both_ways_and_none_is_lost_or_called_sent_wrongly(
    redis_proxied: Proxy,
    redis_client: redis.Redis,
    graph: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(SEED)
    open_flags(redis_client)
    graph.dice = Storm(random.Random(SEED + 1))
    mails = [
        Mail(f"mail-{n}", f"user-{n % 37}", {"to": [ANN], "subject": f"Mail {n}", "body_text": "Hi"})
        for n in range(MAILS)
    ]
    environment = {"ROLLOUT_SEND_DEADLINE_S": "1.5"}
    async with open_sender(redis_proxied.redis_url, graph, environment=environment) as sender:
        monkeypatch.setattr("adapter.sending.actions.default_runtime", lambda: given(sender.runtime))
        course = Course(sender, dice, OldProvider(random.Random(SEED + 2)))
        weather = [
            asyncio.create_task(change_flags(redis_client, random.Random(SEED + 3))),
            asyncio.create_task(cut_redis(redis_proxied, random.Random(SEED + 4))),
        ]
        crew = asyncio.Semaphore(24)
        ends = await asyncio.gather(*(course.until_it_ends(mail, crew) for mail in mails))
        for task in weather:
            task.cancel()
        await asyncio.gather(*weather, return_exceptions=True)
    copies = {mail.id: graph.copies[mail.message_id] + course.old.copies[mail.id] for mail in mails}
    told = dict(zip(copies, ends, strict=True))
    assert max(copies.values()) == 1, "no mail goes out twice"
    assert [mail for mail, end in told.items() if end == "sent" and not copies[mail]] == []
    assert min(course.ways["new"], course.ways["old"]) > MAILS / 20, course.ways
    assert 0 < sum(end == "unknown" for end in ends) < MAILS / 2


async def given(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("faults", "flags", "fell_back"),
    [
        (Faults(), {}, False),
        (Faults(), {"paused": "true"}, True),
        (Faults(status=403), {}, True),
        (Faults(status=504), {}, False),
        (Faults(status=504, delivered_share=1.0), {}, False),
    ],
)
async def test_the_readme_falls_back_where_nothing_was_sent_and_there_alone(
    faults: Faults,
    flags: dict[str, str],
    fell_back: bool,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    graph: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_flags(redis_client, **flags)
    graph.faults = faults
    asked = []

    async def send_by_old_provider() -> None:
        asked.append("old")

    async with open_sender(redis_server.url, graph) as sender:
        monkeypatch.setattr("adapter.sending.actions.default_runtime", lambda: given(sender.runtime))
        with suppress(SendUnknownError):
            await example("README.md", "send_by_old_provider")["send"](send_by_old_provider)
    assert asked == ["old"] * fell_back
