"""The checks of the exercises: each against right answers of different make and wrong ones."""

import ast
import importlib
import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import course
from exercise_answers import Answers, judge
from helpers.course import check, exercises

LESSONS = {path.name[:2]: path for path in course.notebook_paths()}
FOLDER = course.ROOT / "helpers" / "course" / "exercises"
MODULES = sorted(path.stem[-2:] for path in FOLDER.glob("lesson_*.py"))


def checks_of(number):
    """Return the checks of a lesson, {"02.1": function, …}."""
    return importlib.import_module(f"helpers.course.exercises.lesson_{number}").CHECKS


def answers_of(number):
    """Return the answers to the exercises of a lesson; {} where nobody wrote any."""
    try:
        return importlib.import_module(f"exercise_answers.lesson_{number}").ANSWERS
    except ModuleNotFoundError:
        return {}


def checked_in(path):
    """Return the exercises that a notebook checks, in order."""
    cells = [cell for cell in course.read(path)["cells"] if "exercise-check" in course.tags(cell)]
    text = "\n".join(course.source_of(cell) for cell in cells)
    return re.findall(r"course\.check\(\s*\"([\d.]+)\"", text)


# --- The checks of the lessons -------------------------------------------------------------------


@pytest.mark.parametrize("number", LESSONS)
def test_lesson_solutions_and_checks_name_the_same_exercises(number):
    lesson = LESSONS[number]
    solutions = lesson.parent / "solutions" / f"{number}_solutions.ipynb"
    want = [f"{number}.{place}" for place in range(1, len(checks_of(number)) + 1)]
    assert len(want) >= 3 and list(checks_of(number)) == want
    assert checked_in(lesson) == want
    assert checked_in(solutions) == want


@pytest.mark.parametrize(
    "exercise", [exercise for number in MODULES for exercise in checks_of(number)]
)
def test_a_check_judges_each_answer(exercise):
    number = exercise[:2]
    assert exercise in answers_of(number), "tests/exercise_answers/ has no answers for it"
    assert judge(checks_of(number)[exercise], answers_of(number)[exercise]) == []


def test_no_check_asserts():
    """Under ``python -O`` an assert is gone, and a wrong answer would be right."""
    for path in FOLDER.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not [node.lineno for node in nodes if isinstance(node, ast.Assert)], path.name


# --- How checks are judged -----------------------------------------------------------------------


def check_scaled_sum(answer):
    """A good check: k times the sum of each row."""
    x = np.random.default_rng(5).normal(size=(3, 4))
    for k in (1.0, 2.5):
        got = exercises.array(exercises.call(answer, x, k=k), (3,))
        mistakes = {"That is the mean of each row.": k * x.mean(axis=1)}
        exercises.compare(got, k * x.sum(axis=1), "Sum each row.", mistakes=mistakes)
    return "Each row was summed."


def right(x, k):
    """Sum by NumPy."""
    return k * np.sum(x, axis=1)


def also_right(x, k):
    """Sum by a loop, as a list."""
    return [k * sum(row) for row in x]


def ignores_k(x, k):
    """Right for k = 1 only."""
    return x.sum(axis=1)


def averages(x, k):
    """Right shape and wrong scale."""
    return k * x.mean(axis=1)


def changes_its_input(x, k):
    """Wrong, and would drag the expected values along if the check did not copy."""
    x *= 0
    return x.sum(axis=1)


def stops(x, k):
    """Fail inside."""
    raise IndexError("no such row")


def stops_traced(x, k):
    """Fail inside a function that TensorFlow traces: its message has many lines."""

    @tf.function
    def add_a_wider_one():
        return tf.constant(x) + tf.ones((3, 9), tf.float64)

    return add_a_wider_one()


WRONG = [ignores_k, averages, changes_its_input, stops, "a", 3.0, [1, 2, 3]]


def careless(answer):
    """A check that accepts everything."""
    return "That was all right."


def clueless(answer):
    """A check whose hint says nothing."""
    raise exercises.NotYet("no")


def fragile(answer):
    """A check that stops on a wrong kind."""
    if answer + 1 != 3:
        raise exercises.NotYet("One more is three.")
    return "Two and one is three."


