import os
import subprocess
import sys

import pytest

from poolbench.stages import SERVER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone"),
]


PREPARE = f"{sys.executable} -m poolbench.stages.prepare data=shapes data.train=20 data.test=20"
TRAIN = f"{sys.executable} -m poolbench.stages.train data=nothing"
PREPARED = "20 training and 20 test pictures"


def shell(script, *before):
    return subprocess.run([*before, "bash", "-c", script], capture_output=True, text=True)


def test_a_stage_has_its_own_folder_arguments_and_streams(workplace):
    (workplace / "elsewhere").mkdir()
    answer = shell(
        f"cd elsewhere; {PREPARE} data.name=here > log; {PREPARE} data.test=0; echo $?; exit 7",
        sys.executable, "-m", "poolbench.stages.forkserver",
    )  # fmt: skip
    assert PREPARED in (workplace / "elsewhere/log").read_text()
    assert (workplace / "elsewhere/data/prepared/here").is_dir()
    assert answer.stderr.startswith("poolbench: data.test must be")
    assert answer.stdout == "1\n"
    assert answer.returncode == 7


def test_a_stage_is_the_servers_child_in_its_own_environment(workplace, served):
    (workplace / "seen.py").write_text(
        "import os\nfrom poolbench.pooling.fixed import Max\n"
        "class Seen(Max):\n    print(os.environ['WHO'], os.getppid())\n"
    )
    answer = shell(f"WHO=one {TRAIN} pool=seen.Seen; WHO=two {TRAIN} pool=seen.Seen")
    one, server, two, same = answer.stdout.split()
    assert (one, two) == ("one", "two")
    assert server == same != str(os.getpid())
    assert answer.stderr.count("unknown data 'nothing'") == 2


def test_sources_of_another_place_import_for_themselves(workplace, monkeypatch):
    monkeypatch.setenv(SERVER, "/another/__init__.py:/no/socket")
    answer = shell(PREPARE)
    assert PREPARED in answer.stdout, answer.stderr


def test_a_killed_stage_does_not_go_on(workplace, served):
    """DVC kills the process that it started, which only waits for the server's."""
    (workplace / "endless.py").write_text(
        "import os, time\nopen('started', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    answer = shell(
        f"{TRAIN} pool=endless.Pool & until [ -s started ]; do sleep 0.1; done; kill -9 $!; wait $!; "
        f"{PREPARE}; ls /proc/$(cat started)"
    )
    assert PREPARED in answer.stdout  # the server answers the next
    assert "No such file" in answer.stderr
