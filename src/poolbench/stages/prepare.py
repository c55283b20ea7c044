"""Stage `prepare`: a data set from where it comes to the store that every run reads.

python -m poolbench.stages.prepare data=fashion_mnist
"""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from poolbench import data
from poolbench.data import coco
from poolbench.stages.cli import run


def prepare(config: DictConfig) -> None:
    """Make the store that `config.data` describes, or check that it is there; write it to `config.coco` too."""
    options = OmegaConf.to_container(config.data)
    assert isinstance(options, dict)
    store = data.prepare({str(key): value for key, value in options.items()}, force=config.force)
    if config.coco:
        coco.write(store, Path(config.coco))
    sizes = store.info["sizes"]
    upto = "up to " if "objects" in store.info else ""
    print(
        f"{store.folder}: {sizes['train']:,} training and {sizes['test']:,} test pictures of {upto}"
        f"{store.info['channels']} x {store.info['height']} x {store.info['width']}, {len(store.classes)} classes, "
        f"from {store.info['source']}"
    )


if __name__ == "__main__":
    run(prepare, "prepare")
