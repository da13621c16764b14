"""Which recipients are internal: one spelling for each domain, and no guessing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.gate.domains import InternalDomains, normal_domain
from adapter.message import EmailAddress

OURS = InternalDomains.parse(["internal.com", "b.com", "bücher.example", ".corp.example", "*.other.example"])

INTERNAL = [
    "a@internal.com",
    "a@INTERNAL.Com",
    "a@internal.com.",
    "a@b。com",
    "a@b．com",  # noqa: RUF001
    "a@ｂ.com",  # noqa: RUF001
    "a@bücher.example",
    "a@BÜCHER.example",
    "a@xn--bcher-kva.example",
    "a@mail.corp.example",
    "a@deep.mail.corp.example",
    "a@x.other.example",
    "first.last+tag@internal.com",
]

EXTERNAL = [
    "a@evil-internal.com",
    "a@internal.com.evil.example",
    "a@sub.internal.com",
    "a@corp.example",
    "a@evilcorp.example",
    "a@internal.com..",
    "a@.internal.com",
    "a@internal",
    "a@",
    "@internal.com",
    "internal.com",
    "",
    "x@evil.example,a@internal.com",
    "x@evil.example;a@internal.com",
    "x@evil.example a@internal.com",
    "Ann <a@internal.com>",
    "<x@evil.example> a@internal.com",
    '"x@evil.example"@internal.com',
    "a@internal.com\n",
    "a@internal.com\r\nBcc: x@evil.example",
    "a@internal.com\x00",
    " a@internal.com",
    "a@@internal.com",
    "a＠internal.com",  # noqa: RUF001
    "a@[127.0.0.1]",
    "a@inter\u200bnal.com\x00",
    "a@" + "x" * 300,
]


@pytest.mark.parametrize("address", INTERNAL)
def test_one_domain_is_recognised_in_every_spelling(address: str) -> None:
    assert OURS.has(address)


@pytest.mark.parametrize("address", EXTERNAL)
def test_what_is_elsewhere_or_unclear_is_external(address: str) -> None:
    assert not OURS.has(address)


def test_a_recipient_may_be_a_value_with_an_address() -> None:
    assert OURS.has(EmailAddress("a@internal.com", "Ann"))
    assert not OURS.has(EmailAddress("a@evil.example", "a@internal.com"))


@pytest.mark.parametrize(
    "entry", ["*", ".", "internal..com", "a@internal.com", "internal.com/", "-x.com", "ä b"]
)
def test_an_entry_that_is_no_domain_is_refused_by_name(entry: str) -> None:
    with pytest.raises(ValueError, match="is no domain") as refused:
        InternalDomains.parse(["internal.com", entry])
    assert repr(entry) in str(refused.value)


def test_no_domains_make_everybody_external() -> None:
    assert not InternalDomains.parse(["", " "]).has("a@internal.com")


@given(text=st.text(max_size=40))
def test_a_normal_domain_is_ascii_and_stays_as_it_is(text: str) -> None:
    domain = normal_domain(text)
    if domain is not None:
        assert domain.isascii()
        assert domain == domain.lower()
        assert normal_domain(domain) == domain
