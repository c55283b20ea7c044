"""Fashion-MNIST, all 70,000 images, from whichever place has it; the same bytes from each.

Source: Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from poolbench.data.config import FashionMnistConfig
from poolbench.data.fetch import Unavailable, download
from poolbench.data.resize import resized
from poolbench.data.store import Contents, Split

# Of what is inside each file: Debian's package differs from the authors' files in the name and date of the gzip header.
SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("usr/share/datasets/fashion-mnist")  # below the root that the package is unpacked to
ROOT = Path("/")


def read(config: FashionMnistConfig, root: Path) -> Contents[Split]:
    """Both splits, images uint8 (60000, 1, 28, 28) and (10000, 1, 28, 28), or resized; the raw files stay in root/raw.

    Raises ValueError for a file that fails its checksum, and FileNotFoundError where no source has the files.
    """
    raw = root / "raw" / "fashion_mnist"
    title, packed = _find(raw)
    train, test = (
        Split(
            _sized(torch.from_numpy(_array(packed[f"{part}-images-idx3-ubyte.gz"])).unsqueeze(1), config.size),
            torch.from_numpy(_array(packed[f"{part}-labels-idx1-ubyte.gz"])).long(),
        )
        for part in ("train", "t10k")
    )
    return Contents(train, test, CLASSES, title)


def _sized(images: Tensor, size: int | None) -> Tensor:
    return images if size is None else resized(images, size, size)


def _find(raw: Path) -> tuple[str, dict[str, bytes]]:
    """The first source that has the files, and their verified contents by name; leaves the files in `raw`."""
    present = {file: _verified(raw / file, str(raw)) for file in SHA256 if (raw / file).exists()}
    missing = [file for file in SHA256 if file not in present]
    if not missing:
        return f"{raw.name}/ in the raw folder", present
    raw.mkdir(parents=True, exist_ok=True)
    tried = [f"{raw}: no {', '.join(missing)}"]
    for title, fetch in SOURCES.items():
        with tempfile.TemporaryDirectory(dir=raw, prefix=".fetch-") as scratch:
            try:
                fetch(missing, Path(scratch))
            except Unavailable as error:
                tried.append(f"{title}: {error}")
                continue
            present |= {file: _verified(Path(scratch, file), title) for file in missing}
            for file in missing:
                Path(scratch, file).replace(raw / file)
            return title, present
    raise FileNotFoundError(
        f"Fashion-MNIST is nowhere to be had; tried {'; '.join(tried)}. "
        f"Put {', '.join(SHA256)} from another machine into {raw} and prepare again"
    )


def _verified(file: Path, source: str) -> bytes:
    try:
        content = gzip.decompress(file.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error):
        content = b""
    if hashlib.sha256(content).hexdigest() != SHA256[file.name]:
        raise ValueError(
            f"{file.name} from {source} is truncated or altered: its SHA-256 is not {SHA256[file.name]}; "
            "replace it or take it away, then prepare again"
        )
    return content


def _array(content: bytes) -> np.ndarray:
    """An array in the IDX format: two zero bytes, type 8 (uint8), the number of axes, their sizes, the values."""
    axes = content[3]
    shape = np.frombuffer(content, ">i4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()


def _installed(files: list[str], folder: Path) -> None:
    _copy(ROOT, files, folder)


def _copy(root: Path, files: list[str], folder: Path) -> None:
    for file in files:
        if not (root / INSTALLED / file).is_file():
            raise Unavailable(f"no {root / INSTALLED / file}")
        shutil.copyfile(root / INSTALLED / file, folder / file)


def _package(files: list[str], folder: Path) -> None:
    """Fetch the package with apt's state in a private folder, which needs neither root nor package lists."""
    if not shutil.which("apt-get"):
        raise Unavailable("this machine has no apt-get")
    with tempfile.TemporaryDirectory() as scratch:
        private = Path(scratch)
        (private / "lists").mkdir()
        (private / "cache").mkdir()
        (private / "status").touch()
        apt = ["apt-get", "-q", "-o", f"Dir::State={private}", "-o", f"Dir::State::Lists={private / 'lists'}"]
        apt += ["-o", f"Dir::State::status={private / 'status'}", "-o", f"Dir::Cache={private / 'cache'}"]
        # As root, apt would download as a user that may not enter the private folder.
        apt += ["-o", "APT::Sandbox::User=root", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=1"]
        # A broken third-party repository fails the update, and yet the package may be found.
        updated = _run([*apt, "update"], private)
        fetched = _run([*apt, "download", PACKAGE], private)
        if fetched.returncode:
            raise Unavailable(_first_line(updated.stderr + fetched.stderr))
        unpacked = _run(["dpkg-deb", "-x", *map(str, private.glob("*.deb")), "root"], private)
        if unpacked.returncode:
            raise Unavailable(_first_line(unpacked.stderr))
        _copy(private / "root", files, folder)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} took longer than {error.timeout:.0f} s") from error


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _mirror(files: list[str], folder: Path) -> None:
    from torchvision.datasets import FashionMNIST  # takes a second to import, and is seldom needed

    for file in files:
        download(FashionMNIST.mirrors[0] + file, folder / file)


SOURCES: dict[str, Callable[[list[str], Path], None]] = {
    f"the installed Debian package {PACKAGE}": _installed,
    f"the Debian package {PACKAGE} by apt-get": _package,
    "torchvision's mirror": _mirror,
}
