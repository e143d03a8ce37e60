"""The files around the code: what they promise holds."""

import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

import course

ROOT = course.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _name(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


def test_environment_yml_installs_this_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    *conda, pip = environment["dependencies"]
    assert [_name(package) for package in conda] == ["python", "pip"]
    assert pip == {"pip": ["-e ."]}  # the dependencies stand in pyproject.toml alone
    assert conda[0] == "python" + PROJECT["requires-python"]


@pytest.mark.parametrize("name", ["oldest", "colab", "newest"])
def test_constraints_pin_every_dependency(name):
    text = (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pinned = {_name(line.split("==")[0]) for line in lines if "==" in line}
    assert len(pinned) == len(lines), "every line pins one package, once"
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert {_name(package) for package in wanted} - {"setuptools"} <= pinned


def test_lower_bounds_admit_what_is_supported():
    assert "tensorflow>=2.18" in PROJECT["dependencies"]
    assert "tensorflow-probability>=0.25" in PROJECT["dependencies"]
    assert not any("<" in package for package in PROJECT["dependencies"])


def test_ci_runs_every_set_and_weekly_without_pins():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    triggers = workflow[True]  # YAML reads the key `on` as true
    assert triggers["schedule"] and {"push", "pull_request"} <= triggers.keys()
    assert all(f"constraints/{name}.txt" in text for name in ("oldest", "colab", "newest"))
    assert ".ci/run" in text
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make lint test e2e" in script.read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def _dry(*arguments, folder=ROOT):
    done = subprocess.run(["make", "-n", *arguments], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def bare(tmp_path):
    """The Makefile and what it depends on, without an environment."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "constraints", tmp_path / "constraints")
    return tmp_path


TARGETS = "run test e2e lab execute lint agree student links site verify-results".split()


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_creates_its_environment(bare, target):
    for constraints, venv in {
        "constraints/newest.txt": ".venv", "constraints/oldest.txt": ".venv-oldest",
        "": ".venv-unpinned",
    }.items():  # fmt: skip
        code, text = _dry(target, f"CONSTRAINTS={constraints}", folder=bare)
        assert code == 0 and f"-m venv {venv} " in text, text
        assert (f" -c {constraints} -e" in text) if constraints else (" -c con" not in text)
        assert len(set(re.findall(r"\.venv[\w-]*(?=/)", text))) == 1


def test_a_python_that_does_not_do_is_refused(bare):
    make = ["make", "PYTHON=python-of-another-age", "venv"]
    done = subprocess.run(make, cwd=bare, capture_output=True, text=True)
    assert done.returncode != 0 and "no Python 3.11, 3.12 or 3.13 found" in done.stderr
    assert "make PYTHON=" in done.stderr and not (bare / ".venv").exists()


def test_helpers_stay_smaller_than_the_lessons():
    lines = [
        line for path in (ROOT / "helpers").glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]  # fmt: skip
    assert len(lines) <= 1700


def test_nothing_else_stands_at_the_top():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    top = {name.split("/")[0] for name in tracked if name and not name.startswith(".")}
    assert top <= {
        "README.md", "environment.yml", "pyproject.toml", "Makefile", "notebooks", "helpers",
        "data", "tests", "tools", "constraints", "LICENSE", "CITATION.cff", "CONTRIBUTING.md",
        "CHANGELOG.md",
    }  # fmt: skip
