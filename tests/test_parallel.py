import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from poolbench.parallel import side_by_side

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone"),
    # Python 3.12 warns of forking beside the test runner's threads
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture
def cores(monkeypatch):
    """Pretend a machine of so many cores."""
    return lambda count: monkeypatch.setattr(torch, "get_num_threads", lambda: count)


def whose(item):
    time.sleep(0.1)  # long enough for the next item to find another process
    return item, os.getpid()


def test_results_come_in_order_from_other_processes(cores):
    cores(2)
    made = side_by_side(whose, range(5))
    assert [item for item, _ in made] == list(range(5))
    processes = {process for _, process in made}
    assert 2 <= len(processes) <= 3
    assert os.getpid() not in processes


def test_one_core_stays_in_this_process(cores):
    cores(1)
    assert {process for _, process in side_by_side(whose, range(3))} == {os.getpid()}


def test_nothing_to_do(cores):
    cores(2)
    assert side_by_side(whose, []) == []


@pytest.mark.parametrize(("at_once", "threads"), [(None, 4), (1, 8)])
def test_processes_share_the_cores(cores, at_once, threads):
    cores(8)
    given = side_by_side(lambda _: torch.__config__.parallel_info(), [0, 1], at_once)
    assert all(f"get_num_threads() : {threads}" in each for each in given)


def test_an_error_reaches_the_caller(cores):
    cores(2)
    with pytest.raises(ValueError, match="kernel_size"):
        side_by_side(int, ["1", "kernel_size"])


def test_a_killed_process_is_named(cores):
    cores(2)
    with pytest.raises(ChildProcessError, match="killed"):
        side_by_side(lambda _: os.kill(os.getpid(), signal.SIGKILL), [0, 1])


def test_no_process_outlives_a_killed_parent(tmp_path):
    program = """
import os, pathlib, sys, time
from poolbench.parallel import side_by_side
def work(item):
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)
side_by_side(work, [0, 1])
"""
    parent = subprocess.Popen([sys.executable, "-c", program, tmp_path], env={**os.environ, "OMP_NUM_THREADS": "2"})
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while any(Path("/proc", child.name, "cmdline").is_file() for child in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
