"""The status page in a real Chromium: what it shows, that it keeps up, and what a person does with it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from axe_playwright_python.sync_playwright import Axe
from kit.browsing import chromium
from kit.servers import RedisServer
from kit.serving import TOKEN, Served, serving
from kit.waiting import in_ms
from playwright.sync_api import Browser, Page, Route, expect
from worlds.fault_rig import Rig

from controller.decision.model import Kind
from controller.features import ROLLOUT_FEATURES

WITHIN_S = 2.0
"""A change is on the page within two seconds of its record."""
PAUSED_WITHIN_S = 3.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def rig(redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path) -> Rig:
    """Drive real ticks on the Redis that the page reads."""
    return Rig(redis_server.url, redis_client, tmp_path / "decisions.jsonl")


@pytest.fixture
def ramp(rig: Rig, served: Served) -> Rig:
    """Bring the feature to 5 %."""
    rig.person(Kind.ENABLE)
    controller = rig.controller()
    while rig.flags().rollout_percent < 5:
        rig.tick(controller)
    rig.tick(controller, 3)
    controller.release()
    return rig


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """Open nothing yet; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1180, "height": 900}, timezone_id="Asia/Kolkata")
    tab = context.new_page()
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda said: complaints.append(said.text) if "Refused to" in said.text else None)
    tab.goto(served.url + "/healthz")
    yield tab
    context.close()
    assert complaints == []


def test_the_page_says_where_the_rollout_stands_and_why(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    card = page.get_by_role("article", name="microsoft")
    expect(card.get_by_text("Ramping at 5 % of internal mail")).to_be_visible()
    expect(card.locator("[aria-current=step]")).to_have_text("5 %")
    expect(card.get_by_text(re.compile("^0 of [0-9]+ sends failed at this step"))).to_be_visible()
    expect(card.get_by_role("progressbar", name="Error rate: proof of health")).to_be_visible()
    expect(card.locator(".uplot")).to_have_count(3)
    expect(page.get_by_role("article", name="google")).to_contain_text("Disabled: nobody is in")


def test_the_page_keeps_up_with_what_happens(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    card = page.get_by_role("article", name="microsoft")
    expect(card.locator(".pill")).to_have_text("ramping")
    ramp.person(Kind.PAUSE)
    expect(card.locator(".pill")).to_have_text("paused", timeout=in_ms(WITHIN_S))
    expect(card.locator(".timeline li").first).to_contain_text("why by ann", timeout=in_ms(WITHIN_S))
    ramp.person(Kind.RESUME)
    expect(card.locator(".pill")).to_have_text("ramping", timeout=in_ms(WITHIN_S))
    expect(card.get_by_role("button", name="Pause")).to_be_visible()


def test_without_its_event_stream_the_page_keeps_up_more_slowly(
    ramp: Rig, served: Served, page: Page
) -> None:
    page.add_init_script("delete window.SharedWorker")
    page.goto(served.url)
    ramp.person(Kind.PAUSE)
    expect(page.locator(".pill").first).to_have_text("paused", timeout=in_ms(20))


def test_what_happens_while_a_tab_loads_is_not_missed(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    ramp.person(Kind.PAUSE)
    expect(page.locator(".pill").first).to_have_text("paused", timeout=in_ms(WITHIN_S))


def test_eight_tabs_share_one_stream_and_pause_works_in_each(ramp: Rig, served: Served, page: Page) -> None:
    """A browser opens six connections to a host."""
    tabs = [page, *(page.context.new_page() for _ in range(7))]
    for tab in tabs:
        tab.goto(served.url)
        expect(tab.locator(".uplot")).to_have_count(3)
    for tab in tabs:
        card = tab.get_by_role("article", name="microsoft")
        expect(card.get_by_role("button", name="Pause")).to_be_visible(timeout=in_ms(WITHIN_S))
        tab.get_by_label("Token").fill(TOKEN)
        card.get_by_role("button", name="Pause").click()
        expect(card.locator(".outcome")).to_contain_text("Done", timeout=in_ms(PAUSED_WITHIN_S))
        assert ramp.flags().paused
        ramp.person(Kind.RESUME)
    assert [record["kind"] for record in ramp.stream()].count("pause") == 8


def test_pause_works_while_every_connection_of_the_browser_is_taken(
    ramp: Rig, served: Served, page: Page
) -> None:
    page.goto(served.url)
    page.get_by_label("Token").fill(TOKEN)
    expect(page.locator(".uplot")).to_have_count(3)
    page.evaluate(
        "for (let i = 0; i < 8; i++) read('/api/v1/events', (answer) => answer.text()).catch(() => 0)"
    )
    card = page.get_by_role("article", name="microsoft")
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".outcome")).to_contain_text("Done", timeout=in_ms(PAUSED_WITHIN_S))


def test_without_an_answer_the_page_says_that_it_is_not_known_whether_it_was_done(
    ramp: Rig, served: Served, page: Page
) -> None:
    page.goto(served.url)
    page.get_by_label("Token").fill(TOKEN)
    keys: list[str | None] = []

    def lose_the_answer(route: Route) -> None:
        keys.append(route.request.header_value("idempotency-key"))
        if len(keys) == 1:
            route.fetch()
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/microsoft/pause", lose_the_answer)
    card = page.get_by_role("article", name="microsoft")
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".outcome")).to_contain_text("Not known whether it was done")
    expect(card.locator(".pill")).to_have_text("paused")
    ramp.person(Kind.RESUME)
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".outcome")).to_contain_text("Done")
    assert keys[0] == keys[1]


