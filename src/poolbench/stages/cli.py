"""How every stage starts: Hydra composes its configuration, and a user's mistake is one line."""

import functools
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from poolbench.config import register
from poolbench.files import CONF
from poolbench.naming import unknown

MISTAKES = (ValueError, OSError, HydraException, OmegaConfBaseException)


def run(stage: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a stage with the configuration that the command line composes.

    A mistake is one line and in the end exit code 1, and a multirun goes on with the next run after it;
    HYDRA_FULL_ERROR=1 in the environment asks for the traceback.
    """
    traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors itself, over several lines
    failed = multiprocessing.Value("b", False)  # the runs of a multirun are processes of their own

    def report(error: Exception) -> None:
        if traceback:
            raise error
        failed.value = True
        sys.stderr.write(
            f"poolbench: {one_line(error)}\n"
        )  # print would write the line's end apart, after another run's

    @functools.wraps(stage)
    def guarded(config: DictConfig) -> Any:
        try:
            return stage(config)
        except MISTAKES as error:
            report(error)

    try:
        register(sys.argv[1:])
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(guarded)()
    except MISTAKES as error:
        report(error)
    sys.exit(int(failed.value))


def one_line(error: BaseException) -> str:
    """An error as one line, its notes first; what Hydra spreads over a message and its cause is put together."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        message = str(unknown(group, name, error.options))
    else:
        causes = [error, error.__cause__] if isinstance(error, HydraException) and error.__cause__ else [error]
        message = " ".join((str(each).strip() or type(each).__name__).splitlines()[0] for each in causes)
    return ": ".join([*getattr(error, "__notes__", []), message])
