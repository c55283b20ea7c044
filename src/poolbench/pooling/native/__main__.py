"""Compile the kernels, unless they are there, and say which backend is in use: `python -m poolbench.pooling.native`."""

from poolbench.pooling.native.selection import prepare

if __name__ == "__main__":
    print(prepare())