def test_a_page_that_cannot_be_read_in_time_says_that_it_is_old(
    ramp: Rig, served: Served, page: Page
) -> None:
    page.goto(served.url)
    expect(page.locator(".uplot")).to_have_count(3)
    page.route(f"{served.url}/", lambda _: None)
    page.evaluate("refresh()")
    expect(page.locator(".lost")).to_contain_text(
        "did not answer within 6 s. What is shown is old.", timeout=20_000
    )


def test_a_hidden_tab_reads_little_and_keeps_its_title_up_to_date(
    ramp: Rig, served: Served, page: Page
) -> None:
    page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => true})")
    page.goto(served.url)
    reads: list[str] = []
    page.on("request", lambda request: reads.append(request.url))
    for kind in (Kind.PAUSE, Kind.RESUME) * 10 + (Kind.PAUSE,):
        ramp.person(kind)
    expect(page).to_have_title("microsoft paused", timeout=20_000)
    assert reads.count(f"{served.url}/") <= 3
    assert not [url for url in reads if url.endswith("/course")]


def test_a_browser_that_keeps_nothing_still_pauses(ramp: Rig, served: Served, page: Page) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', {get: () => { throw new Error('blocked'); }})"
    )
    page.goto(served.url)
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("article", name="microsoft").get_by_role("button", name="Pause").click()
    expect(page.locator(".outcome").first).to_contain_text("Done")


def test_a_daemon_that_hangs_is_said_after_a_time(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    page.get_by_label("Token").fill(TOKEN)
    page.route("**/microsoft/pause", lambda _: None)
    card = page.get_by_role("article", name="microsoft")
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".outcome")).to_contain_text("Pausing")
    expect(card.locator(".outcome")).to_contain_text("did not answer within 8 s", timeout=in_ms(20))
    expect(card.get_by_role("button", name="Pause")).to_be_enabled()


