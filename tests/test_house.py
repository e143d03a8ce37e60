"""The files around the code: what they promise holds."""

import ast
import datetime
import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

import course
import hygiene

ROOT = course.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# A module imports from those before it only. Its exercises come last: they check what is taught.
ORDER = (
    "course.settings course.checks course.progress course.files course.style course.tables "
    "course.datasets course.own_images course.facts data shards networks flows likelihoods priors "
    "bounds scaling vae course.runs cluster training evaluation clinic transformer plots "
    "course.records course.widgets course.lesson course.exercises"
).split()


def _name(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


# --- helpers -------------------------------------------------------------------------------------


def modules():
    """Return {name below helpers: path}; packages without their __init__."""
    folder = ROOT / "helpers"
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if name not in ("__init__", "course"):
            found[name] = path
    return found


def imported(path):
    """Return the names below helpers that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("helpers.") for name in found if name.startswith("helpers.")}


def place(name):
    """Return where a module, or a name in one, stands in the order; None for a package."""
    fits = [known for known in ORDER if f"{name}.".startswith(f"{known}.")]
    return ORDER.index(fits[0]) if fits else None


def upward(name, path):
    """Return the imports of a module that go to a later one."""
    return [other for other in sorted(imported(path)) if (place(other) or 0) > place(name)]


def test_imports_go_to_earlier_modules_only(tmp_path):
    found = modules()
    assert set(ORDER) <= set(found) and all(place(name) is not None for name in found)
    assert {name: upward(name, path) for name, path in found.items() if upward(name, path)} == {}
    (tmp_path / "data.py").write_text("from helpers import vae\nimport helpers.flows\n", "utf-8")
    assert upward("data", tmp_path / "data.py") == ["flows", "vae"]


def reads_environment(path):
    """Say whether a module looks at the variables of the environment."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return any(getattr(node, "attr", "") in ("environ", "getenv") for node in nodes)


def test_settings_alone_reads_the_variables():
    """The course's own; `cluster` reads TF_CONFIG, and gives its workers their variables."""
    readers = {name for name, path in modules().items() if reads_environment(path)}
    assert readers == {"course.settings", "cluster"}
    assert "VAE_" not in modules()["cluster"].read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["helpers", "tools"])
def test_every_function_fits_a_screen(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    found = {path.name: hygiene.long_functions(path) for path in paths}
    assert {name: lines for name, lines in found.items() if lines} == {}


# --- Versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["oldest", "colab", "newest"])
def test_constraints_pin_every_dependency(name):
    text = (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pinned = {_name(line.split("==")[0]) for line in lines if "==" in line}
    assert len(pinned) == len(lines), "every line pins one package, once"
    wanted = sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])
    assert {_name(package) for package in wanted} - {"setuptools"} <= pinned


def test_nothing_is_kept_from_upgrading():
    assert not any("<" in package for package in PROJECT["dependencies"])


def test_conda_users_get_what_the_tests_need():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert [_name(package) for package in conda] == ["python", "pip"]
    assert conda[0] == "python" + PROJECT["requires-python"]
    (editable,) = pip["pip"]
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", editable)[1].split(",")
    assert set(extras) == set(PROJECT["optional-dependencies"])
    packages = [name for extra in extras for name in PROJECT["optional-dependencies"][extra]]
    assert "nbval" in map(_name, packages)


def test_the_citation_and_the_changelog_name_the_version_and_its_day():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    day = citation["date-released"]
    assert datetime.date.fromisoformat(day).isoformat() == day
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## \[(.+)\] - (\S+)$", changes, re.MULTILINE)
    assert latest.groups() == (PROJECT["version"], day)


# --- Variables -----------------------------------------------------------------------------------


def test_every_variable_stands_in_a_table():
    settings = (ROOT / "helpers" / "course" / "settings.py").read_text(encoding="utf-8")
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    rows = re.findall(r"^\| `(VAE_\w+)` \|", text, flags=re.MULTILINE)
    assert set(rows) == set(re.findall(r"VAE_\w+", settings))


# --- CI ------------------------------------------------------------------------------------------


def _steps():
    """Yield every step of every job of the workflows."""
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            yield from job["steps"]


