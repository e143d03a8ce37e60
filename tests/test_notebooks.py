"""The committed notebooks: as they must look, and able to fail."""

import os
import subprocess
import sys

import nbformat
import pytest

import course
import fake_notebook
import hygiene

LESSONS = course.notebook_paths()
NOTEBOOKS = course.notebook_paths(solutions=True)


def each(paths):
    """Return a decorator that runs a test for every path, named by it."""
    return pytest.mark.parametrize("path", paths, ids=[path.stem for path in paths])


def number(path):
    """Return the number of a notebook."""
    return path.name[:2]


@each(NOTEBOOKS)
def test_hygiene(path):
    assert hygiene.problems_of(path) == []


@each(LESSONS)
def test_every_lesson_has_solutions(path):
    assert (path.parent / "solutions" / f"{number(path)}_solutions.ipynb").exists()


def test_numbers_are_in_a_row():
    assert [number(path) for path in LESSONS] == [f"{n:02}" for n in range(1, len(LESSONS) + 1)]
    stray = set((course.NOTEBOOKS / "solutions").glob("*.ipynb")) - set(NOTEBOOKS)
    assert not stray, "solutions to no lesson"


# --- A changed output ----------------------------------------------------------------------------


def nbval(nb, folder):
    """Run nbval as `make test` does, on nb alone in folder; return (exit code, report)."""
    nbformat.write(nb, folder / "nb.ipynb")
    conftest = (course.NOTEBOOKS / "conftest.py").read_text(encoding="utf-8")
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "nb.ipynb"]
    environment = os.environ | course.QUICK | {"VAE_BUILD": str(folder / "build")}
    command += ["-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout


def first_checked(nb):
    """Return nb up to its first cell whose output nbval compares, and that cell."""
    for index, cell in enumerate(nb["cells"]):
        if hygiene.CHECKED in course.tags(cell):
            nb["cells"] = nb["cells"][: index + 1]
            return nb, cell
    raise AssertionError(f"no cell is tagged {hygiene.CHECKED}")


def altered(output):
    """Change one stored output, in place."""
    place = output if "text" in output else output["data"]
    kind = "text" if "text" in output else "text/plain"
    place[kind] = "altered " + "".join(place[kind])


def test_nbval_sees_an_altered_output_of_a_small_notebook(tmp_path):
    nb = fake_notebook.lesson()
    assert course.run(nb, tmp_path, {}).error == ""
    assert nbval(nb, tmp_path)[0] == 0
    nb, cell = first_checked(nb)
    for output in cell["outputs"]:
        altered(output)
    code, report = nbval(nb, tmp_path)
    assert code == 1 and "1 failed" in report and "altered" in report


@each(LESSONS[:1])
def test_nbval_sees_an_altered_output_of_a_lesson(path, tmp_path):
    nb, cell = first_checked(course.read(path))
    altered(cell["outputs"][0])
    code, report = nbval(nb, tmp_path)
    assert code == 1 and "1 failed" in report and "altered" in report
