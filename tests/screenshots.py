"""Pictures of the app in a real Chromium: `python -m tests.screenshots RECORDS` makes those of the README.

With a folder as the second argument it takes every page there instead: light, dark, as wide as a phone, and on paper.
A busy machine makes it slow, and stops it only after minutes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from pebench.leaderboard.app import launch
from pebench.leaderboard.app.app import ENTRIES
from tests.leaderboard.test_app import wait_for
from tests.leaderboard.test_browser import FLAGS, chromium, shown

PICTURES = Path(launch.__file__).parents[1] / "pictures"
README = {
    "overview": ("/", 1000),
    "curves": ("/curves?profile=STANDARD_2&curve=recall_again.exact", 900),
    "encoding": ("/encoding?encoding=grape_ap", 1000),
}
KINDS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("light", 390), "paper": ("light", 1040)}
PATIENCE = 600_000  # milliseconds
SETTLED = """() => [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(
    (chart) => chart.querySelector('.main-svg') && chart.getBoundingClientRect().height > 0)"""


@contextmanager
def site(records: Path) -> Iterator[str]:
    """The app, served."""
    port = launch.free_port(None)
    child = launch.start([records], port)
    try:
        wait_for(child, port)
        yield f"http://{launch.ADDRESS}:{port}"
    finally:
        launch.stop(child)


def take(browser: Browser, url: str, path: Path, kind: str, height: int | None = None) -> None:
    """One page, to its end where no height is given."""
    scheme, width = KINDS[kind]
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height or 900})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    shown(page, url, PATIENCE)
    page.wait_for_function(SETTLED)
    if kind == "paper":
        page.emulate_media(media="print")
    if height is None:  # the app scrolls inside itself, so that the window must hold all of it
        inside = "document.querySelector('[data-testid=stMain]').scrollHeight"
        page.set_viewport_size({"width": width, "height": min(9000, page.evaluate(inside))})
    page.wait_for_timeout(1500)  # figures fit themselves to the window
    page.screenshot(path=path, timeout=PATIENCE)
    context.close()


def main(records: str, everything: str = "") -> None:
    if everything:
        Path(everything).mkdir(parents=True, exist_ok=True)
    with site(Path(records)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        if not everything:
            for name, (path, height) in README.items():
                take(browser, url + path, PICTURES / f"{name}.png", "light", height)
        for name in ENTRIES if everything else ():
            path = "/" if name == "overview" else f"/{name}"
            for kind in KINDS:
                take(browser, url + path, Path(everything, f"{name}-{kind}.png"), kind)
                print(f"{name}, {kind}", flush=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
