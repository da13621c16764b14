"""The HTTP server: how it listens, how many connections it holds, and how long each may keep it waiting."""

import asyncio
import contextlib
import random
import resource
import socket
from collections import defaultdict
from enum import IntEnum
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from controller.config.addresses import is_within, read_networks, site_of
from controller.config.settings import ControllerSettings
from controller.web.guard.limits import GONE, WAITS

MOST_CONNECTIONS = 2000
SHARE_OF_AN_ADDRESS = 0.5
"""Of the connections that one address may hold; a trusted proxy may hold all."""
HEAD_WITHIN_S = 10.0
"""From a connection's begin, or a request's first byte, to the end of its head."""
READ_WITHIN_S = 30.0
"""A client that reads nothing of its answer for so long is cut off."""
_SPARED_S = 1.0
_LOOKED_AT = 32
"""Looking at all of thousands at each new connection would itself be what a flood is for."""
_FILES_WANTED = 8192
_FILES_OF_A_TICK = 256
_BACKLOG = 2048
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
)


class ListenError(Exception):
    """The address to listen on cannot be used; the message says why."""


def listen_on(host: str, port: int) -> socket.socket:
    """Take an address before anything else is done. Raises ListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ListenError(
            f"{host}:{port} cannot be listened on ({error.strerror}); set listen or ROLLOUT_LISTEN"
        ) from error
    # Head and body of an answer are two packets: without this the second waits 40 ms for the client's ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server_config(app: ASGIApp, settings: ControllerSettings, *, grace_s: int) -> uvicorn.Config:
    """Return how to serve an application; requests under way may take `grace_s` after the signal to stop."""
    files = _raise_file_limit()
    proxies = read_networks(settings.trusted_proxies)
    most = max(16, min(MOST_CONNECTIONS, files - files // 4 - _FILES_OF_A_TICK))
    connections = Connections(most, proxies)
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, connections)),
        ws="none",
        log_config=None,
        backlog=min(_BACKLOG, files // 4),
        proxy_headers=bool(proxies),
        forwarded_allow_ips=[str(network) for network in proxies],
        timeout_graceful_shutdown=grace_s,
        server_header=False,
    )


def _raise_file_limit() -> int:
    """Raise the limit of open files as far as is allowed and wanted; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return _FILES_WANTED if soft == resource.RLIM_INFINITY else soft


class GivesWay(IntEnum):
    """Which connections are closed first where there are too many; of equals the one that waits longest."""

    IDLE = 0
    """It has sent no request, or a part of its head."""
    SLOW = 1
    """It does not send its body, or does not read its answer."""
    QUEUED = 2
    """Its request has no token and is not worked on yet."""
    NEW = 3
    """As IDLE or SLOW, but for less than a second."""
    NOT = 4


class Connections:
    """The open connections. Where there are too many, those that keep the server waiting give way."""

    def __init__(self, most: int, proxies: tuple[IPv4Network | IPv6Network, ...] = ()) -> None:
        self._most = most
        self._most_of_an_address = max(1, int(most * SHARE_OF_AN_ADDRESS))
        self._proxies = proxies
        self._all: set[BoundedProtocol] = set()
        self._by_address: defaultdict[str, set[BoundedProtocol]] = defaultdict(set)

    def admit(self, new: "BoundedProtocol") -> bool:
        """Take a connection in; return whether there is room for it."""
        ours = self._by_address[new.site]
        share = self._most if is_within(new.host, self._proxies) else self._most_of_an_address
        if (len(ours) >= share and not self._make_room(ours)) or (
            len(self._all) >= self._most and not self._make_room(self._all)
        ):
            return False
        self._by_address[new.site].add(new)
        self._all.add(new)
        return True

    def forget(self, one: "BoundedProtocol") -> None:
        """Forget a connection that is closed."""
        self._all.discard(one)
        ours = self._by_address[one.site]
        ours.discard(one)
        if not ours:
            del self._by_address[one.site]

    def _make_room(self, crowd: "set[BoundedProtocol]") -> bool:
        """Close the connection that gives way first among some of a crowd; return whether one does."""
        some = random.sample(tuple(crowd), min(_LOOKED_AT, len(crowd)))
        found = min(some, key=lambda one: (one.gives_way, one.since))
        if found.gives_way is GivesWay.NOT:
            return False
        self.forget(found)
        found.transport.abort()
        return True


class BoundedProtocol(H11Protocol):
    """Uvicorn's protocol with a time for heads, a time to read answers, and a share of connections."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._open = connections
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self.host = self.site = ""
        self.since = self.loop.time()
        """When it was opened, or was last of use."""

    @property
    def gives_way(self) -> GivesWay:
        """Whether it may be closed for another one; what has just come is spared: its head is on the way."""
        settled = self.loop.time() - self.since > _SPARED_S
        if self.awaits_head:
            return GivesWay.IDLE if settled else GivesWay.NEW
        if self.conn.their_state is h11.SEND_BODY or self.flow.write_paused:
            return GivesWay.SLOW if settled else GivesWay.NEW
        cycle = self._under_way
        return GivesWay.QUEUED if cycle is None or cycle.scope.get(WAITS, True) else GivesWay.NOT

    @property
    def awaits_head(self) -> bool:
        """Whether no request, or only a part of its head, is there."""
        return self.conn.their_state is h11.IDLE

    @property
    def is_late(self) -> bool:
        """Whether a head is to come, or the rest of a body whose request has been answered already."""
        late_body = self.conn.their_state is h11.SEND_BODY and self._under_way is None
        return self.awaits_head or late_body

    @property
    def _under_way(self) -> RequestResponseCycle | None:
        """The request that is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the new connection, as asyncio reports it."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.host = self.client[0] if self.client else ""
        self.site = site_of(self.host)
        if self._open.admit(self):
            self._watch_head()
        else:
            self.transport.write(_BUSY)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and why."""
        self._open.forget(self)
        for timer in (self._head_timer, self._read_timer):
            if timer:
                timer.cancel()
        if cycle := self._under_way:
            cycle.scope[GONE] = True  # type: ignore[literal-required]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes that arrived."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Note when the connection became idle."""
        self.since = self.loop.time()
        super().on_response_complete()
        if not self.awaits_head:
            self._watch_head()

    def pause_writing(self) -> None:
        """Wait with writing: the other side does not keep up."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(READ_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if self._read_timer:
            self._read_timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; a request under way ends as one whose client has left."""
        if cycle := self._under_way:
            cycle.disconnected = True
            cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def _watch_head(self) -> None:
        """Let time run while a head is to come, and stop it when the head is there."""
        if not self.is_late:
            if self._head_timer:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self.transport.close)
