"""The status page as a person on call meets it: in every state, on a phone, at night, with many features."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from kit.browsing import chromium
from kit.serving import TOKEN, Served
from pages.states import STATES, sixty_features, state
from playwright.sync_api import Browser, Page, expect

from controller.contract import Flags

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1180, "height": 900}

_SMALL_TARGETS = """() => [...document.querySelectorAll('a, button, input, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.closest('.hidden, .skip'))
  .map((one) => [one.outerHTML.slice(0, 120), one.getBoundingClientRect().height])
  .filter(([, height]) => height > 0 && height < 43.5)"""
"""Half a pixel less than a finger needs is rounding."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def opened(browser: Browser, served: Served, size: dict[str, int], *, dark: bool = False) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": size["width"], "height": size["height"]},
        color_scheme="dark" if dark else "light",
        bypass_csp=True,
    )
    page = context.new_page()
    page.goto(served.url)
    yield page
    context.close()


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe calls serious or critical: its rule, and the elements."""
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


def seen_first(page: Page, text: str) -> None:
    """Check that a text is on the screen before anybody scrolls."""
    expect(page.get_by_text(text).first).to_be_in_viewport()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.mark.parametrize("name", STATES)
def test_every_state_answers_on_the_first_screen_and_is_usable_by_finger_and_at_night(
    browser: Browser, folder: Path, name: str
) -> None:
    with state(name, folder) as served:
        told = served.http.get("/api/v1/features/microsoft").json()
        for size, dark in ((DESK, False), (PHONE, True)):
            with opened(browser, served, size, dark=dark) as page:
                for text in (told["headline"], "Is anybody hurt now?", "What next?"):
                    seen_first(page, text)
                expect(page.get_by_role("button").first).to_be_visible()
                assert serious(page) == []
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
                if dark:
                    assert page.evaluate(_SMALL_TARGETS) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("paused-by-breach", ("What paused it?", "Error rate. Proven", "the controller, since")),
        ("paused-by-a-person", ("What paused it?", "why", "ann, since")),
        ("metrics-away", ("Held at 10 % of internal mail", "Not known", "rollout doctor")),
        ("complete-internally", ("Complete: 100 % of internal mail; other mail is not in", "rollout open")),
        ("complete", ("Complete: 100 % of the users are in",)),
        ("ramping", ("Ramping at 25 % of internal mail, about", "to 100 % at this traffic")),
    ],
)
def test_what_stopped_it_who_since_when_and_what_to_do_are_answered_first(
    browser: Browser, folder: Path, name: str, says: tuple[str, ...]
) -> None:
    with state(name, folder) as served, opened(browser, served, DESK) as page:
        for text in says:
            seen_first(page, text)
        if name.startswith("paused"):
            seen_first(page, "ago")
            expect(page.locator(".percent")).to_have_text("0%")
            expect(page.locator(".answers")).not_to_contain_text("Paused at 10 %.")
        for link in ("Runbook", "Dashboard", "Release"):
            expect(page.get_by_role("link", name=link)).to_have_attribute("rel", "noopener noreferrer")


def test_the_paused_state_is_no_percentage_of_users_on_the_chart(folder: Path) -> None:
    with state("paused-by-a-person", folder) as served:
        course = served.http.get("/page/features/microsoft/course").json()
        assert max(course["percent"]) == 25
        assert course["percent"][-1] == 0


def test_all_mail_is_let_in_from_the_page_after_a_question(browser: Browser, folder: Path) -> None:
    with state("complete-internally", folder) as served, opened(browser, served, PHONE) as page:
        page.get_by_label("Token").fill(TOKEN)
        dialog = page.get_by_role("dialog")
        page.get_by_role("button", name="Open to all mail").click()
        expect(dialog).to_contain_text("Now 100 % of internal mail, and no other")
        assert page.evaluate(_SMALL_TARGETS) == []
        dialog.get_by_label("Reason").fill("proven inside")
        dialog.get_by_role("button", name="Open to all mail").click()
        expect(page.locator(".outcome")).to_contain_text("Done")
        expect(page.get_by_text("Complete: 100 % of the users are in")).to_be_visible()
        page.get_by_role("button", name="Internal mail only").click()
        dialog.get_by_label("Reason").fill("back")
        dialog.get_by_role("button", name="Internal mail only").click()
        expect(page.get_by_text("other mail is not in")).to_be_visible()


def test_sixty_features_come_worst_first_folded_and_can_be_searched(browser: Browser, folder: Path) -> None:
    with sixty_features(folder) as served:
        with opened(browser, served, DESK) as page:
            rows = page.locator(".overview li")
            expect(rows).to_have_count(60)
            for i in range(3):
                expect(rows.nth(i)).to_contain_text("paused")
                expect(rows.nth(i)).to_contain_text("By tester: error reports from the help desk")
                expect(rows.nth(i).locator("time")).to_have_text(re.compile("^[0-9.]+ (s|min)$"))
            quiet = page.locator(".quiet")
            expect(quiet.locator("summary")).to_have_text("37 more: complete, disabled")
            expect(quiet.locator("ul")).to_be_hidden()
            page.get_by_label("Search").fill("clinic complete")
            expect(quiet.locator("li:visible")).to_have_count(2)
            expect(page.locator(".overview li:visible")).to_have_count(2)
            page.get_by_label("Search").fill("paused")
            expect(page.locator(".overview li:visible")).to_have_count(3)
            page.locator(".overview li:visible a").first.click()
            expect(page.get_by_role("article")).to_have_count(1)
        with opened(browser, served, PHONE, dark=True) as page:
            assert serious(page) == []
            assert page.evaluate(_SMALL_TARGETS) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_feature_in_no_configuration_comes_first_with_the_line_that_stops_it(
    browser: Browser, folder: Path
) -> None:
    with state("complete", folder) as served:
        flags = Flags(enabled=True, internal_only=False, rollout_percent=40.0, paused=False)
        served.store.create_missing("forgotten", flags)
        served.ticks.unwatched = ("forgotten",)
        for size in (DESK, PHONE):
            with opened(browser, served, size) as page:
                row = page.locator(".overview li").first
                expect(row).to_contain_text("Unwatched at 40 %: in no configuration, so nobody pauses it")
                expect(row).to_contain_text("rollout pause forgotten")
                assert serious(page) == []
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
