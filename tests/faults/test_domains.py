"""What receivers outside think of a domain's mail, asked of a real DNS server over UDP."""

import json
import time

import pytest
from click.testing import CliRunner
from kit.dns_server import DnsServer, Zone, txt
from kit.servers import RedisServer, free_port

from controller.cli import rollout
from controller.doctor.domains import look_at_domains
from controller.doctor.finding import DoctorFinding, DoctorVerdict
from controller.shared.microsoft_cloud import CLOUDS

OUTLOOK = "v=spf1 ip4:40.92.0.0/15 ip6:2a01:111:f400::/48 -all"
KEY = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" + "A" * 340


def zone(**changed: list[str] | None) -> Zone:
    """Return a good domain's records, as changed by name."""
    records: dict[str, list[str] | None] = {
        "spf": ["v=spf1 include:spf.protection.outlook.com -all"],
        "selector1": [KEY],
        "selector2": [KEY],
        "dmarc": ["v=DMARC1; p=reject; rua=mailto:d@corp.example"],
        **changed,
    }
    names = {
        "spf": "corp.example",
        "selector1": "selector1._domainkey.corp.example",
        "selector2": "selector2._domainkey.corp.example",
        "dmarc": "_dmarc.corp.example",
    }
    made = {(names[what], "TXT"): [txt(one) for one in texts] for what, texts in records.items() if texts}
    made["corp.example", "MX"] = ["10 corp-example.mail.protection.outlook.com."]
    made["spf.protection.outlook.com", "TXT"] = [txt(OUTLOOK)]
    return made


def look(
    found: Zone, *domains: str, providers: tuple[str, ...] = ("microsoft",), **given: str
) -> list[DoctorFinding]:
    with DnsServer(found, broken=frozenset({"broken.example"})) as server:
        environ = {"ROLLOUT_DNS_SERVER": server.address, **given}
        return list(look_at_domains(domains or ("corp.example",), providers, environ))


def test_a_domain_that_is_set_up_is_well() -> None:
    (one,) = look(zone())
    assert (one.verdict, one.do) == (DoctorVerdict.OK, "")
    assert one.seen == (
        "microsoft: SPF passes (-all), DKIM selector1, selector2, DMARC reject: a receiver knows it as "
        "yours; mailboxes in Exchange Online"
    )


@pytest.mark.parametrize(
    ("changed", "seen", "do"),
    [
        ({"spf": None}, "SPF no record", '"v=spf1 include:spf.protection.outlook.com -all"'),
        (
            {"spf": ["v=spf1 mx -all"]},
            "SPF does not name it (-all)",
            "add include:spf.protection.outlook.com",
        ),
        ({"spf": ["v=spf1 ?include:spf.protection.outlook.com -all"]}, "does not name it", "add include:"),
        ({"spf": ["v=spf1 -all", "v=spf1 mx -all"]}, "corp.example has 2 SPF records", "mend the SPF record"),
        ({"spf": ["v=spf1 include:nowhere.example -all"]}, "nowhere.example has no SPF record", "mend"),
        ({"spf": ["v=spf1 include:corp.example -all"]}, "needs more than 10 lookups", "mend the SPF record"),
        ({"spf": ["v=spf1 a mx ptr a mx a mx a mx a mx ~all"]}, "needs more than 10 lookups", "mend"),
        ({"selector1": None, "selector2": None}, "by SPF alone, and takes forwarded mail", "switch on DKIM"),
        ({"selector1": ["v=DKIM1; p="], "selector2": None}, "DKIM no key", "switch on DKIM"),
        (
            {"spf": None, "selector1": None, "selector2": None},
            "a forgery, and your policy says to refuse it",
            "add",
        ),
        (
            {"dmarc": None},
            "DMARC none: a receiver knows it as yours, and large ones want DMARC",
            "_dmarc.corp",
        ),
        ({"dmarc": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]}, "DMARC none", "_dmarc.corp.example"),
        ({"dmarc": ["v=DMARC1; p=rejct"]}, "DMARC rejct: ", "its policy is 'rejct', not one of none, quar"),
        ({"dmarc": ["v=DMARC1; rua=mailto:d@x"]}, "large ones want DMARC", "its policy is 'nothing'"),
        (
            {"dmarc": ["v=DMARC1; p=" + "a" * 60_000]},
            f"DMARC {'a' * 20}: ",
            "correct the DMARC record",
        ),
        (
            {"spf": ["v=spf1 -all include:spf.protection.outlook.com"]},
            "SPF does not name it (-all)",
            "add include:",
        ),
        (
            {"spf": ["v=spf1 redirect=spf.protection.outlook.com ?all"]},
            "SPF does not name it (?all)",
            "add include:",
        ),
    ],
)
def test_what_a_receiver_will_hold_against_a_domain_is_said(
    changed: dict[str, list[str] | None], seen: str, do: str
) -> None:
    (one,) = look(zone(**changed))
    assert one.verdict is DoctorVerdict.BAD
    assert seen in one.seen
    assert do in one.do


