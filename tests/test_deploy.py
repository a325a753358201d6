"""The files of deploy/ are what their tools take: held to the real schemas, where these are at hand."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from affstore.flows.commands.options import RunnerChoice
from affstore.flows.config.run_config import checked, read_config
from affstore.flows.limits import RunLimits
from affstore.flows.request import RunOptions, request_of
from affstore.flows.runners.base import RUNNERS, RunnerSpec
from affstore.store.contract.errors import SpecError
from tests.test_limits import film

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = "1.31"


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def test_the_manifests_are_kubernetes_own():
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate").validate
    cluster = documents("kubernetes/dask-cluster.yaml")[0]["spec"]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": cluster[part]["spec"]}
        for part in ("worker", "scheduler")
    ]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "service"}}
    service["spec"] = cluster["scheduler"]["service"]
    for document in (*documents("kubernetes/affstore.yaml"), *pods, service):
        assert validate(document, KUBERNETES, strict=True) == KUBERNETES


def test_the_configuration_in_the_manifests_is_one():
    (config,) = (one for one in documents("kubernetes/affstore.yaml") if one["kind"] == "ConfigMap")
    found = checked(yaml.safe_load(config["data"]["run.yaml"]), "run.yaml")
    assert found.runner.kind is RUNNERS.get("kubernetes")


MANIFEST = "{kind: DaskCluster, metadata: {name: a}, spec: {scheduler: {service: {selector: {}}}}}"


def test_a_tab_in_a_manifest_is_called_so(tmp_path):
    from affstore.flows.runners.kubernetes import _manifest

    (tmp_path / "tab.yaml").write_text("kind: DaskCluster\nmetadata:\n\tname: mine\n")
    with pytest.raises(SpecError, match="line 3: there is a tab; YAML indents with spaces"):
        _manifest(RunnerSpec.of("kubernetes", manifest=str(tmp_path / "tab.yaml")).options)


def test_a_manifest_becomes_a_cluster_of_a_run_s_own(tmp_path):
    from affstore.flows.runners.kubernetes import _manifest

    path = DEPLOY / "kubernetes" / "dask-cluster.yaml"
    one, other = (_manifest(RunnerSpec.of("kubernetes", manifest=str(path), workers=3).options) for _ in range(2))
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert one["spec"]["worker"]["replicas"] == 3
    selector = one["spec"]["scheduler"]["service"]["selector"]
    assert selector["dask.org/cluster-name"] == one["metadata"]["name"]
    assert RunnerSpec.of("kubernetes", manifest=str(path)).parallelism().at_once == 8


@pytest.mark.parametrize("namespace", ["", "lab"])
def test_kubernetes_is_asked_in_the_namespace_that_the_pods_will_be_in(namespace, monkeypatch):
    asked = []

    def refuse(what, namespace):
        asked.append((what, namespace))
        raise RuntimeError("no rights")

    monkeypatch.setitem(sys.modules, "kr8s", SimpleNamespace(get=refuse))
    monkeypatch.setitem(sys.modules, "dask_kubernetes", ModuleType("dask_kubernetes"))
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", SimpleNamespace(KubeCluster=None))
    monkeypatch.setattr("affstore.flows.runners.kubernetes.require_package", lambda *_: None)
    manifest = str(DEPLOY / "kubernetes" / "dask-cluster.yaml")
    with pytest.raises(SpecError, match="no rights"):
        RunnerSpec.of("kubernetes", manifest=manifest, namespace=namespace).start().__enter__()
    assert asked == [("daskclusters", namespace or None)]


def test_pods_of_a_command_that_was_killed_are_deleted_but_not_while_the_first_one_may_still_start(tmp_path):
    from affstore.flows.runners.kubernetes import _JOIN_S, _manifest

    path = DEPLOY / "kubernetes" / "dask-cluster.yaml"
    said = _manifest(RunnerSpec.of("kubernetes", manifest=str(path)).options)["spec"]["idleTimeout"]
    (tmp_path / "cluster.yaml").write_text(MANIFEST.replace("spec: {", "spec: {worker: {}, "))
    unsaid = _manifest(RunnerSpec.of("kubernetes", manifest=str(tmp_path / "cluster.yaml")).options)["spec"]
    for idle in (said, unsaid["idleTimeout"]):
        assert isinstance(idle, int), "the operator's own schema takes whole seconds"
        assert idle > _JOIN_S


def test_pods_run_as_the_image_s_user_to_whose_group_the_volume_belongs():
    cluster = documents("kubernetes/dask-cluster.yaml")[0]["spec"]
    (worker,) = (one for one in documents("kubernetes/affstore.yaml") if one["kind"] == "Deployment")
    pods = [cluster["worker"]["spec"], cluster["scheduler"]["spec"], worker["spec"]["template"]["spec"]]
    for name in ("Dockerfile", "Dockerfile.cuda"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        user, group = map(int, re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)[0])
        assert f"useradd --create-home --uid {user} affstore" in text
        for pod in pods:
            context = pod["securityContext"]
            assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (user, group, group)


def test_what_compose_runs_writes_only_into_volumes_that_can_be_written():
    (compose,) = documents("compose.yaml")
    worker = compose["services"]["worker"]
    mounts = dict(volume.rsplit(":", 1) if volume.endswith(":ro") else (volume, "rw") for volume in worker["volumes"])
    writable = [mount.rpartition(":")[2] for mount, mode in mounts.items() if mode == "rw"]
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    variables = dict(re.findall(r"(AFFSTORE_\w+)=(\S+)", image)) | worker["environment"]
    config = read_config(DEPLOY / "configs" / "compose.yaml")
    assert config.store == variables["AFFSTORE_STORE"], "what `affstore status` shows there is what runs write"
    assert config.store.startswith("s3://affstore/"), "the bucket that compose makes"
    assert config.publish is not None
    for written in (variables["AFFSTORE_CACHE"], variables["AFFSTORE_WEIGHTS"], str(config.publish.folder)):
        assert any(f"{written}/".startswith(f"{folder}/") for folder in writable), written
    (made,) = re.findall(r"install --directory --owner affstore --group affstore (.+)$", image, re.MULTILINE)
    assert set(writable) <= set(made.split()), "a new volume belongs to whom its folder of the image belongs"
    assert {source.split("/")[1] for source in config.sources} == {"data"}


def test_the_secret_of_compose_s_database_may_hold_any_letter(monkeypatch):
    from prefect.server.utilities.database import get_dialect
    from prefect.settings.models.root import Settings
    from sqlalchemy.engine import make_url

    secret = "p@ss:w/rd%41#?"
    (compose,) = documents("compose.yaml")
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    for name, value in compose["services"]["prefect"]["environment"].items():
        if "DATABASE" in name:
            monkeypatch.setenv(name, value.replace("${DATABASE_SECRET}", secret))
    url = Settings().server.database.connection_url.get_secret_value()
    assert get_dialect(url).name == "postgresql"
    found = make_url(url)
    assert (found.username, found.password, found.host, found.port, found.database) == (
        "prefect",
        secret,
        "database",
        5432,
        "prefect",
    )


def test_what_compose_runs_is_the_configuration_beside_it():
    written = [yaml.safe_load((DEPLOY / "configs" / name).read_text()) for name in ("affwild2.yaml", "compose.yaml")]
    for one in written:
        del one["store"], one["publish"]
    assert written[0] == written[1]


@pytest.mark.slow  # parameters of three networks are drawn
def test_shares_of_the_shipped_configurations_choose_no_engine_on_an_empty_store(tmp_path):
    film(tmp_path / "films" / "one.mp4", 5)
    for name in ("affwild2.yaml", "compose.yaml"):
        document = yaml.safe_load((DEPLOY / "configs" / name).read_text(encoding="utf-8"))
        document |= {"store": "store", "sources": ["films"], "weights": "untrained"}
        (tmp_path / name).write_text(yaml.safe_dump(document))
        options = RunOptions(limits=RunLimits.of(share="1/2"))
        request = request_of(read_config(tmp_path / name), options)
        assert {spec.name for spec in request.profile.extractors} >= set(document["extractors"])
        (tmp_path / name).write_text(yaml.safe_dump(document | {"engine": "auto"}))
        with pytest.raises(SpecError, match="Name `engine` and `precision`"):
            request_of(read_config(tmp_path / name), options)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Pod", "is no manifest of a DaskCluster"),
        ("{", "cannot be read"),
        ("kind: DaskCluster", "lacks 'metadata'"),
        (MANIFEST, "lacks 'worker'"),
        (MANIFEST.replace("spec: {", "spec: {worker: {replicas: x}, "), "has 'x' as `replicas`"),
    ],
)
def test_a_manifest_that_is_none_is_refused(text, why, tmp_path):
    from affstore.flows.runners.kubernetes import _manifest

    (tmp_path / "cluster.yaml").write_text(text)
    spec = RunnerSpec.of("kubernetes", manifest=str(tmp_path / "cluster.yaml"))
    with pytest.raises(SpecError, match=why):
        _manifest(spec.options)
    with pytest.raises(SpecError, match=why):
        spec.parallelism()


def test_the_services_are_a_compose_file():
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    found = importlib.util.find_spec("check_jsonschema")
    if found is None:
        pytest.skip("needs check-jsonschema, which brings the schema of compose files")
    schema = Path(found.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    (compose,) = documents("compose.yaml")
    jsonschema.validate(compose, json.loads(schema.read_text(encoding="utf-8")))
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        named = {volume.partition(":")[0] for volume in service.get("volumes", ()) if volume[0] not in "./$"}
        assert named <= set(compose["volumes"])


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_what_an_image_copies_is_in_the_repository_and_reaches_the_builder(name):
    text = (DEPLOY / name).read_text(encoding="utf-8")
    copied = [path for line in re.findall(r"^COPY --\S+ (.+)$", text, re.MULTILINE) for path in line.split()[:-1]]
    sent = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").split()
    assert copied
    for path in copied:
        assert (DEPLOY.parent / path).exists()
        assert f"!{path}" in sent


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_an_image_pins_what_it_is_made_of_and_keeps_no_cache(name):
    """What hadolint asks of such a file, as far as there is anything to ask."""
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", "")
    (base,) = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert re.search(r":\d+\.\d+-slim-\w+$", base)
    installed = [line for line in re.findall(r"pip install [^&\n]+", text) if "-r torch.txt" not in line]
    assert all("--no-cache-dir" in line for line in re.findall(r"pip install [^&\n]+", text))
    for line in installed:
        assert "-c " in line
        assert all("==" in word for word in line.split() if word.startswith(("dask-", "prefect-")))
    assert "apt-get" not in text
    assert "sudo" not in text
    assert all("--chown=affstore:affstore" in line for line in re.findall(r"^COPY .+$", text, re.MULTILINE))


def test_the_image_for_cpus_takes_torch_from_where_it_is_without_cuda_and_that_for_gpus_brings_dask_cuda():
    cpu, gpu = ((DEPLOY / name).read_text(encoding="utf-8") for name in ("Dockerfile", "Dockerfile.cuda"))
    assert re.search(r"^ARG TORCH_INDEX=\S+/cpu$", cpu, re.MULTILINE)
    assert '--index-url "$TORCH_INDEX"' in cpu
    assert "TORCH_INDEX" not in gpu
    assert "dask-cuda==" in gpu
    lock = (DEPLOY.parent / "requirements.lock").read_text(encoding="utf-8")
    assert len(re.findall(r"^(?:torch|torchvision)==", lock, re.MULTILINE)) == 2, "named there, and so in torch.txt"
    assert len(re.findall(r"^(?:dask|distributed)==", lock, re.MULTILINE)) == 2, "left out, as dask-cuda binds them"


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("slurm/*")), ids=lambda path: path.name)
def test_the_scripts_of_slurm_are_bash(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=True).stderr == ""
    directives = re.findall(r"^#SBATCH (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(directive.startswith("--") for directive in directives)


def test_shipped_configurations_are_valid():
    for path in sorted((DEPLOY / "configs").glob("*.yaml")):
        found = read_config(path)
        assert found.experiments
        assert "auto" not in (found.engine, found.precision), "shares of a run must not each choose"


@pytest.mark.parametrize("generation", ["", "models-2"])
@pytest.mark.parametrize("script", ["array.sbatch", "finish.sbatch"])
def test_a_job_of_slurm_writes_to_the_generation_that_its_environment_names(script, generation, tmp_path):
    (tmp_path / "affstore").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "affstore").chmod(0o755)
    named = {"GENERATION": generation} if generation else {}
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_ARRAY_TASK_COUNT": "8",
    }
    command = ["bash", str(DEPLOY / "slurm" / script), "run.yaml"]
    done = subprocess.run(command, env=environment | named, capture_output=True, text=True, check=True)
    words = done.stdout.split("\n")[:-1]
    assert words[:2] == ["run", "run.yaml"]
    assert words[-2:] == ["--generation", generation]
    assert words[-6:-2] == ["--runner", "dask", "--scheduler", ""]
    done = subprocess.run(command, env=environment | {"RUNNER": "cuda"}, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-5:-3] == ["--runner", "cuda"]


@pytest.mark.parametrize(
    "configured", [{"kind": "slurm", "cores": 8}, {"kind": "dask", "scheduler": "tcp://node7:8786"}]
)
def test_a_job_of_slurm_works_on_its_own_machine_whatever_runner_is_configured(configured):
    runner = RunnerChoice(runner="dask", scheduler="", workers=4).changed(
        RunnerSpec.of(configured.pop("kind"), **configured)
    )
    assert not runner.elsewhere
    assert runner == RunnerSpec.of("dask", workers=4, scheduler="")
