"""The demo watched on its status page by a real browser: when each change was seen, and pictures of it.

`make pictures` tells the story once, brings a rollout into each state, and renews what is in docs/pictures.
"""

import base64
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kit.browsing import chromium
from kit.servers import PrometheusServer
from pages.states import STATES, sixty_features, state
from playwright.sync_api import Browser, Page

from controller.decision.model import Kind
from controller.demo.story import StoryProgress, look, tell
from controller.demo.world import World, build
from controller.sandbox.processes import Processes

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_PULSE_S = 0.25
_SETTLED_MS = 400
_QUALITY = 82
_COUNTED_S = 10.0
"""After so long the last step has been counted too."""
_NOTE_WHAT_IS_SEEN = """() => {
  window.firstSeen = {};
  const look = () => {
    for (const line of document.querySelectorAll('.timeline li[data-id]')) {
      window.firstSeen[line.dataset.id] ??= Date.now() / 1000;
    }
  };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
  look();
}"""


@dataclass(frozen=True, slots=True)
class View:
    """How a reader looks: the window in CSS pixels, by day or by night."""

    name: str
    width: int
    height: int
    scheme: str
    scale: float = 1.5


LIGHT = View("page-light", 1180, 1130, "light")
DARK = View("page-dark", 1180, 1130, "dark")
PHONE = View("page-phone", 390, 1130, "light")
_STATE = View("state", 1180, 760, "light", scale=1.0)
_STATE_ON_PHONE = View("state", 390, 844, "dark")


@dataclass(slots=True)
class Watched:
    """What was recorded of a told story, and when the page first showed it (unix seconds, by record)."""

    seen: StoryProgress = field(default_factory=StoryProgress)
    shown_at: dict[str, float] = field(default_factory=dict)

    @property
    def changes(self) -> list[dict[str, Any]]:
        return [record for record in self.seen.records if record["kind"] != Kind.HOLD]

    @property
    def lags_s(self) -> list[float]:
        """Return how long after its record's time each change was on the page."""
        return [self.shown_at[record["id"]] - record["at"] for record in self.changes]


@contextmanager
def running_demo(folder: Path) -> Iterator[World]:
    with Processes(folder) as processes:
        yield build(processes)


def watch(world: World, page: Page, on_pause: Callable[[], None] = lambda: None) -> Watched:
    """Tell the story of the failing sends while a page is open; `on_pause` is called while it is paused."""
    watched, paused = Watched(), False
    page.goto(f"http://{world.settings.listen}/features/microsoft")
    page.evaluate(_NOTE_WHAT_IS_SEEN)
    for _ in tell(world, watched.seen, "errors"):
        time.sleep(_PULSE_S)
        look(world, watched.seen)
        if watched.seen.paused and not paused:
            paused = True
            page.wait_for_timeout(1000)
            on_pause()
    page.wait_for_timeout(1000)
    watched.shown_at = page.evaluate("window.firstSeen")
    return watched


def take(browser: Browser, url: str, view: View, folder: Path) -> Path:
    """Take one picture of the page as it is now, with a browser of its own."""
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height},
        color_scheme="dark" if view.scheme == "dark" else "light",
        device_scale_factor=view.scale,
    )
    page = context.new_page()
    page.goto(url)
    if page.locator(".chart").count():
        page.locator(".uplot").nth(2).wait_for()
    page.wait_for_timeout(_SETTLED_MS)
    shot = context.new_cdp_session(page).send(
        "Page.captureScreenshot", {"format": "webp", "quality": _QUALITY}
    )
    context.close()
    folder.mkdir(exist_ok=True)
    path = folder / f"{view.name}.webp"
    path.write_bytes(base64.b64decode(shot["data"]))
    return path


def take_states(browser: Browser, folder: Path) -> None:
    """Take a picture of what is seen first in each state, by day; of a pause also on a phone at night."""
    with tempfile.TemporaryDirectory() as root, PrometheusServer(Path(root), "global: {}") as prometheus:
        for name in STATES:
            with state(name, Path(root) / name, prometheus.url) as served:
                _say(take(browser, served.url, replace(_STATE, name=f"state-{name}"), folder))
                if name == "paused-by-breach":
                    _say(
                        take(
                            browser, served.url, replace(_STATE_ON_PHONE, name=f"state-{name}-phone"), folder
                        )
                    )
        with sixty_features(Path(root) / "many", prometheus.url) as served:
            _say(take(browser, served.url, replace(_STATE, name="state-sixty-features"), folder))


def _say(path: Path) -> None:
    sys.stdout.write(f"{path.name}: {path.stat().st_size // 1024} kB\n")


def main() -> None:
    """Renew the pictures; with the word `states` only those of the states."""
    if sys.argv[1:] != ["states"]:
        _take_story()
    with chromium() as browser:
        take_states(browser, PICTURES)


def _take_story() -> None:
    with tempfile.TemporaryDirectory() as folder, running_demo(Path(folder)) as world, chromium() as browser:
        url = f"http://{world.settings.listen}/features/microsoft"

        def pictures(*views: View) -> None:
            for view in views:
                _say(take(browser, url, view, PICTURES))

        watch(world, browser.new_page(), lambda: pictures(DARK, PHONE))
        time.sleep(_COUNTED_S)
        pictures(LIGHT)


if __name__ == "__main__":
    main()
