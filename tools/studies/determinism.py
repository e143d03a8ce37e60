"""Run every lesson twice in the quick profile, and compare what the two runs measured.

On one machine every number has to be the same to the last digit; exit code 1 where one is not.
"""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import study

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import course  # noqa: E402  (from the folder above)


def numbers(path: Path) -> dict[str, float]:
    """Run one lesson; return its numbers. Exit where it fails."""
    with tempfile.TemporaryDirectory() as build:
        run = course.run(course.read(path), path.parent, course.QUICK | {"VAE_BUILD": build})
        kept = Path(build) / "lessons" / "quick" / f"{path.name[:2]}.json"
        if run.error or not kept.exists():
            sys.exit(f"error: {path.name}: {run.error or 'the lesson kept no numbers'}")
        found = json.loads(kept.read_text())["numbers"]
    return {key: number["value"] for key, number in found.items()}


def differences(first: dict, second: dict) -> list[str]:
    """Return a line for each number that is not the same in both runs."""
    return [
        f"  {key}: {first.get(key)} and {second.get(key)}"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def compare(path: Path) -> None:
    """Run a lesson twice; exit where a number differs."""
    first, second = numbers(path), numbers(path)
    lines = differences(first, second)
    print(f"{path.name}: {len(first)} numbers, {len(lines)} differ between two runs", flush=True)
    if lines:
        sys.exit("\n".join(lines))


PARTS = {path.name[:2]: partial(compare, path) for path in course.notebook_paths()}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
