import hashlib
import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from poolbench.data import cifar
from poolbench.data.config import Cifar10Config, Cifar100Config
from poolbench.data.fetch import Unavailable

CONFIGS: dict[str, Cifar10Config | Cifar100Config] = {"cifar10": Cifar10Config(), "cifar100": Cifar100Config()}
IMAGE = bytes(number % 251 for number in range(3072))


@pytest.fixture(params=list(CONFIGS))
def packed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A source and its archive with one picture a file, labelled by the file's place."""
    archive = cifar.ARCHIVES[request.param]
    file = tmp_path / archive.file
    with tarfile.open(file, "w:gz") as tar:
        records = [(archive.test[0], 9), *((name, label) for label, name in enumerate(archive.train))]
        contents = {name: bytes(archive.label_bytes - 1) + bytes([label]) + IMAGE for name, label in records}
        for name, content in {**contents, archive.names: b"apple\nbear\n\n"}.items():
            member = tarfile.TarInfo(f"{archive.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.ARCHIVES, request.param, replace(archive, sha256=digest))
    return request.param, file


def test_an_archive_is_downloaded_once_and_read(packed, tmp_path, monkeypatch):
    source, file = packed
    urls = []

    def fetch(url, target):
        urls.append(url)
        shutil.copy(file, target)

    monkeypatch.setattr(cifar, "download", fetch)
    for _ in range(2):
        contents = cifar.read(CONFIGS[source], tmp_path)
    assert urls == [cifar.URL + file.name]
    assert contents.train.labels.tolist() == list(range(len(cifar.ARCHIVES[source].train)))
    assert contents.test.labels.tolist() == [9]
    assert contents.classes == ["apple", "bear"]
    image = contents.test.images[0]
    assert image.shape == (3, 32, 32)
    assert image[2, 1, 5].item() == IMAGE[2 * 1024 + 32 + 5]


def test_an_altered_archive_is_refused(packed, tmp_path, monkeypatch):
    source, file = packed
    monkeypatch.setattr(cifar, "download", lambda url, target: target.write_bytes(b"other"))
    with pytest.raises(ValueError, match=f"^{file.name} from https.* is truncated or altered"):
        cifar.read(CONFIGS[source], tmp_path)
    assert not list((tmp_path / "raw" / source).iterdir())


def test_without_a_network_the_error_says_where_to_put_it(packed, tmp_path, monkeypatch):
    def offline(url, target):
        raise Unavailable("no network")

    source, file = packed
    monkeypatch.setattr(cifar, "download", offline)
    with pytest.raises(FileNotFoundError, match=f"^{file.name} is not in .*{source} and cannot be downloaded"):
        cifar.read(CONFIGS[source], tmp_path)
