"""The page: complete, escaped, and opened in a browser without an error or a request."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from poolbench.report.page import Scale, render
from poolbench.report.records import Provenance, Result, Study
from poolbench.report.summary import summarise

Evaluate = Callable[..., dict[str, Any]]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")


@pytest.fixture(scope="module")
def html(results: list[Result], studies: list[Study], provenance: Provenance) -> str:
    """The page of the nine cells."""
    return render(summarise(results, studies, provenance), results)


def test_page_is_one_file_under_10_megabytes(html: str) -> None:
    assert len(html.encode()) < 10e6
    assert html.startswith("<!doctype html>")
    own = html.split("<script>/**")[0]
    assert 'src="' not in own.replace('src="data:image/png', "")
    assert "<link" not in own.replace('<link rel="icon" href="data:,">', "")
    assert "@import" not in own


def test_page_says_each_part(html: str, provenance: Provenance) -> None:
    for said in ("Which pooling after each stage?", "Which head?", "higher accuracy alone raises consistency", "n = 3"):
        assert said in html
    for command in [*provenance.commands, *provenance.repeat.values()]:
        assert command in html
    assert "0123456789abcdef" in html


def test_names_from_configurations_are_escaped(evaluation: Evaluate) -> None:
    name = "<script>alert(1)</script>"
    results = [Result(name, seed, {"pool": name, "data": name}, evaluation()) for seed in range(2)]
    provenance = Provenance({name: name}, [name], {name: name})
    page = render(summarise(results, [Study(name, name, name, [name, f"{name}2"])], provenance), results)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_report_of_nothing_says_so() -> None:
    summary = summarise([], [Study("pool", "Which?", "pool", ["max"])], Provenance({}, []))
    page = render(summary, [])
    assert "nothing evaluated yet" in page
    assert "Not evaluated, so not ranked: max." in page


def test_single_runs_say_that_their_interval_is_unknown(evaluation: Evaluate) -> None:
    results = [Result(cell, 0, {"pool": cell}, evaluation()) for cell in ("a", "b")]
    page = render(summarise(results, [Study("pool", "Which?", "pool", ["a", "b"])], Provenance({}, [])), results)
    assert "interval unknown" in page
    assert "without more seeds no difference can be told from chance" in page


def test_scale_of_equal_values_has_a_place() -> None:
    assert Scale(0.5, 0.5).place(0.5) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def _open(browser: Browser, file: Path, width: int, scheme: Any) -> tuple[Page, list[str], list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 2")
    return page, complaints, requests


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_opens_offline_without_complaint(
    browser: Browser, html: str, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "index.html"
    file.write_text(html, encoding="utf-8")
    page, complaints, requests = _open(browser, file, width, scheme)
    assert page.locator(".plot .plot-container").count() == 15
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    point = page.locator(".plot").first.locator("path.point").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    assert "python -m poolbench.stages.train" in (page.locator(".hovertext").text_content() or "")
    ink = page.evaluate("getComputedStyle(document.querySelector('.plot .xtick text')).fill")
    assert ink == page.evaluate("getComputedStyle(document.body).color")
    page.close()
    assert complaints == []
    assert requests == [file.as_uri()]


@needs_chromium
def test_hostile_names_run_nothing(browser: Browser, evaluation: Evaluate, tmp_path: Path) -> None:
    name = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    results = [Result(name, 0, {"pool": name}, evaluation()), Result("max", 0, {"pool": "max"}, evaluation(0.8))]
    summary = summarise(results, [Study("pool", name, "pool", [name, "max"])], Provenance({}, [], {name: name}))
    file = tmp_path / "index.html"
    file.write_text(render(summary, results), encoding="utf-8")
    page, complaints, requests = _open(browser, file, 1280, "light")
    assert page.locator(".textpoint").first.text_content() == name
    page.close()
    assert complaints == []
    assert requests == [file.as_uri()]
