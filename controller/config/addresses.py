"""Whose a connection or a request is, and which proxies are believed when they say so."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_PREFIX_OF_A_SITE = 64
"""One IPv6 site has as many addresses as it likes; they count as one."""


def read_networks(texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse `127.0.0.1`, `10.0.0.0/8`; raises ValueError for what is no address or network."""
    return tuple(_network(text) for text in texts)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"has {text!r}, no address or network as 127.0.0.1 or 10.0.0.0/8") from None


@lru_cache(maxsize=4096)
def is_within(host: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Whether an address belongs to one of these networks."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def site_of(host: str) -> str:
    """Return the address that limits are counted by: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        address = ip_address(host)
    except ValueError:
        return host[:64]
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), _PREFIX_OF_A_SITE), strict=False))
