"""The Slurm script and the Kubernetes manifest of a training: what each worker would be told."""

import json
import os
import re
import subprocess

import pytest
import yaml

import course
from helpers import cluster

FOLDER = course.ROOT / "tools" / "studies"
SLURM = FOLDER / "worker.sbatch"


def executable(path, text):
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


# --- Slurm ---------------------------------------------------------------------------------------


@pytest.fixture
def submit(tmp_path):
    """Run the script where Slurm's programs, and python, are fakes that write down what they do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    executable(
        folder / "scontrol",
        '[ "$1 $2" = "show hostnames" ] && printf "node%s\\n" 07 12 && exit\necho "$@" >> "$SAID"',
    )
    executable(
        folder / "srun",
        '[ "$1 $2" = "--kill-on-bad-exit=1 --cpus-per-task=8" ] || exit 3\n'
        'shift 2\nfor SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@" || exit; done',
    )
    executable(
        folder / "python", 'echo "$TF_CONFIG" | tr -d "\\n" >> "$SAID"\necho " $@" >> "$SAID"'
    )

    def run(**variables):
        said = tmp_path / "said"
        said.write_text("")
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "SAID": str(said)}
        environment |= {"SLURM_JOB_NODELIST": "node[07,12]", "SLURM_JOB_ID": "77"}
        environment |= {"SLURM_CPUS_PER_TASK": "8"} | variables
        done = subprocess.run(["bash", SLURM, "my run.json"], env=environment, timeout=60)
        return done.returncode, said.read_text().splitlines()

    run.folder = folder
    return run


def test_slurm_tells_each_node_which_worker_it_is(submit):
    assert subprocess.run(["bash", "-n", SLURM]).returncode == 0
    code, lines = submit()
    assert code == 0 and len(lines) == 2
    for index, line in enumerate(lines):
        config, script, settings = re.fullmatch(r"(\{.*\}) (\S+) (.*)", line).groups()
        expected = cluster.config_for(["node07:12345", "node12:12345"], index)
        assert json.loads(config) == json.loads(expected)
        assert (course.ROOT / script).is_file() and settings == "my run.json"


@pytest.mark.parametrize(
    ("restarts", "said"), [({}, ["requeue 77"]), ({"SLURM_RESTART_COUNT": "5"}, [])]
)
def test_slurm_starts_all_again_when_a_worker_fails_but_not_for_ever(submit, restarts, said):
    executable(submit.folder / "python", "exit 1")
    assert submit(**restarts) == (1, said)


def test_slurm_gives_each_worker_a_node():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SLURM.read_text(), re.MULTILINE))
    assert int(options["nodes"]) >= 2 and options["ntasks-per-node"] == "1"
    assert "requeue" in options


# --- Kubernetes ----------------------------------------------------------------------------------


@pytest.fixture
def manifest():
    """The service, the job, and the pod that the job makes of its template."""
    text = (FOLDER / "worker.yaml").read_text(encoding="utf-8")
    service, job = yaml.safe_load_all(text)
    assert (service["kind"], service["apiVersion"]) == ("Service", "v1")
    assert (job["kind"], job["apiVersion"]) == ("Job", "batch/v1")
    return service, job, job["spec"]["template"]["spec"]


def test_kubernetes_tells_each_pod_which_worker_it_is(manifest):
    service, job, pod = manifest
    (container,) = pod["containers"]
    first, second = container["env"]
    # The value is filled in from variables that stand above it.
    place = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert first == {"name": "INDEX", "valueFrom": {"fieldRef": {"fieldPath": place}}}
    assert second["name"] == "TF_CONFIG"
    count, port = job["spec"]["completions"], service["spec"]["ports"][0]["port"]
    names = [f"{job['metadata']['name']}-{k}.{service['metadata']['name']}" for k in range(count)]
    for index in range(count):
        expected = cluster.config_for([f"{name}:{port}" for name in names], index)
        assert json.loads(second["value"].replace("$(INDEX)", str(index))) == json.loads(expected)


def test_kubernetes_runs_all_pods_at_once_and_gives_them_names(manifest):
    service, job, pod = manifest
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["parallelism"] == job["spec"]["completions"] >= 2
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert pod["restartPolicy"] in ("Never", "OnFailure"), "all that a job admits"


def test_kubernetes_mounts_what_all_workers_share(manifest):
    *_, pod = manifest
    (container,), (volume,) = pod["containers"], pod["volumes"]
    (mounted,) = container["volumeMounts"]
    assert mounted["name"] == volume["name"] and "persistentVolumeClaim" in volume
    _, script, settings = container["command"]
    assert (course.ROOT / script).is_file() and settings.startswith(mounted["mountPath"])