def test_every_action_is_pinned_by_its_commit():
    used = [step["uses"] for step in _steps() if "uses" in step]
    assert used and [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []


def test_ci_tests_every_set_and_opens_a_browser_once():
    (workflow,) = [
        yaml.safe_load(path.read_text("utf-8")) for path in WORKFLOWS if path.stem == "ci"
    ]
    jobs = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    sets = {job["constraints"] for job in jobs}
    assert sets == {f"constraints/{path.name}" for path in (ROOT / "constraints").iterdir()}
    assert all("test" in job["targets"].split() for job in jobs)
    assert ["e2e" in job["targets"].split() for job in jobs].count(True) == 1
    assert workflow["concurrency"]["cancel-in-progress"] is True


def _fake_make(folder):
    """Put a make that says what it was asked for first on the path."""
    make = folder / "make"
    make.write_text('#!/bin/sh\necho "make $*"\n', encoding="utf-8")
    make.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "VAE_DATA_DIR": str(folder)}


def test_ci_run_makes_what_it_is_told_and_all_by_default(tmp_path):
    environment = _fake_make(tmp_path)
    for name in ("chromedriver", "apt-get"):
        shutil.copy(tmp_path / "make", tmp_path / name)
    asked = []
    for targets in ("", "lint test"):
        done = subprocess.run(
            [ROOT / ".ci" / "run"], env=environment | {"TARGETS": targets}, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        asked.append(done.stdout.decode().strip())
    assert asked == ["make lint agree test e2e", "make lint test"]


def test_the_hooks_call_targets_that_there_are():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0][
        "hooks"
    ]
    for hook in hooks:
        _, target, *_ = hook["entry"].split()
        assert target in TARGETS
    for name in re.findall(r"tests/\w+\.py", json.dumps(hooks)):
        assert (ROOT / name).exists()


# --- Makefile ------------------------------------------------------------------------------------

TARGETS = (
    "run test test-unit test-notebooks e2e lab execute lessons publish-values generate agree lint "
    "student figures links site verify-results"
).split()


@pytest.fixture
def bare(tmp_path):
    """The Makefile and what it depends on, without an environment, in a folder with a space."""
    folder = tmp_path / "my course"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "constraints", folder / "constraints")
    (folder / "notebooks").mkdir()
    return folder


def _make(folder, *arguments):
    """Run make; return (exit code, what it says)."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_creates_its_environment(bare, target):
    for constraints, venv in {
        "constraints/newest.txt": ".venv",
        "constraints/oldest.txt": ".venv-oldest",
        "": ".venv-unpinned",
    }.items():
        code, text = _make(bare, "-n", target, f"CONSTRAINTS={constraints}")
        assert code == 0 and f"-m venv {venv} " in text, text
        assert (f" -c {constraints} -e" in text) if constraints else (" -c con" not in text)
        assert len(set(re.findall(r"\.venv[\w-]*(?=/)", text))) == 1


def test_every_target_works_in_a_folder_with_a_space(bare):
    python = bare / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (bare / ".venv" / ".installed").touch()
    python.write_text('#!/bin/sh\necho "in $(basename "$PWD"): $*"\n', encoding="utf-8")
    python.chmod(0o755)
    for target in TARGETS:
        code, text = _make(bare, target)
        assert code == 0 and "in " in text, text
    assert "in notebooks: -m jupyterlab" in _make(bare, "lab")[1]
    assert "in my course: tools/generate.py --address a/b" in _make(bare, "links", "REPO=a/b")[1]
    assert "--address" not in _make(bare, "links")[1], "the address stays"


def test_clean_leaves_the_environments_and_what_is_not_its_own(bare):
    for name in ("build", "tools/__pycache__", "notebooks/my notes/.ipynb_checkpoints", ".venv"):
        (bare / name).mkdir(parents=True)
    for name in ("helpers", "tests"):
        (bare / name).mkdir()
    code, text = _make(bare, "clean")
    assert code == 0, text
    assert not (bare / "build").exists() and not (bare / "tools" / "__pycache__").exists()
    assert list((bare / "notebooks" / "my notes").iterdir()) == [] and (bare / ".venv").exists()


def test_a_python_that_does_not_do_is_refused(bare):
    code, text = _make(bare, "PYTHON=python of another age", "venv")
    assert code != 0 and "no Python 3.11, 3.12 or 3.13 found" in text
    assert "make PYTHON=" in text and not (bare / ".venv").exists()


def test_nothing_else_stands_at_the_top():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    top = {name.split("/")[0] for name in tracked if name and not name.startswith(".")}
    folders = {"notebooks", "helpers", "data", "tests", "tools", "constraints"}
    files = {"README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert top <= folders | files | {"environment.yml", "pyproject.toml", "Makefile"}
