"""The README's pictures of the report, from report/index.html: python docs/screenshots.py (needs chromium)."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

REPORT = Path("report/index.html")
SHOTS = {  # width, height, colours, where to
    "report": (1280, 1500, "light", None),
    "report-phone": (390, 1500, "light", None),
    "report-dark": (1280, 900, "dark", "#frontier"),
}

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    for name, (width, height, scheme, place) in SHOTS.items():
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(REPORT.resolve().as_uri())
        if place:
            page.locator(place).evaluate("each => each.scrollIntoView({behavior: 'instant'})")
            page.wait_for_selector(f"{place} path.point")
        page.screenshot(path=f"docs/{name}.png")
    browser.close()
