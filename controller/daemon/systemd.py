"""Tells systemd how the daemon is: one datagram to NOTIFY_SOCKET (sd_notify(3))."""

import os
import socket

import structlog


def notify(*lines: str) -> None:
    """Send lines such as READY=1; does nothing where nobody listens. '@' is an abstract socket."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not lines:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.send("\n".join(lines).encode())
        except OSError as error:
            structlog.get_logger("systemd").warning("notify_failed", error=str(error))
