"""The templates of `dvc plots`: they draw what the report stage writes."""

import json

import pytest
import yaml
from dvc_render.vega import VegaRenderer

from poolbench.files import CONF
from poolbench.report import confusion_rows, history_rows, rows, shift_rows

PROJECT = CONF.parent
PLOTS = {
    name: plot for each in yaml.safe_load((PROJECT / "dvc.yaml").read_text())["plots"] for name, plot in each.items()
}
ROWS = {"results": rows, "history": history_rows, "shifts": shift_rows, "confusion": confusion_rows}


@pytest.fixture(params=PLOTS)
def drawn(request, results):
    """A plot of dvc.yaml with its file's rows in it, text as DVC reads CSV, for one revision."""
    plot = PLOTS[request.param]
    ((file, y),) = plot["y"].items()
    data = [{key: str(value) for key, value in row.items()} for row in ROWS[file.split("/")[1][:-4]](results)]
    properties = {key: plot[key] for key in ("x_label", "y_label") if key in plot}
    points = [{**row, "rev": "workspace", "filename": file, "field": y} for row in data]
    return VegaRenderer(
        points, request.param, x=plot["x"], y=y, template=plot["template"], title=request.param,
        template_dir=str(PROJECT / ".dvc" / "plots"), **properties,
    ).get_filled_template()  # fmt: skip


def fields(spec):
    """Every field that a filled template reads, and every one that it makes."""
    if isinstance(spec, list):
        return set().union(*map(fields, spec)) if spec else set()
    if not isinstance(spec, dict):
        return set()
    own = {spec[key] for key in ("field",) if isinstance(spec.get(key), str)}
    return own | set().union(*(fields(value) for key, value in spec.items() if key != "data"))


def made(spec):
    if isinstance(spec, list):
        return set().union(*map(made, spec)) if spec else set()
    if not isinstance(spec, dict):
        return set()
    own = {spec["as"]} if isinstance(spec.get("as"), str) else set()
    return own | set().union(*(made(value) for key, value in spec.items() if key != "data"))


def test_a_template_reads_columns_that_are_there(drawn):
    assert "<DVC" not in json.dumps(drawn)
    assert fields(drawn) <= made(drawn) | drawn["data"]["values"][0].keys()


@pytest.mark.slow
def test_a_template_is_drawn(drawn):
    vl_convert = pytest.importorskip("vl_convert", reason="pip install vl-convert-python")
    picture = vl_convert.vegalite_to_svg(json.dumps(drawn), vl_version="5.20")
    for cell in {row["cell"] for row in drawn["data"]["values"]}:
        assert cell in picture
    assert "NaN" not in picture
