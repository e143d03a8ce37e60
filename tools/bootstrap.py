"""Make a runtime ready for the course, which was just fetched into it: Colab, or any other.

The first cell of a notebook that was opened alone runs this. What the runtime ships stays as it is
(Colab has imported some of it already); only what is missing is installed.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = {"jupyter", "ipykernel"}  # a runtime that runs notebooks has its own
NO_TENSORFLOW = (
    "This runtime has no TensorFlow. On Colab choose Runtime > Change runtime type > CPU or GPU "
    "(a TPU runtime has none); elsewhere: pip install tensorflow"
)


def numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def wanted() -> dict[str, str]:
    """Return {package: lowest version, or ""} from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pairs = (requirement.partition(">=")[::2] for requirement in project["dependencies"])
    return {name: low for name, low in pairs if name not in OWN}


def installed() -> dict[str, str]:
    """Return {package: version} of this runtime, names as in pyproject.toml."""
    found = ((dist.metadata["Name"], dist.version) for dist in metadata.distributions())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found if name}


def judge(wanted: dict, installed: dict) -> tuple[list[str], list[str]]:
    """Return what to install, and a line for each package that is older than what was tested.

    Raises
    ------
    RuntimeError
        There is no TensorFlow: a runtime is to be chosen that has one.
    """
    if "tensorflow" not in installed:
        raise RuntimeError(NO_TENSORFLOW)
    missing = [name for name in wanted if name not in installed]
    old = [
        f"{name} {installed[name]} is older than {low}, the oldest tested: choose a newer runtime"
        for name, low in wanted.items()
        if name in installed and numbers(installed[name]) < numbers(low)
    ]
    return missing, old


def install(missing: list[str], installed: dict) -> None:
    """Install what is missing, and nothing that would move a package that is there."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.writelines(f"{name}=={version}\n" for name, version in installed.items())
        pins.flush()
        pip = [sys.executable, "-m", "pip", "install", "-q", "-c", pins.name, *missing]
        subprocess.run(pip, check=True)


def main() -> None:
    """Check, install what is missing, and make `helpers` importable."""
    there = installed()
    missing, old = judge(wanted(), there)
    print("\n".join(old), end="\n" if old else "")
    if missing:
        print(f"installing {', '.join(missing)}")
        install(missing, there)
    sys.path.insert(0, str(ROOT))
    print(f"The course is in {ROOT.name}/, next to this notebook.")


if __name__ == "__main__":
    main()
