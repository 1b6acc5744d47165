"""Pictures of the app in a real Chromium: `python -m tests.screenshots RECORDS` makes those of the README.

With a folder as the second argument it takes every page there instead: light, dark and as wide as a phone.
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
    "curves": ("/curves", 900),
    "encoding": ("/encoding?encoding=grape_ap", 1000),
}
KINDS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("light", 390)}


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
    page = context.new_page()
    shown(page, url)
    if height is None:  # the app scrolls inside itself, so that the window must hold all of it
        inside = "document.querySelector('[data-testid=stMain]').scrollHeight"
        page.set_viewport_size({"width": width, "height": min(9000, page.evaluate(inside))})
    page.wait_for_timeout(1500)  # figures settle
    page.screenshot(path=path)
    context.close()


def main(records: str, everything: str = "") -> None:
    with site(Path(records)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        if not everything:
            for name, (path, height) in README.items():
                take(browser, url + path, PICTURES / f"{name}.png", "light", height)
        for name in ENTRIES if everything else ():
            path = "/" if name == "overview" else f"/{name}"
            for kind in KINDS:
                take(browser, url + path, Path(everything, f"{name}-{kind}.png"), kind)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
