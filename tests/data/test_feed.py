import pytest
import torch

from poolbench.data.feed import Feed
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
