"""Right and wrong answers to the exercises: a module a lesson, ``lesson_NN.py``, with ANSWERS."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from helpers.course import exercises

RIGHT, WRONG = 2, 5  # the fewest answers of each kind


@dataclass
class Answers:
    """Answers to one exercise.

    `right` are of different make: another library, another formula. Among the `wrong` ones stand,
    where they apply: ignores an input, a constant, right for the default only, right shape and
    wrong scale, the classic mistake, and one of a wrong type.
    """

    right: Sequence
    wrong: Sequence


def judge(function: Callable[[object], str], answers: Answers) -> list[str]:
    """Return what is wrong with a check or its answers; nothing if all is well."""
    found = []
    if len(answers.right) < RIGHT or len(answers.wrong) < WRONG:
        counts = f"{len(answers.right)} right and {len(answers.wrong)} wrong answers"
        found.append(f"{counts}; it takes {RIGHT} and {WRONG}")
    for number, answer in enumerate(answers.right, start=1):
        if complaint := _complaint_right(function, answer):
            found.append(f"right answer {number}: {complaint}")
    for number, answer in enumerate(answers.wrong, start=1):
        if complaint := _complaint_wrong(function, answer):
            found.append(f"wrong answer {number}: {complaint}")
    return found


def _complaint_right(function: Callable[[object], str], answer: object) -> str:
    """Return what is wrong with how a check takes a right answer, "" if nothing is."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            praise = function(answer)
    except exercises.NotYet as hint:
        return f"refused: {hint}"
    except Exception as error:
        return f"the check stops with {type(error).__name__}: {error}"
    if not isinstance(praise, str) or len(praise.split()) < 3:
        return f"the check returns {praise!r}, no sentence"
    return ""


def _complaint_wrong(function: Callable[[object], str], answer: object) -> str:
    """Return what is wrong with how a check takes a wrong answer, "" if nothing is."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            function(answer)
    except exercises.NotYet as hint:
        return "" if len(str(hint).split()) >= 3 else f"no hint: {hint}"
    except Exception as error:
        return f"the check stops with {type(error).__name__}: {error}"
    return "accepted"
