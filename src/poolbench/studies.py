"""Studies by name, one file in conf/study each: a question, the one factor that varies, the claims it tests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from poolbench.files import CONF
from poolbench.naming import unknown

FOLDER = CONF / "study"


@dataclass
class Claim:
    """A published claim: the cell `better` does better in `metric` than the cell `than`.

    With `within`, in the metric's own unit, it is one of equality: the two lie no further apart than that.
    """

    says: str = MISSING
    source: str = MISSING
    published: str = MISSING
    better: str = MISSING
    than: str = MISSING
    metric: str = "test.top1"
    within: float | None = None


@dataclass
class Question:
    """What a study asks, the one factor that varies in it (`pool`, `head`, `model`, ...), the metric that it ranks by.

    Its cells are those of params.yaml, unless a `stage` measures them: then those in studies/measured/<stage> whose
    names match `cells`.
    """

    question: str = MISSING
    factor: str = MISSING
    metric: str = "test.top1"
    stage: str | None = None
    cells: str = "*"
    claims: list[Claim] = field(default_factory=list)


def names() -> list[str]:
    """Names of the studies.

    >>> "pooling" in names()
    True
    """
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def study(name: str) -> Question:
    """The study of that name. Raises ValueError for an unknown one, and names what its file has wrong.

    >>> study("heads").factor
    'head'
    """
    if name not in names():
        raise unknown("study", name, names())
    found = load(FOLDER / f"{name}.yaml", Question)
    assert isinstance(found, Question)
    return found


def load(file: Path, schema: type) -> Any:
    """A YAML file as an object of its schema, a dataclass. Raises ValueError that names what does not fit."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.load(file)))
    except YAMLError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        raise ValueError(f"{file}: {str(error).splitlines()[0]}") from error
