"""The work pool of kubernetes/: what Prefect and its Kubernetes worker make of it, as far as that needs no cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = json.loads((ROOT / "kubernetes/base-job-template.json").read_text())


def deployments() -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / "kubernetes/prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", deployments(), ids=lambda one: one["name"])
async def test_the_job_of_a_deployment_is_one_that_a_cluster_takes(deployment: dict[str, Any]) -> None:
    """The worker's own substitution leaves no placeholder; the pod runs the image's own Prefect past its entry point,
    with the key from a Secret and never in the manifest, time to let calls in flight end, and no retries of its own.
    """
    worker = pytest.importorskip("prefect_kubernetes.worker")
    values = deployment["work_pool"].get("job_variables", {})
    assert set(values) <= set(TEMPLATE["variables"]["properties"])
    # Nothing in it is looked up on a server.
    nobody = PrefectClient("http://127.0.0.1:9/api")
    made = await worker.KubernetesWorkerJobConfiguration.from_template_and_values(TEMPLATE, values, client=nobody)
    made.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="Many 2/4"))
    manifest = made.job_manifest
    assert "{{" not in json.dumps(manifest)
    assert (manifest["kind"], manifest["spec"]["backoffLimit"]) == ("Job", 0)
    pod = manifest["spec"]["template"]["spec"]
    assert set(pod) <= {
        "containers", "restartPolicy", "serviceAccountName", "terminationGracePeriodSeconds", "volumes",
    }  # fmt: skip
    (container,) = pod["containers"]
    assert container["command"] + container["args"] == ["env", "prefect", "flow-run", "execute"]
    assert container["envFrom"] == [{"secretRef": {"name": "rowmill"}}]
    told = {one["name"]: one["value"] for one in container["env"]}
    assert told["ROWMILL_WORK_DIR"] == container["volumeMounts"][0]["mountPath"]
    assert told["PREFECT__FLOW_RUN_ID"]
    assert "ROWMILL_API_KEY" not in told
    assert pod["terminationGracePeriodSeconds"] > 30
    assert container["resources"]["limits"]["memory"] == "2Gi"


def test_its_flows_are_found_without_a_checkout() -> None:
    """The entry points are modules of the package, which the image has installed."""
    for deployment in deployments():
        module, _, name = deployment["entrypoint"].removeprefix("rowmill.").rpartition(".")
        assert f"async def {name}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()
