"""Recorded numbers and models."""

import hashlib
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


def provenance() -> dict:
    """Return what a recorded number needs to be repeated; never a path or the host's name."""
    script = os.path.relpath(sys.argv[0], ROOT)
    git = subprocess.getoutput(f"git -C {shlex.quote(str(ROOT))} rev-parse --short HEAD")
    cpu = Path("/proc/cpuinfo")
    models = re.findall("model name.*?: (.*)", cpu.read_text() if cpu.exists() else "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "profile": os.environ.get("VAE_PROFILE") or "class",
        "command": os.environ.get("VAE_COMMAND") or shlex.join(["python", script, *sys.argv[1:]]),
        "commit": git if git.isalnum() else "unknown",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "machine": f"{models[0] if models else platform.machine()}, {cores} cores",
    }


def data_source(dataset) -> str:
    """Return "official", "embedded", "other", or "none" where a number depends on no data set."""
    if dataset is None or dataset.official:
        return "none" if dataset is None else "official"
    return "embedded" if "embedded" in f"{dataset.source} {dataset.label}" else "other"


def read_results(path: Path) -> dict:
    """Return the entries of a results file; none where there is no file."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path.name} is not a file of results: {error}") from error


def merge_results(path: Path, entries: dict, stale=lambda key, entry: False) -> None:
    """Add entries to a results file, sorted, one a line, under a lock; drop its stale ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        old = {key: entry for key, entry in read_results(path).items() if not stale(key, entry)}
        lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted((old | entries).items())]
        part = path.with_suffix(".part")
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        part.replace(path)


def load_recorded_model(name: str):
    """Load the model ``data/checkpoints/<name>.keras``, or return None where there is no such file.

    A model file can hold what its writer wished, so one whose SHA-256 is not among the recorded
    results is a ValueError. `helpers.vae` has to be imported.
    """
    path = ROOT / "data" / "checkpoints" / f"{name}.keras"
    if not path.exists():
        return print(f"no file {path.name}: this part is skipped")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    recorded = read_results(ROOT / "data" / "results.json").values()
    if digest not in {entry.get("sha256") for entry in recorded}:
        raise ValueError(f"{path.name} is not the recorded file: its digest is {digest}")
    import keras

    return keras.saving.load_model(path)


def recorded_number(key: str) -> float:
    """Return the recorded value of a key; KeyError where none is recorded."""
    return read_results(ROOT / "data" / "results.json")[key]["value"]


class Results:
    """The numbers of one notebook ("01") or study, by name, with what is needed to repeat them.

    They go to ``data/results.json`` under ``VAE_RECORD=1``, else to
    ``build/results/<profile>/<notebook>.json`` (``VAE_BUILD`` names another folder than build).
    """

    def __init__(self, notebook: str, dataset=None):
        self.notebook, self.dataset, self.entries = notebook, dataset, {}
        self.run, self.published = provenance(), ROOT / "data" / "results.json"
        build = Path(os.environ.get("VAE_BUILD") or ROOT / "build")
        self.path = build / "results" / self.run["profile"] / f"{notebook}.json"

    def record(self, key: str, value: float, *, seed: int, seconds: float | None = None, **extra):
        """Record a finite number as "<dataset>/<protocol>/<model>/<metric>"; else ValueError.

        Known extras: ``dataset`` (an ImageDataset other than the notebook's), ``timing=True``
        (depends on the machine: no range), ``headline=True`` (in the README's table), ``unit``.
        """
        if len(str(key).split("/")) != 4 or not all(part.strip() for part in key.split("/")):
            raise ValueError(f"key {key!r} is not <dataset>/<protocol>/<model>/<metric>")
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}: only finite numbers are recorded")
        entry = {"value": float(f"{value:.7g}"), "seed": int(seed), "seconds": seconds}
        entry |= {"source": data_source(extra.pop("dataset", self.dataset))} | extra | self.run
        self.entries[f"{self.notebook}/{key}"] = entry
        if os.environ.get("VAE_RECORD") == "1":
            merge_results(self.published, self.entries)
        else:
            merge_results(self.path, self.entries, stale=lambda *_: True)
