"""The committed notebooks: as they must look, equal to helpers/, and able to fail."""

import os
import subprocess
import sys
import tomllib

import exercise_answers
import exercises
import fake_notebook
import mutations
import nbformat
import pytest

import course
import hygiene
import readme_table
import taught
from helpers import evaluation

LESSONS = course.notebook_paths()
NOTEBOOKS = course.notebook_paths(solutions=True)
BY_NUMBER = {path.name[:2]: path for path in LESSONS}


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


def test_taught_cells_equal_helpers():
    assert taught.differences(LESSONS) == []


def test_the_readme_table_is_up_to_date():
    text = readme_table.README.read_text(encoding="utf-8")
    entries = evaluation.read_results(course.ROOT / "data" / "results.json")
    assert readme_table.updated(text, entries) == text, "run tools/readme_table.py"


# --- Ranges ----------------------------------------------------------------------------------


def _expected():
    return tomllib.loads((course.ROOT / "tests" / "expected.toml").read_text(encoding="utf-8"))


def test_every_range_comes_from_three_runs():
    assert set(_expected()) <= set(BY_NUMBER), "ranges of no notebook"
    for notebook, profiles in _expected().items():
        for profile, sources in profiles.items():
            assert profile in ("quick", "class", "full")
            for source, ranges in sources.items():
                assert source in ("official", "embedded", "other", "none")
                for key, r in ranges.items():
                    assert len(r["values"]) >= 3, (notebook, key)
                    assert all(r["low"] <= value <= r["high"] for value in r["values"]), key


@each(LESSONS)
def test_what_a_lesson_records_has_ranges(path):
    """In the quick profile the run itself compares the two sets of names, under VAE_STRICT=1."""
    text = "\n".join(course.source_of(cell) for cell in course.read(path)["cells"])
    assert ".record(" in text and ".check()" in text, "the lesson records or checks nothing"
    assert _expected().get(number(path), {}).get("quick"), "run tools/ranges.py"


def test_what_is_published_lies_in_its_range():
    for key, entry in evaluation.read_results(course.ROOT / "data" / "results.json").items():
        notebook, rest = key.split("/", 1)
        table = _expected().get(notebook, {}).get(entry["profile"], {}).get(entry["source"], {})
        if rest in table:
            assert table[rest]["low"] <= entry["value"] <= table[rest]["high"], key


# --- A changed output, and a wrong taught cell -----------------------------------------------


def nbval(nb, folder):
    """Run nbval as `make test` does, on nb alone in folder; return (exit code, report)."""
    nbformat.write(nb, folder / "nb.ipynb")
    conftest = (course.NOTEBOOKS / "conftest.py").read_text(encoding="utf-8")
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "nb.ipynb"]
    environment = os.environ | course.QUICK | {"VAE_BUILD": str(folder / "build")}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
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
    before = nbval(nb, tmp_path)
    assert before[0] == 0, before[1]
    altered(cell["outputs"][0])
    code, report = nbval(nb, tmp_path)
    assert code == 1 and "1 failed" in report and "altered" in report


def mutate(nb, mutation):
    """Make one taught cell wrong, in place."""
    cells = [cell for name, cell in taught.taught_cells(nb) if name == mutation.taught]
    assert len(cells) == 1, f"{len(cells)} cells teach {mutation.taught}"
    text = course.source_of(cells[0])
    assert text.count(mutation.old) == 1, f"{text.count(mutation.old)} times {mutation.old!r}"
    cells[0]["source"] = text.replace(mutation.old, mutation.new)


def test_every_lesson_that_teaches_has_a_mutation():
    teaching = {number(path) for path in LESSONS if taught.taught_cells(course.read(path))}
    assert teaching == set(mutations.MUTATIONS)


@each([path for path in LESSONS if number(path) in mutations.MUTATIONS])
def test_a_wrong_taught_cell_fails_the_lesson(path, tmp_path):
    nb = course.read(path)
    mutate(nb, mutations.MUTATIONS[number(path)])
    run = course.run(nb, path.parent, course.QUICK | {"VAE_BUILD": str(tmp_path)})
    assert run.error, "the lesson does not use the definition in its own cell"
    # By a check of the lesson, not because the changed code no longer makes sense.
    assert "AssertionError" in run.error, run.error


def test_mutations_bite_on_a_small_notebook(tmp_path):
    toy = fake_notebook.code("def double(x):\n    return x * 2", taught="helpers.toy:double")
    used = fake_notebook.code("assert double(3) == 6")
    unused = fake_notebook.code("assert 3 + 3 == 6")
    wrong = mutations.Mutation("helpers.toy:double", "x * 2", "x * 3")
    for check, error in ((used, "AssertionError"), (unused, "")):
        nb = fake_notebook.lesson(toy.copy(), check)
        mutate(nb, wrong)
        found = course.run(nb, tmp_path, {}).error
        assert error in found and bool(found) == bool(error)
    for bad in (wrong._replace(old="x * 4"), wrong._replace(taught="helpers.toy:triple")):
        with pytest.raises(AssertionError):
            mutate(fake_notebook.lesson(toy.copy()), bad)


# --- Exercises -------------------------------------------------------------------------------


@each(LESSONS)
def test_exercises(path):
    names = exercises.names_of(course.read(path))
    answers = exercise_answers.EXERCISES.get(number(path), {})
    assert len(exercises.checks_of(names)) >= 3, "three sizes of exercise, each with a check"
    assert exercises.checks_of(names) == sorted(answers)
    found = [line for check in answers for line in exercises.judge(names, check, answers[check])]
    assert found == []


CHECK = """
import math
from helpers.data import check_choice
root = math.sqrt
LIMIT = 3
answer = undefined_elsewhere
def check_root(answer):
    if answer is None or answer is ...:
        return print("not answered yet")
    assert {}, "the square of it should be LIMIT"
check_root(answer)
"""


@pytest.mark.parametrize(
    ("condition", "wrong", "complaint"),
    [
        ("abs(answer - root(LIMIT)) < 1e-3", [(9,), (1.5,)], None),
        ("True", [(9,), (1.5,)], "accepts wrong answer 1"),
        ("False", [(9,), (1.5,)], "refuses the right answer"),
        ("answer < 2", [(9,)], "1 wrong answers"),
    ],
)
def test_checks_are_judged(condition, wrong, complaint):
    nb = fake_notebook.lesson(fake_notebook.code(CHECK.format(condition), "exercise-check"))
    names = exercises.names_of(nb)
    assert exercises.checks_of(names) == ["check_root"] and "answer" not in names
    exercise = exercise_answers.Exercise(lambda names: (names["math"].sqrt(3),), wrong)
    found = exercises.judge(names, "check_root", exercise)
    assert complaint in found[0] if complaint else found == []
