"""Bytes from a network, and what they must hash to."""

import hashlib
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import rich.progress
from rich.console import Console

PROGRESS = Console(stderr=True)


class Unavailable(Exception):
    """A source that cannot be had here and now, so that the next one is tried."""


def download(url: str, file: Path) -> None:
    """Write what is at `url` to `file`, with a progress bar. Raises Unavailable where the network says no."""
    try:
        with urlopen(url, timeout=30) as response, file.open("wb") as target:
            size = int(response.headers["Content-Length"] or 0)
            with rich.progress.wrap_file(response, size, description=file.name, console=PROGRESS) as source:
                shutil.copyfileobj(source, target)
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"{url}: {error}") from error


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
