"""Rerun recorded numbers by their own commands, and compare.

A number agrees where it lies in its range in tests/expected.toml or, where it has none, within the
tolerance of the recorded value. Numbers that depend on the machine's speed are shown only. Nothing
committed is changed: the reruns write under build/verify/.

usage: verify_results.py [KEY] [--tolerance 0.01]     KEY: a part of the key, "02/MNIST" or "elbo"
"""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib

import course
from helpers import evaluation

RESULTS = course.ROOT / "data" / "results.json"
EXPECTED = course.ROOT / "tests" / "expected.toml"


def allowed(key: str, entry: dict, expected: dict, tolerance: float) -> tuple[float, float, str]:
    """Return (low, high, where that comes from) for a recorded entry."""
    notebook, rest = key.split("/", 1)
    table = expected.get(notebook, {}).get(entry["profile"], {}).get(entry["source"], {})
    if rest in table:
        return table[rest]["low"], table[rest]["high"], "expected.toml"
    slack = tolerance * abs(entry["value"])
    return entry["value"] - slack, entry["value"] + slack, f"±{tolerance:.2%}"


def rerun(command: str, folder) -> dict:
    """Run a recorded command with its numbers going under folder; return them."""
    shutil.rmtree(folder, ignore_errors=True)
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"VAE_RECORD": "0", "VAE_BUILD": str(folder), "PATH": path}
    done = subprocess.run(command, shell=True, cwd=course.ROOT, env=environment)
    if done.returncode:
        print(f"FAILED with exit code {done.returncode}: {command}")
    entries = {}
    for path in sorted(folder.glob("results/*/*.json")):
        entries |= evaluation.read_results(path)
    return entries


def main(arguments: list[str]) -> int:
    """Rerun and compare; return 1 where a number disagrees or is not recorded again."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("key", nargs="?", default="")
    parser.add_argument("--tolerance", type=float, default=0.01)
    options = parser.parse_args(arguments)
    recorded = evaluation.read_results(RESULTS)
    chosen = {key: entry for key, entry in recorded.items() if options.key in key}
    if not chosen:
        sys.exit(f"error: no recorded key contains {options.key!r} ({len(recorded)} recorded)")
    expected = tomllib.loads(EXPECTED.read_text(encoding="utf-8"))
    wrong = 0
    for command in sorted({entry["command"] for entry in chosen.values()}):
        print(f"$ {command}", flush=True)
        found = rerun(command, course.ROOT / "build" / "verify")
        for key, entry in chosen.items():
            if entry["command"] != command:
                continue
            value = found.get(key, {}).get("value")
            low, high, origin = allowed(key, entry, expected, options.tolerance)
            if value is not None and entry.get("timing"):
                verdict = "not compared (timing)"
            elif value is not None and low <= value <= high:
                verdict = f"agrees ({origin})"
            else:
                verdict, wrong = f"DISAGREES: {low:g} to {high:g} ({origin})", wrong + 1
            print(f"  {key}: recorded {entry['value']:g}, now {value}: {verdict}")
    print(f"{len(chosen)} numbers, {wrong} disagree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
