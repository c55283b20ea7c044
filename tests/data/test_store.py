import json
import os
from pathlib import Path

import pytest
import torch

from poolbench.data import store
from poolbench.data.store import Split


def split(count: int, seed: int) -> Split:
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 5, 4), dtype=torch.uint8, generator=random)
    return Split(images, torch.arange(count) % 2)


def write(folder: Path, seed: int = 0) -> store.Store:
    return store.write(
        folder,
        name="toy",
        classes=["a", "b"],
        train=split(20, seed),
        test=split(10, seed + 1),
        source="a test",
        options={"size": 5},
    )


def test_what_is_written_is_read_back(tmp_path):
    written = write(tmp_path / "toy")
    read = store.load(tmp_path / "toy")
    for part in ("train", "test"):
        assert torch.equal(getattr(read, part).images, getattr(written, part).images)
        assert torch.equal(getattr(read, part).labels, getattr(written, part).labels)
    assert (read.name, read.classes, read.info["options"]) == ("toy", ["a", "b"], {"size": 5})
    assert torch.equal(read.train.images, split(20, 0).images)
    store.verify(read)


def test_statistics_are_of_the_training_split_alone(tmp_path):
    toy = write(tmp_path / "toy")
    pixels = split(20, 0).images.double() / 255
    torch.testing.assert_close(torch.tensor(toy.mean).double(), pixels.mean((0, 2, 3)), atol=1e-6, rtol=0)
    deviation = pixels.std((0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(toy.std).double(), deviation, atol=1e-6, rtol=0)


def test_a_constant_channel_can_be_divided_by(tmp_path):
    black = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    toy = store.write(tmp_path / "x", name="x", classes=["a", "b"], train=black, test=black, source="", options={})
    assert toy.std[0] > 0


def test_writing_replaces_and_leaves_nothing_beside(tmp_path):
    first = write(tmp_path / "toy", seed=0).checksum
    assert write(tmp_path / "toy", seed=5).checksum != first
    assert write(tmp_path / "toy", seed=0).checksum == first
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_full_disk_keeps_the_old_store(tmp_path, monkeypatch):
    old = write(tmp_path / "toy").checksum

    def full(*_):
        raise store.SafetensorError("No space left on device")

    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(OSError, match=r"^cannot write .*toy: No space left on device; make room") as caught:
        write(tmp_path / "toy", seed=3)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert store.load(tmp_path / "toy").checksum == old


@pytest.mark.parametrize("file", ["info.json", "train.safetensors", "test.safetensors"])
def test_a_missing_file_is_named(tmp_path, file):
    write(tmp_path / "toy")
    (tmp_path / "toy" / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        store.load(tmp_path / "toy")


def test_another_schema_is_refused(tmp_path):
    write(tmp_path / "toy")
    info = tmp_path / "toy" / "info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"schema": 0}))
    with pytest.raises(ValueError, match="schema 0, this version reads schema 1"):
        store.load(tmp_path / "toy")


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_description_is_refused(tmp_path, text):
    write(tmp_path / "toy")
    (tmp_path / "toy" / "info.json").write_text(text)
    with pytest.raises(ValueError, match="is not a store's description"):
        store.load(tmp_path / "toy")


def test_a_truncated_store_is_refused(tmp_path):
    write(tmp_path / "toy")
    file = tmp_path / "toy" / "train.safetensors"
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"train\.safetensors is truncated or altered"):
        store.load(tmp_path / "toy")


def test_another_set_of_images_is_refused(tmp_path):
    write(tmp_path / "toy")
    (tmp_path / "toy" / "test.safetensors").replace(tmp_path / "toy" / "train.safetensors")
    write(tmp_path / "other")
    (tmp_path / "other" / "test.safetensors").replace(tmp_path / "toy" / "test.safetensors")
    with pytest.raises(ValueError, match=r"holds images of shape \(10, 3, 5, 4\)"):
        store.load(tmp_path / "toy")


def test_verify_finds_one_altered_byte(tmp_path):
    write(tmp_path / "toy")
    file = tmp_path / "toy" / "train.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        store.verify(store.load(tmp_path / "toy"))


def test_validation_split_is_a_partition_that_the_seed_fixes():
    train, validation = store.validation_split(101, 0.1, seed=3)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(101))
    assert len(validation) == 11
    torch.manual_seed(99)
    assert torch.equal(validation, store.validation_split(101, 0.1, seed=3)[1])
    assert not torch.equal(validation, store.validation_split(101, 0.1, seed=4)[1])
    assert len(store.validation_split(5, 0.0, seed=0)[1]) == 0


@pytest.mark.parametrize("fraction", [1.0, -0.5, 0.99])
def test_validation_split_leaves_something_to_train_on(fraction):
    with pytest.raises(ValueError, match=r"data\.validation"):
        store.validation_split(10, fraction, seed=0)


def test_a_small_budget_looks_at_few_of_the_pictures_held_out(tmp_path):
    toy = write(tmp_path / "toy")
    chosen, held = store.training_split(toy, 0.5)
    fewer, looked_at = store.training_split(toy, 0.5, images=8)
    assert (len(chosen), len(held), len(fewer), len(looked_at)) == (10, 10, 8, 2)
    assert set(fewer.tolist()) <= set(chosen.tolist())
    assert set(looked_at.tolist()) <= set(held.tolist())
