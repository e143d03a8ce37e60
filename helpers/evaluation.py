"""Recording results and checking them against their published ranges."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


def _provenance() -> dict:
    """Return what a recorded number needs to be repeated; never a path or the host's name."""
    script = os.path.relpath(sys.argv[0], ROOT)
    git = subprocess.getoutput(f"git -C {shlex.quote(str(ROOT))} rev-parse --short HEAD")
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [ln.split(": ", 1)[1] for ln in lines if ln.startswith("model name")]
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
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class Results:
    """The numbers of one notebook ("01") or study, by name, with what is needed to repeat them.

    ``VAE_RECORD=1`` writes them to ``data/results.json``, any other run to
    ``build/results/<profile>/<notebook>.json`` (``VAE_BUILD`` names another folder than build).
    """

    def __init__(self, notebook: str, dataset=None):
        self.notebook, self.dataset, self.entries = notebook, dataset, {}
        self.run, self.published = _provenance(), ROOT / "data" / "results.json"
        build = Path(os.environ.get("VAE_BUILD") or ROOT / "build")
        self.path = build / "results" / self.run["profile"] / f"{notebook}.json"

    def record(self, key: str, value: float, *, seed: int, seconds: float | None = None, **extra):
        """Record a finite number as "<dataset>/<protocol>/<model>/<metric>"; else ValueError.

        Of the further JSON values, four have a meaning: ``dataset`` (an ImageDataset other than
        the notebook's), ``timing=True`` (depends on the machine: no range), ``headline=True`` (a
        row of the README's table), ``unit``.
        """
        if len(key.split("/")) != 4 or not all(part.strip() for part in key.split("/")):
            raise ValueError(f"key {key!r} is not <dataset>/<protocol>/<model>/<metric>")
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}: only finite numbers are recorded")
        entry = {"value": float(f"{value:.7g}"), "seed": int(seed), "seconds": seconds}
        entry |= {"source": data_source(extra.pop("dataset", self.dataset))} | extra | self.run
        self.entries[f"{self.notebook}/{key}"] = entry
        self._write()

    def _write(self) -> None:
        """Write the entries sorted, one a line, through a temporary name."""
        recording = os.environ.get("VAE_RECORD") == "1"
        path = self.published if recording else self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            entries = (read_results(path) if recording else {}) | self.entries
            lines = (f"{json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries))
            part = path.with_suffix(".part")
            part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
            part.replace(path)

    def check(self) -> None:
        """Print one line: how many numbers lie in their range of ``tests/expected.toml``.

        Under ``VAE_STRICT=1`` raise AssertionError with a table where one does not, where a range
        has no number and, in the quick profile, where a number has no range.
        """
        ranges = tomllib.loads((ROOT / "tests" / "expected.toml").read_text(encoding="utf-8"))
        ranges = ranges.get(self.notebook, {}).get(self.run["profile"], {})
        found = {(e["source"], k.split("/", 1)[1]): e["value"] for k, e in self.entries.items()
                 if not e.get("timing")}  # fmt: skip
        sources = {data_source(self.dataset), *(source for source, _ in found)}
        wanted = {(s, key): r for s in sources for key, r in ranges.get(s, {}).items()}
        rows, published = [("metric", "value", "range", "recorded")], read_results(self.published)
        for name in sorted(found.keys() | wanted.keys()):
            value, span = found.get(name), wanted.get(name)
            if span is None and self.run["profile"] != "quick":
                continue  # only the quick profile has a range for every number
            if span is None or value is None or not span["low"] <= value <= span["high"]:
                known = published.get(f"{self.notebook}/{name[1]}", {}).get("value")
                known = known if known is not None else span and span["values"]
                span = span and f"{span['low']:g} to {span['high']:g}"
                rows.append((name[1], *(str(item) for item in (value, span, known))))
        if len(rows) > 1 and os.environ.get("VAE_STRICT") == "1":
            table = "\n".join("  ".join(f"{cell:<24}" for cell in row) for row in rows)
            raise AssertionError(f"outside the ranges\n{table}\n{self.run['versions']}")
        names = "".join(f"; outside: {row[0]}" for row in rows[1:])
        print(f"{len(found)} numbers recorded, {len(wanted)} of them have a published range{names}")
