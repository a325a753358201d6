"""The files of deploy/ are what their tools take: held to the real schemas, where these are at hand."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from affstore.flows.config.run_config import checked, read_config
from affstore.flows.runners.base import RUNNERS, RunnerSpec
from affstore.store.contract.errors import SpecError

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


def test_a_manifest_becomes_a_cluster_of_a_run_s_own(tmp_path):
    from affstore.flows.runners.kubernetes import _manifest

    path = DEPLOY / "kubernetes" / "dask-cluster.yaml"
    one, other = (_manifest(RunnerSpec.of("kubernetes", manifest=str(path), workers=3).options) for _ in range(2))
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert one["spec"]["worker"]["replicas"] == 3
    selector = one["spec"]["scheduler"]["service"]["selector"]
    assert selector["dask.org/cluster-name"] == one["metadata"]["name"]
    assert RunnerSpec.of("kubernetes", manifest=str(path)).parallelism().at_once == 8


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
    copied = [path for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for path in line.split()[:-1]]
    sent = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").split()
    assert copied
    for path in copied:
        assert (DEPLOY.parent / path).exists()
        assert f"!{path}" in sent


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("slurm/*")), ids=lambda path: path.name)
def test_the_scripts_of_slurm_are_bash(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=True).stderr == ""
    directives = re.findall(r"^#SBATCH (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(directive.startswith("--") for directive in directives)


def test_shipped_configurations_are_valid():
    for path in sorted((DEPLOY / "configs").glob("*.yaml")):
        assert read_config(path).experiments
