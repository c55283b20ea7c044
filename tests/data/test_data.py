from concurrent.futures import ThreadPoolExecutor

import pytest

from poolbench import data

SHAPES = {"source": "shapes", "train": 12, "test": 6, "size": 16}


def test_a_store_is_made_once(tmp_path):
    first = data.prepare(SHAPES, tmp_path)
    made = (first.folder / "info.json").stat().st_mtime_ns
    again = data.prepare(SHAPES | {"validation": 0.3}, tmp_path)
    assert (again.folder / "info.json").stat().st_mtime_ns == made
    assert again.checksum == first.checksum
    assert first.folder == tmp_path / "prepared" / "shapes"


def test_those_that_prepare_at_once_share_one_store(tmp_path):
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: data.prepare(SHAPES, tmp_path), range(4)))
    assert len({store.checksum for store in stores}) == 1
    assert {(store.folder / "info.json").stat().st_ino for store in stores} == {
        (tmp_path / "prepared" / "shapes" / "info.json").stat().st_ino
    }


def test_other_options_need_another_name_or_force(tmp_path):
    data.prepare(SHAPES, tmp_path)
    with pytest.raises(ValueError, match=r"data\.seed was 0, now 1\): give this one its own name"):
        data.prepare(SHAPES | {"seed": 1}, tmp_path)
    assert data.prepare(SHAPES | {"seed": 1, "name": "other"}, tmp_path).name == "other"
    assert data.prepare(SHAPES | {"seed": 1}, tmp_path, force=True).info["options"]["seed"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "fashion-mnist"}, "unknown data source 'fashion-mnist': did you mean 'fashion_mnist'"),
        (SHAPES | {"sizes": 3}, "unknown key of data 'sizes': did you mean 'size'"),
        (SHAPES | {"size": 0}, "data.size must be >= 8, got 0"),
        (SHAPES | {"classes": 1}, "data.classes must be between 2 and 8, got 1"),
        (SHAPES | {"channels": 2}, r"data.channels must be 1 \(grey\) or 3 \(colour\), got 2"),
        (SHAPES | {"validation": 1.0}, "data.validation must be above 0 and below 1, got 1.0"),
        (SHAPES | {"name": "../x"}, "data.name must be a folder name"),
        ({"source": "imagefolder"}, "data.root must be given"),
        ({"source": "imagefolder", "root": "x", "test_share": 1}, "data.test_share must be between 0 and 1, got 1"),
    ],
)
def test_bad_options_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        data.prepare(options, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", data.SOURCES)
def test_a_schema_names_its_source(source):
    assert data.SOURCES[source].config().source == source
