"""Looks at the DNS of the domains that mail is sent from: what receivers outside will think of it."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from ipaddress import ip_address
from typing import Any

import dns.exception
import dns.resolver

from controller.doctor.finding import DoctorFinding, away, bad, note, ok
from controller.doctor.mail_records import Opinion, Sender, opinion
from controller.shared.config_file import ConfigError
from controller.shared.environment import Environment
from controller.shared.microsoft_cloud import GLOBAL, cloud_reader
from controller.shared.value_readers import Reader, read_address, split

QUERY_S = 2.0
ALL_S = 10.0
MOST_DOMAINS = 50
MOST_CHARACTERS = 300
"""Of an error, which may name what somebody wrote into a record."""
_AT_ONCE = 8
_EXCHANGE_ONLINE = (
    ".mail.protection.outlook.com",
    ".mx.microsoft",
    ".mail.protection.partner.outlook.cn",
    ".mail.protection.office365.us",
)


class DnsError(Exception):
    """There is no answer for a name; the text says why."""


class Dns:
    """Asks for records within a time that all of them share."""

    def __init__(self, server: tuple[str, int] | None) -> None:
        self._ends_at = time.monotonic() + ALL_S
        self.answered = False
        """Whether any server ever did."""
        try:
            self._resolver = dns.resolver.Resolver(configure=server is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise DnsError("this machine has no DNS server configured") from error
        if server:
            self._resolver.nameservers, self._resolver.port = [server[0]], server[1]

    def ask(self, name: str, kind: str) -> list[str]:
        """Return the records of a name, TXT as one text each. Raises DnsError."""
        left_s = min(QUERY_S, self._ends_at - time.monotonic())
        if left_s <= 0:
            raise DnsError(f"not all was answered within {ALL_S:g} s")
        try:
            found = self._asked(name, kind, left_s)
        except (dns.exception.Timeout, OSError) as error:
            raise DnsError(f"{name} {kind}: no answer within {left_s:.1f} s") from error
        except (dns.exception.DNSException, ValueError) as error:
            raise DnsError(f"{name} {kind}: {type(error).__name__}") from error
        if kind == "TXT":
            return [b"".join(record.strings).decode("utf-8", "replace") for record in found]
        return [record.exchange.to_text(omit_final_dot=True).lower() for record in found]

    def _asked(self, name: str, kind: str, left_s: float) -> list[Any]:
        try:
            found = list(self._resolver.resolve(f"{name}.", kind, lifetime=left_s, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            found = []
        except dns.resolver.NoNameservers as error:
            # Each: server, over TCP or not, port, what went wrong, the reply if there was one.
            replied = any(reply is not None for *_, reply in error.kwargs.get("errors", ()))
            self.answered = self.answered or replied
            why = "is refused by its servers" if replied else "reaches no server"
            raise DnsError(f"{name} {kind} {why}") from error
        self.answered = True
        return found


def _read_server(text: str) -> tuple[str, int]:
    host, port = read_address(text)
    ip_address(host)
    return host, port


_SERVER: Reader[tuple[str, int] | None] = Reader(_read_server)


def senders_of(providers: Iterable[str], env: Environment) -> list[Sender]:
    """Return what the mail of these providers needs: of those that are switched on here, or of all."""
    on = {name for name in providers if env.values.get(f"PROVIDER_{name.upper()}_ENABLED") == "true"}
    cloud = env.read("MS_CLOUD", cloud_reader, GLOBAL)
    known = {
        "microsoft": Sender("microsoft", cloud.spf, ("selector1", "selector2")),
        "google": Sender("google", "_spf.google.com", ("google",)),
    }
    return [known[name] for name in sorted(on or set(providers)) if name in known]


def sending_domains(env: Environment) -> list[str]:
    """Return the domains that this installation sends from: the internal ones, and those of its mailboxes."""
    internal = (entry.lstrip("*.") for entry in split(env.text("INTERNAL_DOMAINS")))
    mailboxes = (entry.rpartition("@")[2] for entry in split(env.text("MS_APP_MAILBOXES")) if "@" in entry)
    return list(dict.fromkeys(name.lower() for name in (*internal, *mailboxes) if name))


def look_at_domains(
    domains: Iterable[str], providers: Iterable[str], environ: Mapping[str, str] = os.environ
) -> Iterator[DoctorFinding]:
    """Yield a finding for each domain; where no DNS answers, one that says so."""
    env = Environment(environ)
    named = list(dict.fromkeys(filter(None, (*domains, *sending_domains(env)))))[:MOST_DOMAINS]
    try:
        senders = senders_of(providers, env)
        server = Dns(env.read("ROLLOUT_DNS_SERVER", _SERVER, None))
    except ConfigError as error:
        yield bad("domains", "a setting cannot be used", str(error))
        return
    except DnsError as error:
        yield away("dns", str(error), _NO_DNS)
        return
    if not named or not senders:
        missing = "domain" if not named else "provider that is known here"
        yield note(
            "domains", f"no sending {missing}", "set INTERNAL_DOMAINS, or `rollout doctor --domain NAME`"
        )
        return
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        found = list(threads.map(partial(_look, senders, server), named))
    if server.answered:
        yield from found
    else:
        yield away("dns", f"no DNS server answers ({found[0].seen})", _NO_DNS)


_NO_DNS = "check /etc/resolv.conf, or set ROLLOUT_DNS_SERVER"


def _look(senders: list[Sender], server: Dns, domain: str) -> DoctorFinding:
    subject = f"domain {domain}"
    texts: Callable[[str], list[str]] = cache(lambda name: server.ask(name, "TXT"))
    try:
        found = opinion(domain, senders, texts)
        where = _mail_at(server.ask(domain, "MX"))
    except DnsError as error:
        why = str(error)[:MOST_CHARACTERS]
        return note(subject, f"cannot be looked up: {why}", "look again later, or ask who runs its DNS")
    return _finding(subject, found, where)


def _finding(subject: str, found: Opinion, where: str) -> DoctorFinding:
    seen = f"{found.seen}; {where}"
    if found.do:
        return bad(subject, seen, "; ".join(found.do))
    return note(subject, seen, "; ".join(found.wishes)) if found.wishes else ok(subject, seen)


def _mail_at(hosts: list[str]) -> str:
    """Say where a domain's own mail goes."""
    if not hosts:
        return "no MX"
    online = any(host.endswith(_EXCHANGE_ONLINE) for host in hosts)
    return "mailboxes in Exchange Online" if online else f"MX {hosts[0]}, not Exchange Online itself"
