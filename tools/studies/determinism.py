"""Run every notebook twice in the quick profile, and compare what the two runs recorded.

    python tests/benchmarks/determinism.py [NUMBER ...]

On one machine every number that is no time and no speed has to be the same to the last digit on
record (seven); exit code 1 where one is not. Beside that, the largest distance from the values of
the first seed in `tests/expected.toml`, which another machine may have written: the size of what
differs across machines. CONTRIBUTING.md states it.
"""

import sys
import tempfile
import tomllib
from pathlib import Path

from helpers import evaluation

sys.path.insert(0, str(evaluation.ROOT / "tools"))

import course


def record(path: Path) -> dict:
    """Run one notebook; return its entries that depend on no clock. Exit where it fails."""
    with tempfile.TemporaryDirectory() as build:
        environment = course.QUICK | {"VAE_BUILD": build, "VAE_STRICT": "0", "VAE_SEED": ""}
        run = course.run(course.read(path), path.parent, environment)
        entries = evaluation.read_results(Path(build) / "results/quick" / f"{path.name[:2]}.json")
    if run.error or not entries:
        sys.exit(f"error: {path.name}: {run.error or 'no number was recorded'}")
    return {key: entry for key, entry in entries.items() if not entry.get("timing")}


def elsewhere(entries: dict) -> tuple[float, str]:
    """Return the largest relative distance from the values of seed 42 on file, and whose it is."""
    text = (evaluation.ROOT / "tests" / "expected.toml").read_text(encoding="utf-8")
    expected, found = tomllib.loads(text), [(0.0, "none")]
    for key, entry in entries.items():
        notebook, name = key.split("/", 1)
        ranges = expected.get(notebook, {}).get("quick", {}).get(entry["source"], {})
        if name in ranges:
            value = ranges[name]["values"][0]
            found.append((abs(entry["value"] - value) / max(abs(value), 1e-9), key))
    return max(found)


def main(numbers: list[str]) -> int:
    different = 0
    for path in course.notebook_paths():
        if numbers and path.name[:2] not in numbers:
            continue
        first, second = record(path), record(path)
        keys = sorted(first.keys() | second.keys())
        changed = [
            key for key in keys
            if first.get(key, {}).get("value") != second.get(key, {}).get("value")
        ]  # fmt: skip
        for key in changed:
            values = [run.get(key, {}).get("value") for run in (first, second)]
            print(f"  {key}: {values[0]} and {values[1]}")
        far, whose = elsewhere(first)
        print(f"{path.name}: {len(keys)} numbers, {len(changed)} differ between two runs; "
              f"from those on file by at most {far:.2g} ({whose})", flush=True)  # fmt: skip
        different += len(changed)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