@pytest.mark.parametrize(
    ("function", "answers", "complaint"),
    [
        (check_scaled_sum, Answers([right, also_right], WRONG), None),
        (check_scaled_sum, Answers([right, averages], WRONG), "right answer 2: refused: That is"),
        (check_scaled_sum, Answers([right, also_right], [right, *WRONG]), "wrong answer 1: acc"),
        (check_scaled_sum, Answers([right], WRONG), "1 right and 7 wrong"),
        (check_scaled_sum, Answers([right, also_right], WRONG[:4]), "2 right and 4 wrong"),
        (careless, Answers([1, 2], [3, 4, 5, 6, 7]), "wrong answer 1: accepted"),
        (clueless, Answers([], [1, 2, 3, 4, 5]), "wrong answer 1: no hint: no"),
        (fragile, Answers([2, 2.0], [1, 3, 4, 5, "2"]), "wrong answer 5: the check stops with"),
        (fragile, Answers(["2", 2], [1, 3, 4, 5, 6]), "right answer 1: the check stops with"),
    ],
)
def test_checks_are_judged(function, answers, complaint):
    found = judge(function, answers)
    if complaint is None:
        assert found == []
    else:
        assert any(complaint in line for line in found), found


# --- What a reader sees --------------------------------------------------------------------------


@pytest.fixture
def lesson_77(monkeypatch):
    """A lesson with one exercise of ours."""
    module = types.ModuleType("helpers.course.exercises.lesson_77")
    module.CHECKS = {"77.1": check_scaled_sum, "77.2": fragile}
    module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_one_line_for_each_answer(lesson_77, capsys):
    check("77.1", None)
    check("77.1", ...)
    check("77.1", right)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Exercise 77.1: not answered yet."] * 2 + ["Right. Each row was summed."]


@pytest.mark.parametrize(
    ("exercise", "answer", "hint"),
    [
        ("77.1", averages, "That is the mean of each row."),
        ("77.1", changes_its_input, "Sum each row. (Expected ["),
        ("77.1", stops, "stops with IndexError: no such row"),
        ("77.1", stops_traced, "stops with ValueError: Dimensions must be equal"),
        ("77.1", 3.0, "Give the function itself"),
        ("77.1", lambda x, k: None, "does the function end with a return?"),
        ("77.1", lambda x, k: x, "has shape (3, 4), want an array of shape (3,)"),
        ("77.1", lambda x, k: [[1], [2, 3]], "cannot be read as an array of shape (3,)"),
        ("77.1", lambda x, k: x.sum(axis=1) / 0.0, "is not finite"),
        ("77.2", "2", "The check cannot use this answer, a str"),
    ],
)
def test_a_wrong_answer_is_one_sentence(lesson_77, exercise, answer, hint):
    with np.errstate(divide="ignore"), pytest.raises(exercises.NotYet) as error:
        check(exercise, answer)
    assert hint in str(error.value)


def test_a_choice():
    hints = {"a": "That one is too small.", "c": "That one is too large."}
    exercises.choice(" B ", "b", hints)
    for answer, hint in (("a", "too small"), ("d", 'one of "a", "b", "c"'), (["b"], "one of")):
        with pytest.raises(exercises.NotYet, match=hint):
            exercises.choice(answer, "b", hints)


@pytest.mark.parametrize("exercise", ["77.3", "78.1", "seven", 77.1])
def test_an_exercise_that_is_not_there(lesson_77, exercise):
    with pytest.raises(ValueError, match="exercise="):
        check(exercise, 1)


def test_ipython_shows_the_sentence_and_no_source(lesson_77, capsys, tmp_path):
    nothing_kept = Config(HistoryManager={"enabled": False})
    shell = InteractiveShell(config=nothing_kept, ipython_dir=str(tmp_path))
    shell.user_ns["answer"] = averages
    shell.run_cell("from helpers.course import check\ncheck('77.1', answer)")
    shown = capsys.readouterr().out
    assert shown.strip() == "Not yet: That is the mean of each row."
