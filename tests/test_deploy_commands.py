"""Every command line of deploy/, of its page too, is one that the program takes: read by that program's own parser.

Shell scripts and the page's blocks are run by a shell whose programs only write down what they were called with.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from cyclopts import CycloptsError

from affstore.flows.cli import whole_app

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PAGE = (DEPLOY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = ("affstore", "prefect", "dask", "docker", "helm", "kubectl", "pip", "pytest", "python", "sbatch")


def taken(words):
    """Read a command line by the parser of its program, as far as we have one; whether we have."""
    if words[0] == "kubectl" and "--" in words:
        return taken(words[words.index("--") + 1 :])
    if words[:2] == ["docker", "compose"] and words[4] == "exec":
        return taken(words[words.index("worker") + 1 :])
    if words[0] == "affstore":
        whole_app().parse_args(words[1:], exit_on_error=False, print_error=False)
    elif words[0] == "prefect":
        from prefect.cli._app import _app

        _app.parse_args([word for word in words[1:] if word != "--no-prompt"], exit_on_error=False, print_error=False)
    elif words[0] == "dask":
        from distributed.cli import dask_scheduler, dask_worker

        command = {"worker": dask_worker, "scheduler": dask_scheduler}[words[1]].main
        command.make_context(words[1], words[2:])
    else:
        return False
    return True


@pytest.fixture
def called(tmp_path):
    """Runs a shell in a copy of deploy/, and returns what its programs were called with."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    log, programs = tmp_path / "called.jsonl", tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        path = programs / name
        path.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"open({str(log)!r}, 'a').write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')\nprint(7)\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def called(*command, **more):
        environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"} | more
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in log.read_text().splitlines()]

    return called


def commands_of_containers():
    """The command of each container that has our image, by the file and the container."""
    (compose,) = yaml.safe_load_all((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for name, service in compose["services"].items():
        if service["image"] == "affstore" and service["command"][0] != "/bin/sh":
            yield pytest.param(service["command"], id=f"compose.yaml {name}")
    for path in sorted(DEPLOY.glob("kubernetes/*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            for container in containers(document):
                words = [*container["command"], *container.get("args", ())]
                yield pytest.param(words, id=f"{path.name} {container['name']}")
    for path in sorted(DEPLOY.glob("Dockerfile*")):
        (command,) = re.findall(r"^CMD (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        yield pytest.param(json.loads(command), id=path.name)


def containers(value):
    if isinstance(value, dict):
        yield from value.get("containers", ())
        for one in value.values():
            yield from containers(one)


@pytest.mark.parametrize("words", list(commands_of_containers()))
def test_a_container_runs_a_whole_command(words):
    assert taken(words)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_an_image_has_no_entrypoint_so_that_prefect_s_pools_can_give_it_a_whole_command(name):
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert not re.search(r"^ENTRYPOINT", text, re.MULTILINE)
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["1000:1000"], (
        "a number, which Kubernetes can see not to be root"
    )


def test_what_compose_sets_up_is_typed_as_prefect_has_it(called):
    (compose,) = yaml.safe_load_all((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    shell, option, script = compose["services"]["setup"]["command"]
    lines = called(shell, option, script.replace("$$", "$"), NOTIFY_URL="https://chat.example.org/hooks/1")
    assert sum(map(taken, lines)) == 4
    assert lines[-1] == ["python", "deploy/notify.py", "https://chat.example.org/hooks/1"]


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("slurm/*.sbatch")), ids=lambda path: path.name)
def test_a_job_runs_a_command_of_ours(path, called):
    task = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_CPUS_PER_TASK": "4"}
    (line,) = called("bash", f"deploy/slurm/{path.name}", "deploy/configs/affwild2.yaml", **task)
    assert line[:3] == ["affstore", "run", "deploy/configs/affwild2.yaml"]
    assert taken(line)
    assert ("--share" in line) == (path.name == "array.sbatch")
    assert "2/8" in line or path.name != "array.sbatch"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:50])
def test_the_page_s_commands_are_taken_by_their_programs(block, called):
    lines = called("bash", "-eu", "-c", block, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert lines
    for line in lines:
        taken(line)
        for word in line:
            if word.startswith("deploy/") and "*" not in word:
                assert (DEPLOY.parent / word).exists() or f"> {word}" in block, word


def test_what_the_page_gives_to_a_pool_of_containers_is_read_as_lists_and_tables(called):
    from prefect.cli.deploy._config import _extract_variable

    (block,) = (one for one in BLOCKS if "--type docker" in one)
    (line,) = (one for one in called("bash", "-eu", "-c", block) if one[:3] == ["prefect", "--no-prompt", "deploy"])
    found = _extract_variable(line[line.index("--job-variable") + 1])
    assert found["volumes"] == ["/data:/data"], "a text would be one volume for each of its letters"
    assert set(found["env"]) == {"PREFECT_API_URL", "AFFSTORE_WEIGHTS"}


@pytest.mark.parametrize("words", [["affstore", "run", "c.yaml", "--shares", "1/2"], ["prefect", "worker", "begin"]])
def test_a_command_line_that_no_program_takes_is_found(words):
    with pytest.raises(CycloptsError):
        taken(words)
    with pytest.raises(click.UsageError):
        taken(["dask", "worker", "--nothreads", "1"])
