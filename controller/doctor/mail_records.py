"""What a domain's DNS says of who may send its mail, and what a receiver makes of that. Pure.

SPF (RFC 7208) names servers, DKIM (RFC 6376) has keys, DMARC (RFC 7489) says what to do with mail that has
neither in the name of its From address.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

POLICIES = ("none", "quarantine", "reject")
MOST_POLICY_CHARACTERS = 20
MOST_LOOKUPS = 10
"""Of an SPF record; one that needs more is an error to every receiver."""

Texts = Callable[[str], list[str]]
"""Returns the TXT records of a name."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What the mail of a provider needs in the DNS of the domain that it is from."""

    provider: str
    spf: str
    """What the SPF record includes."""
    selectors: tuple[str, ...]
    """Of the keys that it signs with."""


@dataclass(slots=True)
class Spf:
    """A domain's SPF record with all that it includes."""

    record: str = ""
    problem: str = ""
    """Why no receiver can use it; empty for none."""
    included: set[str] = field(default_factory=set)
    """Domains whose servers pass."""
    ends: str = ""
    """The qualifier of its `all`."""
    lookups: int = 0
    has_macro: bool = False
    """Whether it names a record that depends on each mail, and may name anybody."""


def read_spf(domain: str, texts: Texts) -> Spf:
    """Return a domain's SPF record, followed as a receiver follows it."""
    spf = Spf()
    spf.ends = _follow(domain, texts, spf, passes=True)
    return spf


def _follow(domain: str, texts: Texts, spf: Spf, *, passes: bool) -> str:
    """Follow one record to its `all`, whose qualifier it returns; receivers ignore what stands after it."""
    records = [text for text in texts(domain) if text.lower().split(" ")[0] == "v=spf1"]
    if len(records) != 1:
        many = f"{domain} has {len(records)} SPF records" if records else f"{domain} has no SPF record"
        spf.problem = spf.problem or (many if spf.record or records else "")
        return ""
    spf.record = spf.record or records[0]
    redirect = ""
    for term in records[0].lower().split()[1:]:
        qualifier, name = (term[0], term[1:]) if term[0] in "+-~?" else ("+", term)
        if name == "all":
            return qualifier
        if name.startswith("redirect="):
            redirect = name[9:]
        elif name.startswith("include:"):
            _include(name[8:], texts, spf, passes=passes and qualifier == "+")
        elif name.partition(":")[0].partition("/")[0] in {"a", "mx", "ptr", "exists"}:
            _count(spf)
    if redirect and _can_follow(redirect, spf):
        return _follow(redirect, texts, spf, passes=passes)
    return ""


def _include(name: str, texts: Texts, spf: Spf, *, passes: bool) -> None:
    if passes:
        spf.included.add(name.rstrip("."))
    if _can_follow(name, spf):
        _follow(name, texts, spf, passes=passes)


def _can_follow(name: str, spf: Spf) -> bool:
    spf.has_macro |= "%" in name
    return _count(spf) and "%" not in name


def _count(spf: Spf) -> bool:
    """Count a lookup; says whether there may be one more."""
    spf.lookups += 1
    if spf.lookups > MOST_LOOKUPS:
        spf.problem = f"its SPF record needs more than {MOST_LOOKUPS} lookups"
    return not spf.problem