@pytest.mark.parametrize(
    ("changed", "do"),
    [
        ({"dmarc": ["v=DMARC1; p=none"]}, "p=none only reports forgeries"),
        ({"selector2": None}, "publish selector2 too"),
        ({"spf": ["v=spf1 redirect=%{d}._spf.vendor.example"]}, "look for spf=pass"),
        ({"spf": ["v=spf1 include:%{ir}._spf.vendor.example -all"]}, "look for spf=pass"),
        ({"spf": ["v=spf1 include:spf.protection.outlook.com ?all"]}, "lets anybody send"),
    ],
)
def test_what_could_be_better_is_a_note(changed: dict[str, list[str] | None], do: str) -> None:
    (one,) = look(zone(**changed))
    assert one.verdict is DoctorVerdict.NOTE
    assert do in one.do


@pytest.mark.parametrize(
    "spf",
    [
        "v=spf1 include:spf.protection.outlook.com -all " + "include:nowhere.example " * 20,
        "v=spf1 include:spf.protection.outlook.com redirect=%{d}._spf.vendor.example",
    ],
)
def test_what_a_receiver_does_not_follow_is_not_held_against_a_domain(spf: str) -> None:
    (one,) = look(zone(spf=[spf]))
    assert (one.verdict, one.do) == (DoctorVerdict.OK, "")


def test_a_name_that_is_too_long_is_not_shown_whole() -> None:
    (one,) = look(zone(spf=[f"v=spf1 include:{'a' * 60_000} -all"]))
    assert (one.verdict, len(one.seen) < 1000) == (DoctorVerdict.NOTE, True)


def test_a_redirect_is_followed_and_a_sub_domain_has_the_policy_of_the_one_above() -> None:
    found = {
        **zone(dmarc=["v=DMARC1; p=reject; sp=quarantine"]),
        ("news.corp.example", "TXT"): [txt("v=spf1 redirect=corp.example")],
        ("selector1._domainkey.news.corp.example", "TXT"): [txt(KEY)],
        ("selector2._domainkey.news.corp.example", "TXT"): [txt(KEY)],
    }
    (one,) = look(found, "news.corp.example")
    assert "SPF passes (-all), DKIM selector1, selector2, DMARC quarantine" in one.seen


def test_each_provider_and_each_cloud_is_looked_at_by_its_own_records() -> None:
    google = {
        ("google._domainkey.corp.example", "TXT"): [txt(KEY)],
        ("_spf.google.com", "TXT"): [txt("v=spf1 ip4:35.190.247.0/24 ~all")],
    }
    both = ["v=spf1 include:spf.protection.outlook.com include:_spf.google.com -all"]
    (one,) = look({**zone(spf=both), **google}, providers=("microsoft", "google"))
    assert one.verdict is DoctorVerdict.OK
    assert "google: SPF passes (-all), DKIM google, " in one.seen
    (one,) = look(zone(spf=None), providers=("microsoft", "google"))
    assert '"v=spf1 include:_spf.google.com include:spf.protection.outlook.com -all"' in one.do
    (one,) = look(zone(), providers=("microsoft", "google"), PROVIDER_MICROSOFT_ENABLED="true")
    assert one.verdict is DoctorVerdict.OK
    (one,) = look(zone(), MS_CLOUD="usgov")
    assert f"include:{CLOUDS['usgov'].spf}" in one.do


