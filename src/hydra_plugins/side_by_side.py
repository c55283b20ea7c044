"""How Hydra starts the runs of a multirun: side by side on the cores of a machine without a GPU.

Hydra takes plugins from the package `hydra_plugins` alone, and asks for no __init__.py in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

TRAINER = ("trainer=", "trainer.")


class SideBySide(BasicLauncher):
    """Whoever chooses a trainer has it for one run at a time, with every core."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from poolbench.parallel import side_by_side  # torch: not for every Hydra program beside which this is installed

        if any(override.startswith(TRAINER) for overrides in job_overrides for override in overrides):
            return super().launch(job_overrides, initial_job_idx)

        def start(job: tuple[int, Sequence[str]]) -> JobReturn:
            number, overrides = job
            (done,) = BasicLauncher.launch(self, [overrides], number)
            done.cfg = done.hydra_cfg = None  # their schemas are made at run time: no other process could read them
            return done

        return side_by_side(start, list(enumerate(job_overrides, initial_job_idx)))


@dataclass
class Config:
    _target_: str = "hydra_plugins.side_by_side.SideBySide"


ConfigStore.instance().store(group="hydra/launcher", name="side_by_side", node=Config)
