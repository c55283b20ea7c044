"""Runs a command beside a process that has imported everything, which the stages that it starts are forked from.

python -m poolbench.stages.forkserver dvc repro

DVC starts a process a stage, and to import torch, Lightning and W&B takes longer than to evaluate a cell. The server
lives as long as the command. Without it each stage imports for itself, and does the same.
"""

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from poolbench import stages
from poolbench.stages import NAMES, SERVER, STREAMS


def serve(command: Sequence[str]) -> int:
    """Run a command and, as forks of this process, the stages that it starts. Its exit code."""
    if sys.platform != "linux":
        return subprocess.call(command)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(folder, "socket"))
        listener.bind(address)
        listener.listen()
        running = subprocess.Popen(command, env={**os.environ, SERVER: f"{stages.__file__}:{address}"})
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command and its stages, which end
        ended = os.pidfd_open(running.pid)
        while listener in wait([listener, ended]):
            _prepare()  # at the first stage: a command that starts none has nothing to wait for
            with listener.accept()[0] as client:
                _answer(client)
        os.close(ended)
        gc.unfreeze()
    return running.wait()


@cache
def _prepare() -> None:
    """What a process is slow at for the first time: imports, Hydra's grammar, sources' hashes."""
    for stage in NAMES:
        importlib.import_module(stage)
    from poolbench.config import check, compose
    from poolbench.stages.train import sources

    sources(check(compose(["cell=any"])))
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page that it shares


def _answer(client: socket.socket) -> None:
    """Fork the stage that a client asks for, and tell it the exit code. The stage ends where the client does."""
    _, streams, _, _ = socket.recv_fds(client, 1, len(STREAMS))
    request = json.loads(client.makefile().readline())
    process = multiprocessing.get_context("fork").Process(target=_stage, args=(streams, request))
    process.start()
    for stream in streams:
        os.close(stream)
    gone = client in wait([client, process.sentinel])
    if gone:
        process.kill()
    process.join()
    if not gone:
        assert process.exitcode is not None
        client.sendall(bytes([process.exitcode % 256]))


def _stage(streams: Sequence[int], request: Mapping[str, Any]) -> None:
    """What `python -m` would do, in the client's folder, environment and streams."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, copy in zip(STREAMS, streams, strict=True):
        os.dup2(copy, stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    stage, *sys.argv[1:] = request["arguments"]
    del sys.modules[stage]  # to be executed as __main__
    runpy.run_module(stage, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
