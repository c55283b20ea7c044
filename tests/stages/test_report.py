from pathlib import Path

import yaml

from poolbench.stages.report import locked


def test_what_is_locked_is_told_apart_but_for_the_report(tmp_path: Path) -> None:
    def digest(**stages: str) -> str | None:
        file = tmp_path / "dvc.lock"
        file.write_text(
            yaml.safe_dump({"schema": "2.0", "stages": {name: {"cmd": cmd} for name, cmd in stages.items()}})
        )
        return locked(file)

    first = digest(train="a", evaluate="b")
    assert first == digest(evaluate="b", train="a", report="c")
    assert first != digest(train="a", evaluate="c")
    assert locked(tmp_path / "none.lock") is None
