import pytest

from poolbench.params import read

GOOD = """
budget: smoke
seeds: 2
data: [shapes]
studies: [pooling]
cells:
  one: {data: shapes, run: pool=max head=gap, studies: [pooling]}
  two: {data: shapes, run: pool=average, studies: []}
"""


def test_cells_studies_and_overrides(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(GOOD)
    params = read(file)
    assert params.studies == ["pooling"]
    assert params.members("pooling") == ["one"]
    assert params.cells["one"].overrides("one", "smoke") == [
        "cell=one",
        "budget=smoke",
        "data=shapes",
        "pool=max",
        "head=gap",
    ]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seeds: 2", "seeds: 0", "seeds must be at least 1, got 0"),
        ("seeds: 2", "seeds: [", "while parsing a flow"),
        ("seeds: 2", "seeds: many", "Value 'many' of type 'str' could not be converted to Integer"),
        ("seeds: 2", "sedes: 2", "Key 'sedes' not in 'Params'"),
        ("run: pool=average", "rum: pool=average", "Key 'rum' not in 'Cell'"),
        ("studies: [pooling]}", "studies: [poling]}", "cell one: unknown study 'poling': did you mean 'pooling'"),
        ("studies: [pooling]\n", "studies: [poling]\n", "params.yaml: unknown study 'poling': did you mean 'pooling'"),
    ],
)
def test_mistakes_are_named(tmp_path, before, after, message):
    file = tmp_path / "params.yaml"
    assert before in GOOD
    file.write_text(GOOD.replace(before, after))
    with pytest.raises(ValueError, match=message):
        read(file)
