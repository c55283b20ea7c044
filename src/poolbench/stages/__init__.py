"""The stages of the pipeline, one module each: the only place that reads and writes files."""

import json
import os
import socket
import sys
from pathlib import Path

ENVIRONMENT = {
    # glibc hands large tensors back to the system and pays for it page by page: a tenth of a training step.
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    # OpenMP's idle threads spin: beside one other busy process an epoch of 2 s took 48 s, and 2.5 s with this.
    "GOMP_SPINCOUNT": "1000",
}
"""What the C libraries below torch read when a process starts."""

NAMES = tuple(
    f"{__name__}.{stage}" for stage in ("prepare", "plan", "train", "evaluate", "shared_features", "where", "report")
)
STREAMS = (0, 1, 2)
SERVER = "POOLBENCH_FORKSERVER"
"""The environment variable that says of which sources a server runs (see `forkserver`), and where it listens."""


def _hand_over(arguments: list[str], address: str) -> int:
    """Have the server run a stage in this process's folder, environment and streams. Its exit code."""
    request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [b" "], STREAMS)
        server.sendall(json.dumps(request).encode() + b"\n")
        return server.recv(1)[0]


# While `python -m poolbench.stages.<stage>` looks for its module, argv[0] is "-m": only then can it start otherwise.
if sys.argv[0] == "-m" and sys.platform == "linux":
    arguments = sys.orig_argv[sys.orig_argv.index("-m") + 1 :]
    sources, _, address = os.environ.get(SERVER, "").rpartition(":")
    if sources == __file__ and arguments[0] in NAMES:
        sys.exit(_hand_over(arguments, address))
    if not ENVIRONMENT.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ENVIRONMENT, **os.environ})
