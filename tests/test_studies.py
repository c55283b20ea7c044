from fnmatch import fnmatchcase

import pytest

from poolbench import studies
from poolbench.files import CONF
from poolbench.params import FOLDERS, read, targets, whole
from poolbench.report.records import metric

PROJECT = CONF.parent


@pytest.mark.parametrize("name", studies.names())
def test_every_study_asks_and_its_claims_name_cells_that_run(name, monkeypatch):
    monkeypatch.chdir(PROJECT)
    asked = studies.study(name)
    assert asked.question.endswith("?")
    for claim in asked.claims:
        if asked.stage:
            assert all(fnmatchcase(cell, asked.cells) for cell in (claim.better, claim.than)), claim.says
        else:
            cells = [cell for params in whole(name).values() for cell in params.members(name)]
            assert {claim.better, claim.than} <= set(cells), claim.says
        assert metric(claim.metric)
        assert claim.source
        assert claim.published


def test_a_cell_runs_once(monkeypatch):
    monkeypatch.chdir(PROJECT)
    ours, further = (read(folder / "params.yaml") for folder in FOLDERS)
    assert not ours.cells.keys() & further.cells.keys()
    runs = [(cell.data, cell.run) for params in (ours, further) for cell in params.cells.values()]
    assert len(set(runs)) == len(runs)
    measured = {name for name in studies.names() if studies.study(name).stage}
    assert further.every_study | ours.every_study == set(studies.names()) - measured


def test_a_study_is_reproduced_cell_by_cell(monkeypatch):
    monkeypatch.chdir(PROJECT)
    found = targets("fractional")
    assert found[0] == "dvc.yaml:evaluate@fashion_mnist-cnn-max-gap"
    assert "studies/dvc.yaml:evaluate@fashion_mnist-cnn-fractional_disjoint-gap" in found
    with pytest.raises(ValueError, match="unknown study 'fractionale': did you mean 'fractional'"):
        targets("fractionale")


def test_a_study_that_a_stage_measures_is_that_stage(monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert targets("where") == targets("kept") == ["studies/dvc.yaml:where"]


def test_an_unknown_study_is_named():
    with pytest.raises(ValueError, match="unknown study 'poling': did you mean 'pooling'"):
        studies.study("poling")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question: [", "while parsing a flow"),
        ("question: Which?\nfacter: pool", "Key 'facter' not in 'Question'"),
        ("claims: [{says: more, betters: a}]", "Key 'betters' not in 'Claim'"),
    ],
)
def test_a_mistake_in_a_study_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(studies, "FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        studies.study("mine")
    assert "mine.yaml" in str(caught.value)
