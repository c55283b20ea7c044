"""Where the configuration lies, and files that are written whole or not at all: aside, then renamed."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONF = Path(__file__).parents[2] / "conf"


def write_text(file: Path, text: str) -> None:
    """Write a text file."""
    aside = file.with_name(f"{file.name}.part")
    aside.write_text(text, newline="")
    aside.replace(file)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    write_text(file, json.dumps(content, indent=2) + "\n")


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file: a header, then a line a row. The rows have the same keys."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())
