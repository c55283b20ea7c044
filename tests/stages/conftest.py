import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from poolbench.stages import SERVER


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A fork server for all tests that start stages, since imports take seconds: its value of the variable SERVER."""
    command = [sys.executable, "-m", "poolbench.stages.forkserver", "sh", "-c", f"echo ${SERVER}; cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
        assert running.stdin is not None
        running.stdin.close()


@pytest.fixture
def served(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that this test starts are forks of the server's."""
    monkeypatch.setenv(SERVER, server)
