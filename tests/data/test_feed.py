import pytest
import torch

from poolbench import data
from poolbench.data.feed import Feed, SceneFeed
from poolbench.data.store import Split


@pytest.fixture
def split():
    return Split(torch.arange(23, dtype=torch.uint8).reshape(23, 1, 1, 1), torch.arange(23))


def seen(feed):
    return [int(label) for _, labels in feed for label in labels]


def test_without_a_seed_every_picture_comes_once_in_order(split):
    assert seen(Feed(split, 5)) == list(range(23))
    assert len(Feed(split, 5)) == len(list(Feed(split, 5))) == 5


def test_a_seed_fixes_an_order_of_whole_batches(split):
    first = seen(Feed(split, 5, seed=1))
    assert len(first) == len(set(first)) == 20
    assert first == seen(Feed(split, 5, seed=1)) != seen(Feed(split, 5, seed=2))
    assert len(Feed(split, 5, seed=1)) == 4


def test_a_set_smaller_than_a_batch_is_one_batch(split):
    feed = Feed(split, 100, seed=0)
    assert len(feed) == len(list(feed)) == 1
    assert sorted(seen(feed)) == list(range(23))


def test_images_go_with_their_labels(split):
    for images, labels in Feed(split, 4, seed=3):
        assert images.flatten().tolist() == labels.tolist()


@pytest.mark.parametrize("seed", [None, 7])
def test_processes_share_a_pass(split, seed):
    parts = [seen(Feed(split, 2, seed, rank, world=3)) for rank in range(3)]
    together = [label for part in parts for label in part]
    assert len(together) == len(set(together))
    assert len(together) >= 23 - (3 * 2 if seed is not None else 0)


def test_shifted_pictures_are_cut_from_padded_ones():
    images = torch.randint(1, 256, (40, 2, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(40))
    places = set()
    for batch, labels in Feed(split, 8, seed=3, shift=2):
        for moved, label in zip(batch, labels, strict=True):
            padded = torch.nn.functional.pad(images[label], [2] * 4)
            cuts = {(y, x): padded[:, y : y + 6, x : x + 5] for y in range(5) for x in range(5)}
            (place,) = [place for place, cut in cuts.items() if torch.equal(cut, moved)]
            places.add(place)
    assert len(places) > 12  # of the 25 that there are


def test_a_seed_fixes_the_shifts_and_they_leave_the_order_alone():
    split = Split(torch.randint(0, 256, (23, 1, 6, 6), dtype=torch.uint8), torch.arange(23))
    first, again, other = (list(Feed(split, 5, seed=seed, shift=1)) for seed in (1, 1, 2))
    assert all(torch.equal(one, two) for (one, _), (two, _) in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for (one, _), (two, _) in zip(first, other, strict=True))
    assert seen(Feed(split, 5, seed=1, shift=1)) == seen(Feed(split, 5, seed=1))


def test_processes_shift_what_they_share_alike():
    split = Split(torch.randint(0, 256, (24, 1, 6, 6), dtype=torch.uint8), torch.arange(24))
    alone = {int(label): image for (image,), (label,) in Feed(split, 1, seed=7, shift=2)}
    for rank in range(3):
        for images, labels in Feed(split, 2, 7, rank, 3, shift=2):
            for image, label in zip(images, labels, strict=True):
                assert torch.equal(image, alone[int(label)])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    options = {"source": "scenes", "of": "shapes", "train": 11, "test": 1, "smallest": 40, "largest": 72}
    return data.prepare(options, tmp_path_factory.mktemp("data")).scenes("train")


def test_scenes_come_whole_in_batches_that_all_fit_into(scenes):
    fill = torch.tensor([7.0])
    order: list[int] = []
    for batch in SceneFeed(scenes, 4, fill):
        assert all(side % 16 == 0 for side in batch.images.shape[2:])
        for image, semantic, index, size in zip(batch.images, batch.semantic, batch.indices, batch.sizes, strict=True):
            height, width = size.tolist()
            assert torch.equal(image[:, :height, :width], scenes.image(index))
            assert (image[:, height:] == 7).all()
            assert (image[:, :, width:] == 7).all()
            assert torch.equal(semantic[:height, :width], scenes.semantic(index))
            assert (semantic[height:] == data.IGNORED).all()
        assert torch.equal(batch.subjects, scenes.subjects[batch.indices])
        assert [len(each) for each in batch.objects] == scenes.counts[batch.indices].tolist()
        order += batch.indices
    assert order == list(range(11))


def test_a_seed_orders_scenes_as_it_orders_pictures(scenes):
    feed = SceneFeed(scenes, 3, torch.tensor([0.0]), seed=5)
    pictures = Split(torch.zeros(11, 1, 1, 1), torch.arange(11))
    assert [index for batch in feed for index in batch.indices] == seen(Feed(pictures, 3, seed=5))
    assert len(feed) == 3
