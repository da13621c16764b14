"""The demo's ramp, fault, pause and resume, seen on the page while they happen; and a pause from the page."""

from pathlib import Path

import httpx
import pytest
from kit.browsing import chromium
from pages.pictures import DARK, LIGHT, PHONE, running_demo, take, watch
from playwright.sync_api import Page, expect

from controller.demo.story import OPERATOR
from controller.demo.world import World

TOKEN = "try-me"


def test_the_whole_story_is_on_the_page_while_it_happens_and_a_person_pauses_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_API_TOKEN", f"ann:{TOKEN}")
    world_folder, pictures = tmp_path / "world", tmp_path / "pictures"
    world_folder.mkdir()
    with running_demo(world_folder) as world, chromium() as browser:
        page = browser.new_page()
        url = f"http://{world.settings.listen}/features/microsoft"

        def look_while_paused() -> None:
            expect(page.locator(".card .pill")).to_have_text("paused")
            expect(page.locator(".answers")).to_contain_text("sends failed")
            expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible()
            for view in (DARK, PHONE):
                take(browser, url, view, pictures)

        watched = watch(world, page, look_while_paused)
        take(browser, url, LIGHT, pictures)
        assert {"enable", "step_up", "pause", "resume"} <= {one["kind"] for one in watched.changes}
        shown_at = [watched.shown_at[record["id"]] for record in watched.changes]
        assert shown_at == sorted(shown_at)
        # Enabling and the first step are one tick apart: so each is seen before the change after the next.
        after_next = [record["at"] for record in watched.changes[2:]]
        assert all(shown < later for shown, later in zip(shown_at, after_next, strict=False))
        assert {path.name for path in pictures.iterdir()} == {
            f"{view.name}.webp" for view in (LIGHT, DARK, PHONE)
        }
        pauses_from_the_page(world, page)


def pauses_from_the_page(world: World, page: Page) -> None:
    """Pause where everybody is in: refused without a token and with a wrong one, done with the right one."""
    pause = page.get_by_role("button", name="Pause")
    page.locator(".acts").get_by_label("Reason").fill("customers call")
    pause.click()
    expect(page.locator(".outcome")).to_contain_text("Type your token")
    page.get_by_label("Token").fill("guessed")
    pause.click()
    expect(page.locator(".outcome")).to_contain_text("Not done")
    asked = httpx.post(
        f"http://{world.settings.listen}/api/v1/features/microsoft/pause", json={"reason": "customers call"}
    )
    assert asked.status_code == 401
    [stored] = world.store.read(["microsoft"])
    assert not stored.flags.paused
    page.get_by_label("Token").fill(TOKEN)
    pause.click()
    expect(page.locator(".card .pill")).to_have_text("paused")
    [stored] = world.store.read(["microsoft"])
    assert stored.flags.paused
    by_hand = [r for r in world.store.history("microsoft", newest=20) if r["kind"] == "pause"]
    assert (by_hand[-1]["actor"], by_hand[-1]["note"]) == ("ann", "customers call")
    assert by_hand[-1]["actor"] != OPERATOR
