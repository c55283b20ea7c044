import os
import subprocess
import sys

import pytest

from poolbench.stages import SERVER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone"),
]


def beside_server(script, **environment):
    """What a shell script does beside a server; $PREPARE prepares a small set."""
    prepare = f"{sys.executable} -m poolbench.stages.prepare data=shapes data.train=20 data.test=20"
    return subprocess.run(
        [sys.executable, "-m", "poolbench.stages.forkserver", "bash", "-c", script],
        capture_output=True, text=True, env={**os.environ, "PREPARE": prepare, **environment},
    )  # fmt: skip


def test_a_stage_has_its_own_folder_arguments_and_streams(workplace):
    (workplace / "elsewhere").mkdir()
    answer = beside_server("cd elsewhere; $PREPARE data.name=here > log; $PREPARE data.test=0; echo $?; exit 7")
    assert "20 training and 20 test pictures" in (workplace / "elsewhere/log").read_text()
    assert (workplace / "elsewhere/data/prepared/here").is_dir()
    assert answer.stderr.startswith("poolbench: data.test must be")
    assert answer.stdout == "1\n"
    assert answer.returncode == 7


def test_the_stage_is_the_servers_fork(workplace):
    (workplace / "seen.py").write_text(
        "import os, torch\nfrom poolbench.pooling.fixed import Max\n"
        "class Seen(Max):\n    print(os.environ['WHO'], os.getppid())\n"
    )
    train = f"{sys.executable} -m poolbench.stages.train pool=seen.Seen data=nothing"
    answer = beside_server(f"echo $PPID; WHO=stage {train}")
    server, who, parent = answer.stdout.split()
    assert (who, parent) == ("stage", server)
    assert "unknown data 'nothing'" in answer.stderr


def test_sources_of_another_place_import_for_themselves(workplace):
    answer = beside_server(f"{SERVER}=/another/__init__.py:/no/socket; $PREPARE")
    assert "20 training and 20 test pictures" in answer.stdout, answer.stderr


def test_a_killed_stage_does_not_go_on(workplace):
    """DVC kills the process that it started, which only waits for the server's."""
    (workplace / "endless.py").write_text(
        "import os, time\nopen('started', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    train = f"{sys.executable} -m poolbench.stages.train pool=endless.Pool"
    answer = beside_server(
        f"{train} & until [ -s started ]; do sleep 0.1; done; kill -9 $!; wait $!; $PREPARE; ls /proc/$(cat started)"
    )
    assert "20 training and 20 test pictures" in answer.stdout  # the server answers the next
    assert "No such file" in answer.stderr
