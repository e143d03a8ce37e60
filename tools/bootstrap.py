"""Make a runtime ready for the course, which was just fetched into it: Colab, or any other.

The first cell of a notebook that was opened alone runs this. What the runtime ships stays as it is
(Colab has imported some of it already); only what is missing is installed.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
OWN = {"jupyter", "ipykernel"}  # a runtime that runs notebooks has its own
NO_TENSORFLOW = (
    "This runtime has no TensorFlow. On Colab choose Runtime > Change runtime type > CPU or GPU "
    "(a TPU runtime has none); elsewhere: pip install tensorflow"
)
NO_GPU = (
    "This runtime has no GPU, and the lessons need none. Runtime > Change runtime type > T4 GPU "
    "gives it one."
)


def wanted() -> list[Requirement]:
    """Return what pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [Requirement(text) for text in project["dependencies"]]
    return [requirement for requirement in requirements if requirement.name not in OWN]


def installed() -> dict[str, str]:
    """Return {package: version} of this runtime."""
    found = ((dist.metadata["Name"], dist.version) for dist in metadata.distributions())
    return {canonicalize_name(name): version for name, version in found if name}


def judge(wanted: list[Requirement], installed: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return what to install, and a line for each package that is older than what was tested.

    Raises
    ------
    RuntimeError
        There is no TensorFlow: a runtime is to be chosen that has one.
    """
    if "tensorflow" not in installed:
        raise RuntimeError(NO_TENSORFLOW)
    missing, old = [], []
    for requirement in wanted:
        version = installed.get(canonicalize_name(requirement.name))
        if version is None:
            missing.append(requirement.name)
        elif not requirement.specifier.contains(Version(version), prereleases=True):
            tested = f"{requirement.name} {version} is not {requirement.specifier}, which is tested"
            old.append(f"{tested}: choose a newer runtime")
    return missing, old


def install(missing: list[str], installed: dict[str, str]) -> None:
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
    for line in old:
        print(line)
    if missing:
        print(f"installing {', '.join(missing)}")
        install(missing, there)
    if "google.colab" in sys.modules and not shutil.which("nvidia-smi"):
        print(NO_GPU)
    sys.path.insert(0, str(ROOT))
    print(f"The course is in {ROOT.name}/, next to this notebook.")


if __name__ == "__main__":
    main()
