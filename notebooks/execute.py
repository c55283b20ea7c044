"""Run notebooks and keep their outputs, pictures in few colours so that the files stay small.

python notebooks/execute.py notebooks/04_backprop_through_pooling.ipynb [folder to run in]
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

COLORS = 64


def execute(file: Path, folder: Path) -> None:
    """Run a notebook in a folder and write it with its outputs."""
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    shrink(notebook)
    nbformat.write(notebook, file)


def shrink(notebook: NotebookNode) -> None:
    """Store every PNG by a palette: a third of the bytes, and no difference that one sees."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if picture := output.get("data", {}).get("image/png"):
            image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(COLORS)
            small = io.BytesIO()
            image.save(small, "PNG", optimize=True)
            output.data["image/png"] = base64.b64encode(small.getvalue()).decode()


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(*sys.argv[2:3]))
