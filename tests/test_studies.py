from pathlib import Path

import pytest

from poolbench import studies
from poolbench.files import CONF
from poolbench.params import read
from poolbench.report.records import metric

PARAMS = [CONF.parent / "params.yaml", CONF.parent / "studies" / "params.yaml"]


def members(name):
    """The cells of a study, those that it shares too."""
    return [
        cell
        for params in map(read, PARAMS)
        for cell in [*params.members(name), *(Path(folder).name for folder in params.shares.get(name, []))]
    ]


@pytest.mark.parametrize("name", studies.names())
def test_every_study_asks_and_its_claims_name_cells_that_run(name):
    asked = studies.study(name)
    assert asked.question.endswith("?")
    for claim in asked.claims:
        assert {claim.better, claim.than} <= set(members(name)), claim.says
        assert metric(claim.metric)
        assert claim.source
        assert claim.published


def test_every_cell_of_a_further_study_belongs_to_one():
    further = read(PARAMS[1])
    assert {len(cell.studies) for cell in further.cells.values()} == {1}
    assert set(further.studies) == further.shares.keys()
    assert {len(folders) for folders in further.shares.values()} == {2}
    assert set(further.studies) | set(read(PARAMS[0]).studies) == set(studies.names())


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
