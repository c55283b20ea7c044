import json

from omegaconf import OmegaConf

from poolbench.stages.shared_features import shared_features


def test_both_ways_are_cells_at_each_size_and_every_round_is_a_seed(workplace):
    data = {"source": "scenes", "name": "few", "of": "shapes", "train": 1, "test": 2, "smallest": 40, "largest": 48}
    config = OmegaConf.create(
        {
            "data": data, "region": {"name": "roi_align", "output_size": 2}, "sizes": [32, 48], "proposals": 6,
            "side": 16, "rounds": 2, "into": "studies/measured/shared_features",
        }
    )  # fmt: skip
    (workplace / "studies" / "measured").mkdir(parents=True)
    shared_features(config)
    into = workplace / "studies" / "measured" / "shared_features"
    cells = sorted(each.name for each in into.iterdir())
    assert cells == ["separate-32", "separate-48", "shared-32", "shared-48"]
    for seed in (0, 1):
        one, other = (
            json.loads((into / f"{way}-32" / f"seed-{seed}.json").read_text()) for way in ("shared", "separate")
        )
        assert one["labels"] == {"model": "fast_rcnn_mini", "data": "few", "way": "shared", "size": "32"}
        assert one["speed"]["ratio"] == other["speed"]["seconds"] / one["speed"]["seconds"]
        assert other["speed"]["ratio"] == 1.0
