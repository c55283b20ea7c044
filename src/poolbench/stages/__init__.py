"""The stages of the pipeline, one module each: the only place that reads and writes files."""

import os
import sys

ENVIRONMENT = {
    # glibc hands large tensors back to the system and pays for it page by page: a tenth of a training step.
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    # OpenMP's idle threads spin: beside one other busy process an epoch of 2 s took 48 s, and 2.5 s with this.
    "GOMP_SPINCOUNT": "1000",
}
"""What the C libraries below torch read when a process starts."""

# While `python -m poolbench.stages.<stage>` looks for its module, argv[0] is "-m": only then start the process anew.
if sys.argv[0] == "-m" and sys.platform == "linux" and not ENVIRONMENT.keys() <= os.environ.keys():
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ENVIRONMENT, **os.environ})
