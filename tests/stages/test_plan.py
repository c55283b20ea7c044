import hashlib
from pathlib import Path

import pytest

from poolbench.stages.plan import hashes


def test_hashes_name_every_file_and_change_with_it(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    for name in ("conf/b.yaml", "conf/a.yaml", "other.py"):
        (tmp_path / name).write_text(name)
    expected = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in ("conf/a.yaml", "conf/b.yaml")]
    assert hashes(tmp_path, ["conf/*.yaml"]).splitlines() == expected
    (tmp_path / "conf/a.yaml").write_text("changed")
    assert hashes(tmp_path, ["conf/*.yaml"]).splitlines()[0] != expected[0]


def test_what_has_moved_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"no file is called conf/\*\.yaml"):
        hashes(tmp_path, ["conf/*.yaml"])
