"""The page: complete, escaped, and opened in a browser without an error or a request."""

import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
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
    for said in ("Which pooling after each stage?", "Which head?", "alone raises consistency", "n = 3"):
        assert said in html
    for command in [*provenance.commands, *provenance.repeat.values()]:
        assert command in html
    for said in (
        "0123456789abcdef",
        "a" * 64,
        "b" * 64,
        "Energy was not measured",
        "coat taken for shirt",
        "sees 4 × 4",
    ):
        assert said in html


def test_names_from_configurations_are_escaped(evaluation: Evaluate) -> None:
    name = "<script>alert(1)</script>"
    metrics = evaluation()
    metrics["learned"] = [{"epoch": 0, "slot": name, "letter": name, "mean": 1.0, "low": 1.0, "high": 1.0}]
    results = [Result(name, seed, {"pool": name, "data": name}, metrics) for seed in range(2)]
    provenance = Provenance({name: name}, [name], {name: name})
    page = render(summarise(results, [Study(name, name, name, [name, f"{name}2"])], provenance), results)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_report_of_nothing_says_so() -> None:
    summary = summarise([], [Study("pool", "Which?", "pool", ["max"])], Provenance({}, []))
    page = render(summary, [])
    assert "nothing evaluated yet" in page
    assert "Not evaluated, so not ranked: max." in page


def test_another_task_has_its_own_figures_and_no_others(evaluation: Evaluate) -> None:
    results = []
    for place, cell in enumerate(("align", "pool")):
        for seed in range(2):
            whole = evaluation(step=50 + place)
            kept = {key: whole[key] for key in ("schema", "environment", "data", "pictures", "cost", "duration")}
            figures = {"test": {"images": 10, "map": 0.5 - place / 10 + seed / 100}, "speed": {"ratio": 20.0}}
            rows = [{"epoch": 1, "validation_loss": 0.5}]
            results.append(Result(cell, seed, {"region": cell}, kept | figures | {"history": rows, "learned": []}))
    study = Study("roi", "Which region operator?", "region", ["align", "pool"], metric="test.map")
    page = render(summarise(results, [study], Provenance({}, [])), results)
    for said in (
        "align has the highest average precision",
        "Average precision, %",
        "Pictures with predictions",
        "Speed",
    ):
        assert said in page
    for absent in ("Shift maps", "Calibration", "Top-1", "Along the diagonal"):
        assert absent not in page


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
    page.locator("#frontier").scroll_into_view_if_needed()
    page.wait_for_selector("#frontier path.point")
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
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    point = page.locator("#frontier-pool path.point").nth(3)
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    assert "python -m poolbench.stages.train" in (page.locator(".hovertext").text_content() or "")
    ink = page.evaluate("getComputedStyle(document.querySelector('.plot .xtick text')).fill")
    assert ink == page.evaluate("getComputedStyle(document.body).color")
    page.close()
    assert complaints == []
    assert requests == [file.as_uri()]


@needs_chromium
def test_tables_sort_cards_open_and_studies_change_by_keyboard(browser: Browser, html: str, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(html, encoding="utf-8")
    page, complaints, requests = _open(browser, file, 1280, "light")

    table = page.get_by_role("region", name="Ranking of study pool")
    consistency = table.get_by_role("button", name="Shift consistency, %")
    for order, best in (("descending", "max_blur"), ("ascending", "subsample")):
        consistency.press("Enter")
        assert table.locator("tbody th").first.text_content() == best
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == order

    card = page.locator("#operator-max_blur")
    assert not card.locator("dl").is_visible()
    card.locator("summary").press("Enter")
    assert "Zhang" in (card.locator("dl").text_content() or "")
    assert card.locator("summary img").count() == 3

    page.get_by_role("combobox").select_option("frontier-head")
    assert page.locator("#frontier-pool").is_hidden()
    page.locator("#frontier-head").scroll_into_view_if_needed()
    page.wait_for_selector("#frontier-head path.point")

    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.close()
    assert complaints == []
    assert requests == [file.as_uri()]


@needs_chromium
def test_every_picture_has_words_and_every_heading_its_place(browser: Browser, html: str, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(html, encoding="utf-8")
    page, _, _ = _open(browser, file, 1280, "light")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("main svg:not([role=img]):not([aria-hidden]):not(.plot svg)").count() == 0
    assert page.locator("[role=img]:not([aria-label])").count() == 0
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")) == len(
        set(page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)"))
    )
    page.close()


def test_another_report_stands_beside_this_one(
    results: list[Result], studies: list[Study], provenance: Provenance
) -> None:
    before = []
    for run in results:
        drop = 0.02 + run.seed / 1000 if "strided" in run.cell else 0.0
        test = run.metrics["test"] | {"top1": run.metrics["test"]["top1"] - drop}
        before.append(Result(run.cell, run.seed, run.labels, {**run.metrics, "test": test}))
    other = summarise(before, studies, Provenance({"commit": "fedcba"}, []))
    page = render(summarise(results, studies, provenance), results, other)
    assert "Beside another report" in page
    assert "fedcba" in page
    assert "+2.10 (+1.85 to +2.35)" in page
    assert page.count(">changed<") == 1


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
