"""The stages of the pipeline, one module each: the only place that reads and writes files."""

import os
import sys

# glibc hands large tensors back to the system and pays for it page by page: a training loop takes a third longer.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "268435456", "MALLOC_TRIM_THRESHOLD_": "268435456"}

# While `python -m poolbench.stages.<stage>` looks for its module, argv[0] is "-m": only then start the process anew.
if sys.argv[0] == "-m" and sys.platform == "linux" and not ALLOCATOR.keys() <= os.environ.keys():
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ALLOCATOR, **os.environ})