def test_a_feature_that_is_switched_on_grows_its_card(rig: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    card = page.get_by_role("article", name="microsoft")
    expect(card.locator(".chart")).to_have_count(0)
    rig.person(Kind.ENABLE)
    expect(card.locator(".chart")).to_have_count(1, timeout=in_ms(WITHIN_S))


def test_a_decision_opens_to_its_whole_record(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    line = page.locator(".timeline li").filter(has_text="step up: healthy").first
    line.locator("summary").click()
    expect(line.locator(".record")).to_contain_text('"evidence_for_health"')


def test_pause_is_one_click_and_the_token_is_kept_for_the_tab(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    card = page.get_by_role("article", name="microsoft")
    pause = card.get_by_role("button", name="Pause")
    pause.click()
    expect(card.locator(".outcome")).to_contain_text("Type your token")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("somebody")
    page.keyboard.press("Enter")
    expect(card.locator(".outcome")).to_contain_text("Not done")
    assert not ramp.flags().paused
    page.get_by_label("Token").fill(TOKEN)
    card.get_by_label("Reason").fill("error reports")
    pause.click()
    expect(card.locator(".outcome")).to_contain_text("Done")
    assert (ramp.stream()[-1]["actor"], ramp.stream()[-1]["note"]) == ("ann", "error reports")
    ramp.person(Kind.RESUME)
    page.reload()
    pause.click()
    expect(card.locator(".outcome")).to_contain_text("Done")
    assert ramp.flags().paused
    assert ramp.stream()[-1]["note"] == "paused from the status page"


def test_everything_but_pause_asks_first_and_cancel_changes_nothing(
    ramp: Rig, served: Served, page: Page
) -> None:
    page.goto(served.url)
    card, dialog = page.get_by_role("article", name="microsoft"), page.get_by_role("dialog")
    card.get_by_label("Reason").fill("to be sure")
    page.get_by_label("Token").fill(TOKEN)
    card.get_by_role("button", name="Set percent").click()
    expect(dialog).to_contain_text("Set the percentage of microsoft")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    card.get_by_role("button", name="Set percent").click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert ramp.flags().rollout_percent == 5
    card.get_by_role("button", name="Set percent").click()
    expect(dialog.get_by_label("Reason")).to_have_value("to be sure")
    dialog.get_by_label("percentage").fill("2.5")
    dialog.get_by_role("button", name="Set percent").click()
    expect(card.locator(".outcome")).to_contain_text("Done")
    assert ramp.flags().rollout_percent == 2.5


def test_the_question_says_from_what_to_what_and_what_is_skipped(
    ramp: Rig, served: Served, page: Page
) -> None:
    page.goto(served.url)
    page.get_by_label("Token").fill(TOKEN)
    card, dialog = page.get_by_role("article", name="microsoft"), page.get_by_role("dialog")
    card.get_by_role("button", name="Set percent").click()
    expect(dialog).to_contain_text("Now at 5 % of internal mail")
    expect(dialog).to_contain_text("Prometheus does not answer: nothing would notice harm")
    dialog.get_by_label("percentage").fill("100")
    expect(dialog.locator(".change")).to_have_text(
        "From 5 % to 100 %. 10 %, 25 %, 50 % skipped: nothing is proven there first."
    )
    dialog.get_by_label("percentage").fill("0")
    expect(dialog.locator(".change")).to_contain_text("Nobody is in then")
    dialog.get_by_role("button", name="Set percent").click()
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")


def test_a_paused_card_offers_to_go_back_a_step_and_resume(ramp: Rig, served: Served, page: Page) -> None:
    ramp.person(Kind.PAUSE)
    page.goto(served.url)
    page.get_by_label("Token").fill(TOKEN)
    card, dialog = page.get_by_role("article", name="microsoft"), page.get_by_role("dialog")
    card.get_by_role("button", name="Resume", exact=True).click()
    expect(dialog).to_contain_text("by ann: why")
    page.keyboard.press("Escape")
    card.get_by_role("button", name="Go back to 1 % and resume").click()
    expect(dialog.locator(".change")).to_have_text("From 5 % to 1 %.")
    dialog.get_by_label("Reason").fill("fixed in 4.2")
    dialog.get_by_role("button", name="Go back to 1 % and resume").click()
    expect(card.locator(".pill")).to_have_text("ramping")
    assert (ramp.flags().paused, ramp.flags().rollout_percent) == (False, 1)
    assert [record["kind"] for record in ramp.stream()[-2:]] == ["set", "resume"]


def test_a_person_pauses_with_the_keyboard_alone(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the features")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.name || document.activeElement.dataset.act || ''")
        if focused == "token":
            page.keyboard.type(TOKEN)
        elif focused == "reason":
            page.keyboard.type("keyboard")
        elif focused == "pause":
            page.keyboard.press("Enter")
            break
    expect(page.locator(".outcome").first).to_contain_text("Done")
    assert ramp.flags().paused


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1180, 390])
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(
    ramp: Rig, served: Served, browser: Browser, scheme: str, width: int
) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 844},
        bypass_csp=True,
    )
    page = context.new_page()
    page.goto(served.url)
    expect(page.locator(".uplot")).to_have_count(3)
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ramp.person(Kind.PAUSE)
    expect(page.locator(".pill").first).to_have_text("paused")
    assert serious(page) == []
    context.close()


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe calls serious or critical: its rule, and the elements."""
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_where_little_is_to_be_shown(
    redis_server: RedisServer, browser: Browser, scheme: str
) -> None:
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light", bypass_csp=True)
    page, base = context.new_page(), ROLLOUT_FEATURES["microsoft"]
    features = {f"f{i}": replace(base, name=f"f{i}", action=f"a{i}.send") for i in range(8)}
    with serving(redis_server.url, features=features) as served:
        served.person(Kind.ENABLE, feature="f1")
        served.person(Kind.PAUSE, feature="f2")
        for path in ("/", "/features/f1", "/features/f3", "/features/f9"):
            page.goto(served.url + path)
            assert serious(page) == [], path
        redis_server.kill()
        page.goto(served.url)
        assert serious(page) == []
    context.close()


def test_without_the_script_the_page_says_the_same_and_reloads_itself(
    ramp: Rig, served: Served, browser: Browser
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.url)
    expect(
        page.get_by_role("article", name="microsoft").get_by_text("Ramping at 5 % of internal mail")
    ).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    assert "rollout pause microsoft" in page.content()
    assert 'http-equiv="refresh"' in page.content()
    context.close()


def test_times_are_in_the_readers_zone(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    shown = page.locator(".last time").first
    expect(page.locator(".zone")).to_have_text(re.compile("Asia/(Kolkata|Calcutta)"))
    expect(shown).to_have_attribute("title", "1970-01-12T13:58:40Z")
    expect(shown).to_have_text(re.compile("7:28:40"))


def test_the_policy_lets_nothing_in_from_elsewhere(served: Served) -> None:
    answer = served.http.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    for text in (answer.text, *(served.http.get(f"/page/{name}").text for name in ("style.css", "page.js"))):
        assert "//cdn" not in text
        assert 'src="http' not in text
        assert "style=" not in text


def test_text_from_outside_is_text_on_the_page(served: Served, page: Page) -> None:
    served.act("enable", reason="<img src=x onerror=alert(1)><b>bold</b>")
    page.goto(served.url)
    expect(page.locator(".timeline").first).to_contain_text("<b>bold</b>")
    assert page.locator("img").count() == 0


def test_with_many_features_the_first_page_is_the_overview(redis_server: RedisServer) -> None:
    base = ROLLOUT_FEATURES["microsoft"]
    features = {f"f{i}": replace(base, name=f"f{i}", action=f"a{i}.send") for i in range(40)}
    with serving(redis_server.url, features=features) as served:
        home = served.http.get("/").text
        assert home.count("<article") == 0
        assert home.count('href="/features/f') == 40
        assert served.http.get("/features/f7").text.count("<article") == 1
        assert served.http.get("/features/f41").status_code == 404


def test_files_come_with_an_etag_and_others_do_not_exist(served: Served) -> None:
    first = served.http.get("/page/page.js")
    again = served.http.get("/page/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    assert served.http.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    for path in ("/page/routes.py", "/page/..%2f..%2fsettings.py", "/page/vendor"):
        assert served.http.get(path).status_code == 404


def test_a_lost_daemon_is_said_on_the_page_and_its_return_too(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    expect(page.locator(".lost")).to_be_hidden()
    page.context.set_offline(True)
    page.evaluate("refresh()")
    expect(page.locator(".lost")).to_be_visible()
    page.context.set_offline(False)
    page.evaluate("refresh()")
    expect(page.locator(".lost")).to_be_hidden()


def test_a_lost_redis_is_a_page_that_comes_back_by_itself(
    ramp: Rig, served: Served, redis_server: RedisServer, page: Page
) -> None:
    redis_server.kill()
    page.goto(served.url)
    expect(page.locator(".trouble")).to_contain_text("Redis")
    expect(page.get_by_text("Redis does not answer")).to_be_visible()
    assert served.http.get("/").status_code == 503
    redis_server.start()
    expect(page.get_by_role("article", name="microsoft")).to_be_visible(timeout=in_ms(15))
    expect(page.locator(".trouble")).to_have_count(0)


def test_a_feature_that_is_none_is_a_page_that_names_the_one_meant(served: Served) -> None:
    answer = served.http.get("/features/microsfot")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "did you mean microsoft?" in answer.text


def test_the_tab_says_where_it_stands(ramp: Rig, served: Served, page: Page) -> None:
    page.goto(served.url)
    expect(page).to_have_title("microsoft 5 %, ramping")
    ramp.person(Kind.PAUSE)
    expect(page).to_have_title("microsoft paused")


def test_the_chart_knows_when_it_was_paused(ramp: Rig, served: Served) -> None:
    ramp.person(Kind.PAUSE)
    ramp.person(Kind.RESUME)
    course = served.http.get("/page/features/microsoft/course").json()
    assert course["paused"][-2:] == [True, False]
    assert not any(course["paused"][:-2])
    assert {len(course[name]) for name in ("at", "percent", "errors")} == {len(course["paused"])}


def test_flags_that_cannot_be_read_are_said(ramp: Rig, served: Served) -> None:
    ramp.edit(paused="perhaps")
    assert "flags unreadable" in served.http.get("/features/microsoft").text
