"""The settings that come from the environment: every `VAE_*` variable is read here, at each call.

An empty variable counts as one that is not set.
"""

import os
import tempfile
from pathlib import Path

_ABOVE = Path(__file__).resolve().parents[2]
# The checkout, if this file lies in one; None where the course was installed as a package.
ROOT = _ABOVE if (_ABOVE / "pyproject.toml").is_file() and (_ABOVE / "notebooks").is_dir() else None


def profile() -> str:
    """Return the profile, `"lesson"` (what people run) or `"quick"` (tests): `VAE_PROFILE`."""
    name = _read("VAE_PROFILE") or "lesson"
    if name not in ("lesson", "quick"):
        raise ValueError(f"VAE_PROFILE is {name!r}: the profiles are now 'lesson' and 'quick'")
    return name


def is_quick() -> bool:
    """Whether the profile is `"quick"`."""
    return profile() == "quick"


def seed(default: int = 42) -> int:
    """Return the seed of a lesson: `VAE_SEED`, a whole number from 0 to 2**31 - 1."""
    value = _read("VAE_SEED") or str(default)
    if not (value.isascii() and value.isdigit() and int(value) < 2**31):
        raise ValueError(f"VAE_SEED is {value!r}: give a whole number from 0 to 2**31 - 1")
    return int(value)


def use_embedded() -> bool:
    """Whether the samples that ship with the course stand in for the data sets: `VAE_DATA`.

    Without `VAE_DATA` ("embedded" or "real") they do in the profile "quick".
    """
    wanted = _read("VAE_DATA")
    if wanted not in ("", "embedded", "real"):
        raise ValueError(f"VAE_DATA is {wanted!r}: give 'embedded' or 'real', or leave it unset")
    return wanted == "embedded" or (not wanted and is_quick())


def data_dir() -> Path:
    """Return the folder of the data sets' files: `VAE_DATA_DIR`, else `data` in the checkout.

    A relative `VAE_DATA_DIR` starts at the checkout. Where there is no checkout, the default is
    the user's cache: nothing is written beside installed packages.
    """
    folder = _read("VAE_DATA_DIR")
    if folder:
        return (ROOT or Path.cwd()) / Path(folder).expanduser()
    return ROOT / "data" if ROOT else cache_dir()


def data_dir_is_chosen() -> bool:
    """Whether somebody named the folder of the data sets."""
    return bool(_read("VAE_DATA_DIR"))


def cache_dir() -> Path:
    """Return the user's cache folder of this course; it need not exist."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("vae-hands-on"))
    if folder.is_absolute():
        return folder
    return Path(tempfile.gettempdir(), "vae-hands-on")  # a user without a home


def build_dir() -> Path:
    """Return the only folder that lessons write into: `VAE_BUILD`, else `build` in the checkout.

    Where there is no checkout, it lies in the working directory.
    """
    folder = _read("VAE_BUILD")
    if folder:
        return Path(folder).expanduser().resolve()
    return ROOT / "build" if ROOT else Path("build").resolve()


def data_file(*parts: str) -> Path:
    """Return the path of a committed file, such as `data_file("checkpoints", "iaf_60.keras")`.

    It need not exist: an installed package holds only the files that were packed with it.
    """
    folder = ROOT / "data" if ROOT else Path(__file__).with_name("data")
    return folder.joinpath(*parts)


def cifar10_urls() -> list[str]:
    """Return the addresses that take the place of CIFAR-10's mirrors: `VAE_CIFAR10_URL`."""
    return _read("VAE_CIFAR10_URL").split()


def strict() -> bool:
    """Whether a lesson fails where it disagrees with the published run: `VAE_STRICT`."""
    return _is_on("VAE_STRICT")


def recording() -> bool:
    """Whether this run's numbers are to be published: `VAE_RECORD`."""
    return _is_on("VAE_RECORD")


def command() -> str:
    """Return the command to be named beside recorded numbers, or "": `VAE_COMMAND`."""
    return _read("VAE_COMMAND")


def progress() -> bool:
    """Whether long work shows how far it is: `VAE_PROGRESS`, off where that is 0."""
    return _read("VAE_PROGRESS") != "0"


def _read(name: str) -> str:
    """Return a variable of the environment, "" where it is not set."""
    return os.environ.get(name, "")


def _is_on(name: str) -> bool:
    """Whether a variable switches something on: it is set, and not to 0."""
    return _read(name) not in ("", "0")
