import importlib
import sys
import textwrap

import pytest

from poolbench import pooling, provenance


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Writes modules of a user's own and gives the digest of one thing in them."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest(files, thing):
        module, _, name = thing.partition(".")
        for file, text in files.items():
            (tmp_path / f"{file}.py").write_text(textwrap.dedent(text))
            sys.modules.pop(file, None)
        importlib.invalidate_caches()
        import linecache

        linecache.clearcache()
        return provenance.digest(getattr(importlib.import_module(module), name))

    return digest


HELPERS = """
def used(x):
    return x + 1

def unused(x):
    return x
"""
OPERATOR = """
import helpers_of_mine
from helpers_of_mine import used

LIMIT = 3

class Operator:
    '''What it is.'''
    def forward(self, x):
        # why
        return used(x) + LIMIT

class Other:
    pass
"""


@pytest.mark.parametrize(
    ("module", "before", "after", "changes"),
    [
        ("helpers_of_mine", "x + 1", "x + 2", True),
        ("operator_of_mine", "LIMIT = 3", "LIMIT = 4", True),
        ("operator_of_mine", "used(x) +", "used(x) -", True),
        ("helpers_of_mine", "    return x\n", "    return -x\n", False),
        ("operator_of_mine", "What it is", "What it does", False),
        ("operator_of_mine", "# why", "# because", False),
        ("operator_of_mine", "pass", "size = 3", False),
    ],
)
def test_changes_with_what_is_executed_and_with_nothing_else(sources, module, before, after, changes):
    files = {"helpers_of_mine": HELPERS, "operator_of_mine": OPERATOR}
    first = sources(files, "operator_of_mine.Operator")
    assert before in files[module]
    second = sources(files | {module: files[module].replace(before, after)}, "operator_of_mine.Operator")
    assert (first != second) == changes


def test_follows_an_attribute_of_a_module(sources):
    files = {"helpers_of_mine": HELPERS, "operator_of_mine": OPERATOR.replace("used(x) +", "helpers_of_mine.used(x) +")}
    first = sources(files, "operator_of_mine.Operator")
    files["helpers_of_mine"] = HELPERS.replace("x + 1", "x + 2")
    assert sources(files, "operator_of_mine.Operator") != first


def test_every_operator_has_a_digest_and_a_base_class_counts():
    digests = {name: provenance.digest(pooling.spec(name).operator) for name in pooling.names()}
    assert len(set(digests.values())) == len(digests)


def test_environment_says_what_a_result_depends_on():
    found = provenance.environment()
    assert found["versions"].keys() == set(provenance.PACKAGES)
    assert len(found["commit"]) == 40
    assert found["processor"]


@pytest.mark.parametrize(
    ("processor", "folder"),
    [("Intel(R) Xeon(R) Processor, 2 threads", "intel_xeon_processor"), ("AMD EPYC, 2 threads", "amd_epyc")],
)
def test_a_machine_is_named_as_a_folder_is(monkeypatch, processor, folder):
    monkeypatch.setattr(provenance, "_processor", lambda: processor)
    assert provenance.machine_folder() == folder


def test_a_gpu_is_too(monkeypatch):
    monkeypatch.setattr(provenance.torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    assert provenance.machine_folder("cuda") == "nvidia_h100_80gb_hbm3"
