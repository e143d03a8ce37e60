"""Recorded numbers and models: what the studies measured and trained, and how to repeat it.

The numbers lie in ``data/results.json``, the models in ``data/checkpoints/``, both in a checkout of
the course. An installed package brings neither, and nothing is written beside it.
"""

import functools
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
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from helpers.course import settings
from helpers.course.checks import check_seed, shown
from helpers.course.files import write_whole

if TYPE_CHECKING:  # a run that only reads or writes numbers loads neither Keras nor a data set
    from helpers.course.datasets import ImageDataset
    from helpers.vae import VAE

PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")
NO_CHECKOUT = "lie in a checkout of the course; this one is an installed package without them"


# --- What a number needs to be repeated ----------------------------------------------------------


def provenance() -> dict[str, Any]:
    """Return command, commit, versions and machine of this run; never a path or the host's name."""
    return {
        "command": settings.command() or _command(),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "machine": _machine(),
    }


def _command() -> str:
    """Return the command of a script of this project; "interactive" for everything else.

    A kernel's own command holds paths of the machine, and would repeat nothing.
    """
    script = Path(sys.argv[0]).resolve()
    if settings.ROOT is None or not script.is_relative_to(settings.ROOT / "tools"):
        return "interactive"
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    return shlex.join(["python", script.relative_to(settings.ROOT).as_posix(), *arguments])


def _commit() -> str:
    """Return the short name of the commit, with "+" where the code differs from it."""
    name = _git("rev-parse", "--short", "HEAD")
    if not name:
        return "unknown"
    # A study writes into data/ as it goes; that does not change what it runs.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)data")
    return f"{name}+" if changed else name


