"""Run a notebook with several seeds and write the ranges of its numbers to tests/expected.toml.

A range is the mean of the runs plus and minus four standard deviations, and at least one part in a
thousand of the mean, for numbers that no seed moves. An accuracy gets one test image and a half at
least: another version of a library may judge one image otherwise. The tables of the notebook and
profile are replaced; the others stay.

usage: ranges.py NUMBER [--profile quick|full] [--seeds 42 43 44 …]
"""

import argparse
import statistics
import sys
import tempfile
import tomllib
from pathlib import Path

import course
from helpers import evaluation

EXPECTED = course.ROOT / "tests" / "expected.toml"
FLOOR, DEVIATIONS = 1e-3, 4
ACCURACIES = ("knn", "probe", "accuracy")  # words in the name of a metric that is a share of images
ONE_IMAGE = 1.5 / 300  # of the embedded sample's test images


def interval(values: list[float], metric: str = "") -> dict:
    """Return {"low", "high", "values"} of at least three runs."""
    if len(values) < 3:
        raise ValueError(f"{len(values)} values; a range needs three or more")
    mean = statistics.fmean(values)
    half = max(DEVIATIONS * statistics.stdev(values), FLOOR * abs(mean), 1e-6)
    if any(word in metric for word in ACCURACIES):
        half = max(half, ONE_IMAGE)
    return {
        "low": float(f"{mean - half:.6g}"),
        "high": float(f"{mean + half:.6g}"),
        "values": [float(f"{value:.6g}") for value in values],
    }


def tables(runs: list[dict]) -> dict:
    """Return {source: {key: interval}} of the entries that every run recorded.

    Raises
    ------
    ValueError
        The runs recorded different numbers.
    """
    if len({frozenset(run) for run in runs}) != 1:
        raise ValueError("the runs recorded different numbers")
    found = {}
    for full_key, entry in sorted(runs[0].items()):
        if not entry.get("timing"):
            key = full_key.split("/", 1)[1]
            values = [run[full_key]["value"] for run in runs]
            found.setdefault(entry["source"], {})[key] = interval(values, key.rsplit("/", 1)[1])
    return found


def dump(expected: dict) -> str:
    """Return the ranges as TOML, sorted: one table for each notebook, profile and source."""
    lines = []
    for notebook, profiles in sorted(expected.items()):
        for profile, sources in sorted(profiles.items()):
            for source, ranges in sorted(sources.items()):
                lines.append(f'\n["{notebook}".{profile}.{source}]')
                for key, r in sorted(ranges.items()):
                    span = f"low = {r['low']!r}, high = {r['high']!r}, values = {r['values']!r}"
                    lines.append(f'"{key}" = {{ {span} }}')
    return "\n".join(lines) + "\n"


def record(path: Path, profile: str, seed: int) -> dict:
    """Run one notebook with one seed; return its entries. Exit where it fails."""
    with tempfile.TemporaryDirectory() as build:
        environment = {"VAE_BUILD": build, "VAE_STRICT": "0", "VAE_SEED": str(seed)}
        run = course.run(
            course.read(path), path.parent, course.ENVIRONMENTS[profile] | environment
        )
        entries = evaluation.read_results(
            Path(build) / "results" / profile / f"{path.name[:2]}.json"
        )
    if run.error or not entries:
        sys.exit(f"error: seed {seed}: {run.error or 'no number was recorded'}")
    print(f"seed {seed}: {run.seconds:.0f} s, {len(entries)} numbers", flush=True)
    return entries


def main(arguments: list[str]) -> int:
    """Run, compute, write."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("number")
    parser.add_argument("--profile", choices=("quick", "full"), default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    options = parser.parse_args(arguments)
    if len(set(options.seeds)) < 3:
        parser.error("a range needs three different seeds or more")
    (path,) = course.notebook_paths(options.number)
    found = tables([record(path, options.profile, seed) for seed in options.seeds])
    text = EXPECTED.read_text(encoding="utf-8")
    head = "\n".join(line for line in text.split("\n") if line.startswith("#")) + "\n"
    expected = tomllib.loads(text)
    expected.setdefault(path.name[:2], {})[options.profile] = found
    EXPECTED.write_text(head + dump(expected), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
