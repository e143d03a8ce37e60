"""Publish the numbers and claims of a lesson from measured runs, or run recorded studies again.

`publish` runs a lesson with several seeds, and with the first of them again for each other number
of threads. data/published.toml then holds, for each number,

value      of the first run: the lesson's own seed, 42
tolerance  SAFETY times the largest difference that threads made to that value, and at least the
           floor of its kind: other processors round otherwise
low, high  for other seeds, versions and GPUs: mean ± DEVIATIONS standard deviations of the seeds,
           and at least ± the tolerance and ± the floor of its kind for other versions: they move
           what no seed moves, such as a point of 300 from one neighbour to the next
values     of all runs, in their order, so that a test can compute the rest again

In the lesson profile every claim must hold in every run, or nothing is published.

`verify` runs the commands that data/results.json records for keys which hold KEY, without a limit
of seconds, and compares. It changes nothing: the reruns write under build/verify/.

usage: published.py publish NUMBER [--profile lesson|quick] [--seeds 42 43 44] [--threads 2 1]
       published.py verify [KEY] [--tolerance 0.002]
"""

import argparse
import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

import course

SEED = 42  # the published one
SAFETY, DEVIATIONS = 4, 4
STUDIES = "tools/studies"


# --- What a metric can be ------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What is known of a metric by a word in its name.

    `low` and `high` are its possible values. The tolerance is at least `floor`, and at least
    `relative_floor` times the value; half of the range is at least `wider` times that.
    """

    words: frozenset[str]
    low: float = -math.inf
    high: float = math.inf
    floor: float = 1e-6
    relative_floor: float = 1e-4  # two machines differed by 2.3e-5 at most
    wider: float = 4.0
    is_difference: bool = False

    def least_tolerance(self, value: float) -> float:
        """Return the tolerance of a value that no thread moved."""
        return max(self.relative_floor * abs(value), self.floor)

    def is_too_wide(self, mean: float, half: float) -> bool:
        """Say whether a range of mean ± half is too wide to see a mistake."""
        if self.is_difference or half <= self.wider * self.least_tolerance(mean):
            return False
        if math.isfinite(self.low) and math.isfinite(self.high):
            return half > (self.high - self.low) / 4
        return half > 0.5 * abs(mean)


DIFFERENCE = Kind(
    frozenset({"cost", "difference", "gain", "gap"}),
    relative_floor=1e-2,  # what is left of two larger numbers
    is_difference=True,
)
SHARE = Kind(
    frozenset("accuracy auc auroc knn precision probe recall share ssim trustworthiness".split()),
    low=0.0,
    high=1.0,
    floor=2e-3,  # two images of a thousand
)
CORRELATION = Kind(frozenset({"correlation", "silhouette"}), low=-1.0, high=1.0, floor=1e-3)
COUNT = Kind(frozenset({"count", "units"}), low=0.0, floor=1.0, wider=1.0)
AMOUNT = Kind(
    frozenset("bits distance entropy error kl mse norm rank std variance".split()), low=0.0
)
OTHER = Kind(frozenset())
KINDS = (DIFFERENCE, SHARE, CORRELATION, COUNT, AMOUNT)


def kind_of(key: str) -> Kind:
    """Return the kind of the number of this name."""
    words = set(key.rsplit("/", 1)[-1].split("_"))
    return next((kind for kind in KINDS if kind.words & words), OTHER)


# --- From runs to what is published --------------------------------------------------------------


def rounded(value: float) -> float:
    """Return a value with the seven digits that single precision holds."""
    return float(f"{value:.7g}")


def measured(key: str, data: str, values: list[float], runs: list[dict]) -> dict:
    """Return the entry of one number from its value in each run.

    The first run has the published seed and sets the value. The others with that seed have other
    numbers of threads and set the tolerance. The runs with as many threads as the first, one for
    each seed, set the range.

    Raises
    ------
    ValueError
        There are fewer than three seeds, or the range is so wide that it would see no mistake.
    """
    value, kind = values[0], kind_of(key)
    first, pairs = runs[0], list(zip(values, runs, strict=True))
    same_seed = [v for v, run in pairs if run["seed"] == first["seed"]]
    like_first = [v for v, run in pairs if run["threads"] == first["threads"]]
    if len(like_first) < 3:
        raise ValueError(f"{key}: {len(like_first)} seeds; a range needs three or more")
    difference = max(abs(v - value) for v in same_seed)
    tolerance = max(SAFETY * difference, kind.least_tolerance(value))
    mean = statistics.fmean(like_first)
    least = kind.wider * kind.least_tolerance(mean)
    half = max(DEVIATIONS * statistics.stdev(like_first), tolerance, least)
    if kind.is_too_wide(mean, half):
        raise ValueError(f"{key}: {mean:.5g} ± {half:.3g} for other seeds would see no mistake")
    return {
        "value": rounded(value),
        "tolerance": rounded(tolerance),
        "low": rounded(max(kind.low, mean - half)),
        "high": rounded(min(kind.high, mean + half)),
        "data": data,
        "values": [rounded(v) for v in values],
    }


def combined(runs: list[dict], kept: list[dict], judge_claims: bool) -> dict:
    """Return what is published of a lesson and profile, from what its runs kept.

    Raises
    ------
    ValueError
        The runs gave different numbers, or a claim failed, or a number cannot be published.
    """
    names = [{key: number["data"] for key, number in run["numbers"].items()} for run in kept]
    problems = []
    for run, found in zip(runs[1:], names[1:], strict=True):
        for key, data in sorted(found.items() ^ names[0].items()):
            problems.append(f"seed {run['seed']}: not every run gives {key} on {data or 'no data'}")
    if judge_claims:
        for run, told in zip(runs, kept, strict=True):
            false = [name for name, holds in told["claims"].items() if not holds]
            problems += [
                f"seed {run['seed']}, {run['threads']} threads: {n} is false" for n in false
            ]
    numbers = {}
    for key, data in sorted(names[0].items()) if not problems else ():
        try:
            values = [run["numbers"][key]["value"] for run in kept]
            numbers[key] = measured(key, data, values, runs)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return {"claims": sorted(kept[0]["claims"]), "runs": runs, "numbers": numbers}


def dump(published: dict) -> str:
    """Return what is published as TOML: a run a line, a number a line."""
    lines = [
        "# The numbers and claims of each lesson and profile, with the runs that they come from.",
        "# Written by tools/published.py, which says what the columns mean; do not edit by hand.",
    ]
    for number, profiles in sorted(published.items()):
        for profile, entry in sorted(profiles.items()):
            lines += ["", f'["{number}".{profile}]']
            lines += [f"claims = {_toml(entry['claims'])}"]
            lines += ["runs = [", *[f"  {_toml(run)}," for run in entry["runs"]], "]"]
            lines += [f'["{number}".{profile}.numbers]']
            lines += [f"{_toml(key)} = {_toml(n)}" for key, n in entry["numbers"].items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        pairs = [f"{_toml_key(name)} = {_toml(part)}" for name, part in value.items()]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False)  # the same as TOML for text and numbers


def _toml_key(name: str) -> str:
    """Return a name as a key of TOML, in quotes if it needs them."""
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)


# --- publish -------------------------------------------------------------------------------------


def threads_environment(threads: int) -> dict[str, str]:
    """Return the variables that limit TensorFlow, scikit-learn and NumPy to some threads."""
    names = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def run_lesson(path: Path, profile: str, seed: int, threads: int) -> tuple[dict, dict]:
    """Run a lesson; return the facts of the run and what it kept. Exit where it fails."""
    from helpers.course import records  # it takes TensorFlow with it

    number = path.name[:2]
    with tempfile.TemporaryDirectory() as build:
        environment = {"VAE_BUILD": build, "VAE_STRICT": "", "VAE_SEED": str(seed)}
        environment |= threads_environment(threads)
        print(f"lesson {number}, seed {seed}, {threads} threads …", end=" ", flush=True)
        run = course.run(course.read(path), path.parent, course.ENVIRONMENTS[profile] | environment)
        kept = Path(build) / "lessons" / profile / f"{number}.json"
        if run.error or not kept.exists():
            sys.exit(f"error: {run.error or 'the lesson does not call lesson.close()'}")
        told = json.loads(kept.read_text(encoding="utf-8"))
    print(f"{run.seconds:.0f} s, {len(told['numbers'])} numbers", flush=True)
    facts = records.provenance()
    wanted = {name: facts[name] for name in ("commit", "machine", "versions")}
    return {"seed": seed, "threads": threads, "seconds": round(run.seconds)} | wanted, told


def publish(options: argparse.Namespace, target: Path = course.PUBLISHED) -> int:
    """Run, compute, write; return the exit code."""
    (path,) = course.notebook_paths(options.number)
    number, profile = path.name[:2], options.profile
    runs, kept = [], []
    wanted = [(seed, options.threads[0]) for seed in options.seeds]
    wanted += [(SEED, threads) for threads in options.threads[1:]]
    for seed, threads in wanted:
        run, told = run_lesson(path, profile, seed, threads)
        runs, kept = [*runs, run], [*kept, told]
    try:
        entry = combined(runs, kept, judge_claims=profile == "lesson")
    except ValueError as error:
        sys.exit(f"error: nothing is published:\n{error}")
    # Read again under the lock: another lesson may have been published since.
    with FileLock(target.with_name(f".{target.name}.lock")):
        published = course.read_published(target)
        published.setdefault(number, {})[profile] = entry
        part = target.with_suffix(".part")
        part.write_text(dump(published), encoding="utf-8")
        part.replace(target)
    print(f"{len(entry['numbers'])} numbers and {len(entry['claims'])} claims of {len(runs)} runs")
    return 0


# --- verify --------------------------------------------------------------------------------------


def study_command(command: str) -> list[str]:
    """Return a recorded command as arguments for Python; only studies of this project are run.

    Raises
    ------
    ValueError
        It is anything else: data must not say what a shell runs.
    """
    parts = shlex.split(command)
    known = [f"{STUDIES}/{path.name}" for path in (course.ROOT / STUDIES).glob("*.py")]
    if len(parts) < 2 or parts[0] != "python" or parts[1] not in known:
        raise ValueError(f"{command!r} is no study: python {STUDIES}/NAME.py …")
    return parts[1:]


def rerun(arguments: list[str], folder: Path) -> dict:
    """Run a study with its numbers going under folder; return them."""
    shutil.rmtree(folder, ignore_errors=True)
    environment = os.environ | {"VAE_RECORD": "", "VAE_BUILD": str(folder)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=course.ROOT, env=environment, check=False)
    if done.returncode:
        print(f"FAILED with exit code {done.returncode}")
    entries = {}
    for path in sorted(folder.glob("results/**/*.json")):
        entries |= course.read_results(path)
    return entries


def verdict(entry: dict, value: float | None, tolerance: float) -> tuple[str, bool]:
    """Return what to say of a recorded number and its rerun, and whether it is wrong."""
    if value is None:
        return "MISSING", True
    if entry.get("timing"):
        return "not compared (it depends on the machine's speed)", False
    slack = max(tolerance * abs(entry["value"]), 4 * entry.get("monte_carlo_error", 0.0))
    if abs(value - entry["value"]) <= slack:
        return f"agrees (± {slack:.3g})", False
    return f"DISAGREES (± {slack:.3g})", True


def verify(options: argparse.Namespace) -> int:
    """Run studies again and compare; return 1 where a number disagrees or is not there."""
    recorded = course.read_results()
    chosen = {key: entry for key, entry in recorded.items() if options.key in key}
    if not chosen:
        sys.exit(f"error: no recorded key contains {options.key!r} ({len(recorded)} recorded)")
    wrong = 0
    for command in sorted({entry["command"] for entry in chosen.values()}):
        try:
            arguments = study_command(command)
        except ValueError as error:
            sys.exit(f"error: {error}")
        arguments.append("--recorded-epochs")  # every study takes it: no limit of seconds
        mine = {key: entry for key, entry in chosen.items() if entry["command"] == command}
        print(f"$ {shlex.join(['python', *arguments])}", flush=True)
        found = rerun(arguments, course.build_dir() / "verify")
        for key, entry in mine.items():
            value = found.get(key, {}).get("value")
            told, is_wrong = verdict(entry, value, options.tolerance)
            print(f"  {key}: recorded {entry['value']:g}, now {value}: {told}")
            wrong += is_wrong
    print(f"{len(chosen)} numbers, {wrong} wrong")
    return 1 if wrong else 0


def main(arguments: list[str]) -> int:
    """Publish or verify; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    actions = parser.add_subparsers(dest="action", required=True)
    action = actions.add_parser("publish")
    action.add_argument("number")
    action.add_argument("--profile", choices=tuple(course.ENVIRONMENTS), default="lesson")
    action.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    action.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    action = actions.add_parser("verify")
    action.add_argument("key", nargs="?", default="")
    action.add_argument("--tolerance", type=float, default=0.002)
    options = parser.parse_args(arguments)
    if options.action == "verify":
        return verify(options)
    if options.seeds[0] != SEED or len(set(options.seeds)) < 3:
        parser.error(f"give three different seeds or more, {SEED} first")
    return publish(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