def _git(*arguments: str) -> str:
    """Return what git says of the checkout; "" without a checkout, git or a repository."""
    if settings.ROOT is None:
        return ""
    command = ["git", "-C", str(settings.ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _machine() -> str:
    """Return the processor, the cores that this process may use, and the GPUs if there are any."""
    try:
        models = re.findall("model name.*?: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:  # not Linux
        models = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    named = "1 core" if cores == 1 else f"{cores} cores"
    parts = [models[0] if models else platform.machine(), named]
    if tensorflow := sys.modules.get("tensorflow"):
        for gpu in tensorflow.config.list_physical_devices("GPU"):
            details = tensorflow.config.experimental.get_device_details(gpu)
            parts.append(details.get("device_name", "GPU"))
    return ", ".join(parts)


# --- Files of numbers ----------------------------------------------------------------------------


def read_results(path: Path | None = None) -> dict[str, dict]:
    """Return the entries of a file of results, by default ``data/results.json``; {} without it."""
    path = path or settings.data_file("results.json")
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not a file of results: {error}") from error


def write_results(path: Path, entries: dict[str, dict]) -> None:
    """Write a file of results: sorted, one entry a line, so that a change is seen line by line."""
    lines = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in sorted(entries.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def merge_results(path: Path, entries: dict[str, dict]) -> None:
    """Add entries to a file of results, in place of those of the same keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):  # studies may run side by side
        write_results(path, read_results(path) | entries)


class Results:
    """The numbers that a study measures, by name, with what is needed to repeat them.

    They go to ``data/results.json`` under ``VAE_RECORD=1``, else to ``build/results/<lesson>.json``
    (``VAE_BUILD`` names another folder than build), or nowhere, where that cannot be written.

    Parameters
    ----------
    lesson : str
        The lesson that shows the numbers, "02": the first part of their keys.
    dataset : ImageDataset, optional
        What the numbers depend on.
    """

    def __init__(self, lesson: str, dataset: "ImageDataset | None" = None) -> None:
        if settings.recording() and settings.ROOT is None:
            raise ValueError(f"VAE_RECORD is set, but recorded numbers {NO_CHECKOUT}")
        self.lesson, self.dataset = lesson, dataset
        self.entries: dict[str, dict] = {}
        self.run = provenance()
        self._told = False

    def record(
        self, key: str, value: float, *, seed: int, seconds: float | None = None, **extra: object
    ) -> None:
        """Record a number.

        Parameters
        ----------
        key : str
            "<data>/<protocol>/<model>/<metric>".
        value : float
            Finite.
        seed : int
        seconds : float, optional
            What it took to train the model.
        **extra
            Facts beside the number. ``timing=True``: it depends on the machine and is not compared.
            ``headline=True``: it stands in the README. ``unit``; ``samples`` and ``test_images`` of
            a score; ``dataset``: an ImageDataset other than the study's.

        Raises
        ------
        ValueError
            The key has other than four parts, or the value is not finite.
        """
        parts = str(key).split("/")
        if len(parts) != 4 or not all(part.strip() for part in parts):
            raise ValueError(f"{shown(key)} is not <data>/<protocol>/<model>/<metric>")
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}: only finite numbers can be recorded")
        check_seed(seed=seed)
        dataset = extra.pop("dataset", self.dataset)
        self.entries[f"{self.lesson}/{key}"] = {
            "value": float(f"{value:.7g}"),
            "seed": int(seed),
            "seconds": seconds,
            "source": data_source(dataset),
            **extra,
            **self.run,
        }
        if settings.recording():
            merge_results(settings.data_file("results.json"), self.entries)
        else:
            self._keep()

    def _keep(self) -> None:
        """Write the numbers under build/; say once, and go on, where that cannot be done."""
        path = settings.build_dir() / "results" / f"{self.lesson}.json"
        try:
            write_results(path, self.entries)
        except OSError as error:
            if not self._told:
                print(f"The numbers are not kept ({error.strerror}): set VAE_BUILD to a folder.")
            self._told = True


def data_source(dataset: "ImageDataset | None") -> str:
    """Return "official", the name of other data, or "none" for a number that depends on no data."""
    if dataset is None:
        return "none"
    return "official" if dataset.official else dataset.display_name


# --- Recorded numbers and models, as lessons show them -------------------------------------------


def recorded_number(key: str, field: str = "value") -> float:
    """Return a recorded number, or a fact beside it: its "seconds", "seed", "epochs", …

    Without ``data/results.json`` it is NaN, and one sentence says so.

    Parameters
    ----------
    key : str
        "<lesson>/<data>/<protocol>/<model>/<metric>", as in ``data/results.json``.
    field : str

    Raises
    ------
    KeyError
        There is no such number, or no such fact beside it.
    """
    recorded = read_results()
    if not recorded:
        _say_once(f"Recorded numbers {NO_CHECKOUT}: nan stands for them.")
        return math.nan
    if key not in recorded:
        raise KeyError(f"{key} is not recorded in results.json")
    if field not in recorded[key]:
        raise KeyError(f"{field!r} is not recorded of {key}, but {', '.join(recorded[key])}")
    return recorded[key][field]


def load_recorded_model(name: str) -> "VAE | None":
    """Load the recorded model of this name, such as "iaf_60", or return None where it is missing.

    One printed sentence says what it is, or why it is missing.

    Parameters
    ----------
    name : str
        The file is ``data/checkpoints/<name>.keras``.

    Raises
    ------
    ValueError
        The file's SHA-256 is not on record. Both stand in one repository, so that this finds a
        damaged or a forgotten file, not a forged one; what keeps a model file from running code of
        its own is Keras' safe mode.
    """
    path = settings.data_file("checkpoints", f"{name}.keras")
    if not path.exists():
        where = f"there is no file {path.name}"
        if settings.ROOT is None:
            where = f"recorded models {NO_CHECKOUT}"
        print(f"No model {name}: {where}. This part is skipped.")
        return None
    digest, recorded = hashlib.sha256(path.read_bytes()).hexdigest(), read_results()
    keys = [key for key, entry in recorded.items() if entry.get("sha256") == digest]
    if not keys:
        raise ValueError(f"{path.name} is not the recorded file: its SHA-256 is {digest}")
    import keras

    from helpers.vae import VAE

    model = keras.saving.load_model(path, custom_objects={"VAE": VAE}, safe_mode=True)
    _print_facts(name, recorded.get(keys[0].removesuffix("_200"), {}))
    return model


def _print_facts(name: str, entry: dict) -> None:
    """Say how a recorded model was trained, as far as its score's entry tells."""
    facts = []
    if "epochs" in entry:
        facts.append(f"{entry['epochs']} epochs of {entry['images']:,} images")
    if entry.get("seconds"):
        facts.append(f"{entry['seconds'] / 60:.0f} minutes on {entry['machine']}")
    if "weights" in entry:
        facts.append(f"{entry['weights']:,} weights")
    print(f"Recorded model {name}: {', '.join(facts) or 'no facts beside it'}.")


@functools.cache
def _say_once(sentence: str) -> None:
    """Print a sentence the first time."""
    print(sentence)
