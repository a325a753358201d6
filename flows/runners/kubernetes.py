"""Worker processes in pods of a Kubernetes cluster, which Dask's operator starts from a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import yaml

from affstore.flows.runners.base import RUNNERS, Runner, RunnerKind, RunnerOptions, workers_of, written
from affstore.flows.runners.dask import on_scheduler, one_line, processes
from affstore.flows.watch import watching
from affstore.flows.yaml_files import reading_fault
from affstore.store.contract.errors import SpecError
from affstore.store.contract.extras import require_package
from affstore.store.contract.printable import excerpt

if TYPE_CHECKING:
    from affstore.tasks.extract.memory_estimate import Parallelism

_JOIN_S = 1800
"""How long the first pod may take to start: an image of some GB is fetched first."""

_IDLE_S = 2 * 3600
"""After so long without a task the operator deletes the pods of a command that was killed; see `_manifest`."""


class KubernetesOptions(RunnerOptions):
    """What a configuration may say of Kubernetes.

    `workers` is how many pods work; 0 for as many as the manifest says.

    Attributes:
        manifest: path of a `DaskCluster`, as deploy/kubernetes/dask-cluster.yaml: image, volumes and GPUs are there.
        namespace: that the pods are in; by kubectl's settings if empty.
    """

    manifest: str = ""
    namespace: Annotated[str, written(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?", "in a-z, 0-9 and -, as `lab`")] = ""


class KubernetesRunner(RunnerKind[KubernetesOptions]):
    """Tasks in pods."""

    name = "kubernetes"
    description = "worker processes in pods, which Dask's operator starts from a manifest"
    needs = "pip install dask-kubernetes"
    extra = "cluster"
    Options = KubernetesOptions

    def parallelism(self, options: KubernetesOptions) -> Parallelism:
        """A process for each task."""
        return processes(options.workers or (_replicas(options) if options.manifest else workers_of(options)))

    @contextmanager
    def start(self, options: KubernetesOptions) -> Iterator[Runner]:
        """A cluster of pods, which is deleted at the end."""
        require_package("dask_kubernetes", "The runner 'kubernetes'", self.needs)
        manifest = _manifest(options)
        import kr8s
        from dask_kubernetes.operator import KubeCluster

        watching().step("asking Kubernetes for a Dask cluster")
        try:
            list(
                kr8s.get("daskclusters", namespace=options.namespace or None)
            )  # a cluster that is half begun would be closed with a traceback
            cluster = KubeCluster(
                custom_cluster_spec=manifest,
                namespace=options.namespace or None,
                shutdown_on_close=True,
                quiet=True,
            )
        except Exception as error:  # its client for Kubernetes has no common error
            raise SpecError(
                f"Kubernetes does not start a Dask cluster ({one_line(error)}). See that `kubectl get daskclusters` "
                "works here, and that Dask's operator is installed: deploy/README.md says how."
            ) from error
        with cluster, on_scheduler(cluster.scheduler_address, _JOIN_S) as runner:
            yield runner

    def check(self, options: KubernetesOptions) -> None:
        """See that the manifest is one."""
        _manifest(options)

    def elsewhere(self, options: KubernetesOptions) -> bool:
        """Pods run on any machine."""
        return True


def _manifest(options: KubernetesOptions) -> dict[str, Any]:
    """The manifest under a name that no other run has, for as many workers as are asked for.

    Where it does not say after how many idle seconds the operator deletes the cluster (`idleTimeout`), it gets two
    hours: a command that was killed cannot delete it.

    Raises:
        SpecError: there is none, or it is none.
    """
    if not options.manifest:
        raise SpecError(
            "The runner 'kubernetes' needs a manifest of the pods: --runner-option "
            "manifest=deploy/kubernetes/dask-cluster.yaml, once image and volumes in it are yours."
        )
    text = ""
    try:
        text = Path(options.manifest).read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SpecError(f"The manifest '{options.manifest}' cannot be read: {reading_fault(error, text)}.") from error
    if not isinstance(found, dict) or found.get("kind") != "DaskCluster":
        raise SpecError(
            f"'{options.manifest}' is no manifest of a DaskCluster; see deploy/kubernetes/dask-cluster.yaml."
        )
    try:
        name = f"{found['metadata']['name']}-{uuid4().hex[:6]}"
        found["metadata"]["name"] = name
        found["spec"].setdefault("idleTimeout", _IDLE_S)
        found["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = name
        worker = found["spec"]["worker"]
        worker["replicas"] = options.workers or int(worker.get("replicas", 1))
    except (KeyError, TypeError, AttributeError) as error:
        raise SpecError(
            f"The manifest '{options.manifest}' lacks {error}; see deploy/kubernetes/dask-cluster.yaml."
        ) from error
    except ValueError as error:
        raise SpecError(
            f"The manifest '{options.manifest}' has {excerpt(worker['replicas'])} as `replicas`; give a number."
        ) from error
    return found


def _replicas(options: KubernetesOptions) -> int:
    return int(_manifest(options)["spec"]["worker"]["replicas"])


RUNNERS.register(KubernetesRunner.name, KubernetesRunner())
