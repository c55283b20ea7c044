"""Where data comes from, how it is verified, and the store that it is read from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from poolbench.data import cifar, coco, fashion_mnist, fetched, image_folder, scenes, shapes
from poolbench.data.config import (
    Cifar10Config,
    Cifar100Config,
    CocoConfig,
    DataConfig,
    FashionMnistConfig,
    ImageFolderConfig,
    PetsConfig,
    ScenesConfig,
    ShapesConfig,
    VocConfig,
)
from poolbench.data.objects import IGNORED, Objects, Scenes
from poolbench.data.store import Contents, Split, Store, load, training_split, validation_split, verify, write
from poolbench.naming import unknown

__all__ = [
    "IGNORED",
    "SOURCES",
    "Objects",
    "Scenes",
    "Source",
    "Split",
    "Store",
    "configure",
    "load",
    "prepare",
    "training_split",
    "validation_split",
    "verify",
]


class Source(NamedTuple):
    """A kind of data: the schema of its options, and the function that reads it."""

    config: type[DataConfig]
    read: Callable[[Any, Path], Contents[Split] | Contents[Scenes]]


SOURCES = {
    "fashion_mnist": Source(FashionMnistConfig, fashion_mnist.read),
    "shapes": Source(ShapesConfig, shapes.read),
    "imagefolder": Source(ImageFolderConfig, image_folder.read),
    "cifar10": Source(Cifar10Config, cifar.read),
    "cifar100": Source(Cifar100Config, cifar.read),
    "scenes": Source(ScenesConfig, scenes.read),
    "coco": Source(CocoConfig, coco.read),
    "pets": Source(PetsConfig, fetched.read_pets),
    "voc": Source(VocConfig, fetched.read_voc),
}


def configure(options: Mapping[str, Any]) -> DataConfig:
    """The checked config of `options["source"]`. Raises ValueError for an unknown source or key, or a bad value."""
    source = str(options.get("source"))
    if source not in SOURCES:
        raise unknown("data source", source, SOURCES)
    schema = SOURCES[source].config
    for key in options:
        if key not in schema.__dataclass_fields__:
            raise unknown("key of data", key, schema.__dataclass_fields__)
    config = schema(**options)
    config.check()
    return config


def prepare(options: Mapping[str, Any], root: Path = Path("data"), *, force: bool = False) -> Store:
    """The store that `options` describes, from root/prepared/<name>; made where there is none, or with `force`.

    Raises ValueError for bad options, and for a store of the same name that was made with other options.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> store = prepare({"source": "shapes", "train": 20, "test": 10, "size": 16}, Path(folder.name))
    >>> store.train.images.shape, store.classes[:2]
    (torch.Size([20, 1, 16, 16]), ['disc', 'square'])
    >>> folder.cleanup()
    """
    config = configure(options)
    recipe = config.recipe()
    folder = root / "prepared" / config.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{config.name}.lock")):  # runs that start side by side wait for one of them
        if folder.exists() and not force:
            return _checked(load(folder), recipe)
        contents = SOURCES[config.source].read(config, root)
        return write(
            folder,
            name=config.name,
            classes=contents.classes,
            train=contents.train,
            test=contents.test,
            source=contents.source,
            options=recipe,
        )


def _checked(store: Store, recipe: Mapping[str, Any]) -> Store:
    """`store` if it was made by this recipe; else ValueError."""
    made = store.info["options"]
    if differ := [key for key in sorted(recipe.keys() | made.keys()) if recipe.get(key) != made.get(key)]:
        changes = ", ".join(f"data.{key} was {made.get(key)!r}, now {recipe.get(key)!r}" for key in differ)
        raise ValueError(
            f"data set {store.name!r} is there, made with other options ({changes}): "
            "give this one its own name (data.name=...), or prepare again with force"
        )
    return store