def test_the_sending_domains_come_from_the_settings() -> None:
    given = {
        "INTERNAL_DOMAINS": "corp.example, *.corp.example",
        "MS_APP_MAILBOXES": "u=a@two.example,*@corp.example",
    }
    with DnsServer(zone()) as server:
        found = list(look_at_domains((), ["microsoft"], {"ROLLOUT_DNS_SERVER": server.address, **given}))
    assert [one.subject for one in found] == ["domain corp.example", "domain two.example"]
    (bad,) = look_at_domains(("corp.example",), ["microsoft"], {"MS_CLOUD": "mars"})
    assert (bad.verdict, "'mars' is not one of" in bad.do) == (DoctorVerdict.BAD, True)
    (other,) = look_at_domains(("corp.example",), ["aws-ses"], {})
    assert other.seen == "no sending provider that is known here"
    (none,) = look_at_domains((), ["microsoft"], {})
    assert (none.verdict, none.seen) == (DoctorVerdict.NOTE, "no sending domain")


def test_a_domain_whose_servers_fail_hides_no_other() -> None:
    first, second, *others = look(
        zone(), "broken.example", "corp.example", "a..b", "x" * 64 + ".example", "ü .y"
    )
    assert (first.verdict, second.verdict) == (DoctorVerdict.NOTE, DoctorVerdict.OK)
    assert all(other.verdict is not DoctorVerdict.OK for other in others)
    assert "broken.example TXT is refused by its servers" in first.seen


def test_without_a_dns_the_rest_is_looked_at_all_the_same(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_REDIS_URL", redis_server.url)
    monkeypatch.setattr("controller.doctor.domains.QUERY_S", 0.2)
    with DnsServer({}, silent=True) as server:
        monkeypatch.setenv("ROLLOUT_DNS_SERVER", server.address)
        began = time.monotonic()
        done = CliRunner().invoke(
            rollout, ["doctor", "--domain", "corp.example", "--domain", "two.example", "--json"]
        )
    assert time.monotonic() - began < 60
    found = {one["subject"]: one for one in json.loads(done.stdout)}
    assert found["dns"]["verdict"] == "away"
    assert "no DNS server answers" in found["dns"]["seen"]
    assert found["configuration"]["verdict"] == "ok"
    assert done.exit_code == 3


def test_a_server_that_does_not_listen_is_no_dns() -> None:
    (one,) = look_at_domains(
        ["corp.example"], ["microsoft"], {"ROLLOUT_DNS_SERVER": f"127.0.0.1:{free_port()}"}
    )
    assert (one.subject, one.verdict) == ("dns", DoctorVerdict.AWAY)


def test_opening_tells_once_what_receivers_will_think_and_opens_whatever_it_is(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_REDIS_URL", redis_server.url)
    monkeypatch.setenv("INTERNAL_DOMAINS", "corp.example")
    command = ["open", "microsoft", "--reason", "everybody", "--yes", "--json"]
    with DnsServer(zone(spf=None)) as server:
        monkeypatch.setenv("ROLLOUT_DNS_SERVER", server.address)
        done = CliRunner().invoke(rollout, command)
    assert done.exit_code == 0
    assert done.stderr.count("domain corp.example: microsoft: SPF no record") == 1
    assert json.loads(done.stdout)["to"]["internal_only"] is False
    monkeypatch.setenv("ROLLOUT_DNS_SERVER", "dns.example:53")
    bad = CliRunner().invoke(rollout, command)
    assert bad.exit_code == 0
    assert "ROLLOUT_DNS_SERVER" in bad.stderr