def tags_of(record: str) -> dict[str, str]:
    """Read `name=value; name=value`."""
    pairs = (part.partition("=") for part in record.split(";") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def keys_of(domain: str, selectors: Iterable[str], texts: Texts) -> list[str]:
    """Return the selectors that have a key; one whose key is empty is withdrawn."""
    return [
        selector
        for selector in selectors
        if any(tags_of(text).get("p") for text in texts(f"{selector}._domainkey.{domain}"))
    ]


def policy_of(domain: str, texts: Texts) -> str:
    """Return DMARC's policy for a domain, its own or that of one above it; empty for none.

    What is no policy is returned as it is written, or the beginning of it: receivers go by none then.
    """
    labels = domain.split(".")
    for start in range(max(len(labels) - 1, 1)):
        above = ".".join(labels[start:])
        records = [tags_of(text) for text in texts(f"_dmarc.{above}") if text.lower().startswith("v=dmarc1")]
        if len(records) == 1:
            inherited = records[0].get("sp") if start else None
            return (inherited or records[0].get("p") or "nothing").lower()[:MOST_POLICY_CHARACTERS]
    return ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a receiver thinks of mail from a domain."""

    seen: str
    do: tuple[str, ...]
    """What to mend; nothing where mail arrives."""
    wishes: tuple[str, ...] = ()
    """What would be better still."""


def opinion(domain: str, senders: Iterable[Sender], texts: Texts) -> Opinion:
    """Say what a receiver thinks of each provider's mail, with the records that make it think so."""
    spf, policy = read_spf(domain, texts), policy_of(domain, texts)
    found = [(sender, keys_of(domain, sender.selectors, texts)) for sender in senders]
    return Opinion(
        "; ".join(_seen(sender, spf, keys, policy) for sender, keys in found),
        (*_spf_mending(domain, spf, found), *_other_mending(domain, found, policy)),
        tuple(_wishes(spf, found, policy)),
    )


def _seen(sender: Sender, spf: Spf, keys: list[str], policy: str) -> str:
    passes = not spf.problem and sender.spf in spf.included
    return (
        f"{sender.provider}: SPF {_spf_words(spf, passes=passes)}, DKIM {', '.join(keys) or 'no key'}, "
        f"DMARC {policy or 'none'}: {_thought(policy, by_spf=passes, by_dkim=bool(keys))}"
    )


def _spf_words(spf: Spf, *, passes: bool) -> str:
    if spf.problem or not spf.record:
        return spf.problem or "no record"
    names = "names a macro, which may be it" if spf.has_macro else "does not name it"
    return f"{'passes' if passes else names} ({spf.ends or '?'}all)"


def _thought(policy: str, *, by_spf: bool, by_dkim: bool) -> str:
    if by_spf and by_dkim:
        return "a receiver knows it as yours" + (
            "" if policy in POLICIES else ", and large ones want DMARC as well"
        )
    if by_spf or by_dkim:
        kind, loss = ("SPF", "forwarded mail") if by_spf else ("DKIM", "mail that is changed on its way")
        return f"a receiver knows it by {kind} alone, and takes {loss} for a forgery"
    told = {
        "reject": ", and your policy says to refuse it",
        "quarantine": ", and your policy says to put it into spam",
    }
    return f"a receiver takes it for a forgery{told.get(policy, '')}"


Found = list[tuple[Sender, list[str]]]
"""Each provider, and those of its selectors that have a key."""


def _spf_mending(domain: str, spf: Spf, found: Found) -> Iterator[str]:
    """Say what to do about the one record that all providers share."""
    missing = " ".join(f"include:{sender.spf}" for sender, _ in found if sender.spf not in spf.included)
    if spf.problem:
        yield f"mend the SPF record: {spf.problem}"
    elif not spf.record:
        yield f'add a TXT record at {domain}: "v=spf1 {missing} -all"'
    elif missing and not spf.has_macro:
        yield f"add {missing} to the SPF record, unless its addresses are listed one by one"


def _other_mending(domain: str, found: Found, policy: str) -> Iterator[str]:
    for sender, keys in found:
        if not keys:
            yield f"switch on DKIM for {domain} and publish {sender.selectors[0]}._domainkey.{domain}"
    if policy and policy not in POLICIES:
        yield f"correct the DMARC record: its policy is {policy!r}, not one of {', '.join(POLICIES)}"
    elif not policy:
        yield f'add a TXT record at _dmarc.{domain}: "v=DMARC1; p=none; rua=mailto:..."'


def _wishes(spf: Spf, found: Found, policy: str) -> Iterator[str]:
    if policy == "none":
        yield "DMARC p=none only reports forgeries: raise it once the reports are clean"
    if spf.has_macro and not all(sender.spf in spf.included for sender, _ in found):
        yield "SPF names a macro, which cannot be followed here: look for spf=pass in a mail that arrived"
    if spf.ends in {"+", "?"}:
        yield f"SPF ends in {spf.ends}all, which lets anybody send: end it in ~all or -all"
    for sender, keys in found:
        missing = ", ".join(one for one in sender.selectors if one not in keys)
        if keys and missing:
            yield f"publish {missing} too: keys are changed by going over to it"
