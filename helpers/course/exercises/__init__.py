"""The checks of the exercises, kept once: lessons, solutions and students' copies call the same.

Each lesson has a module here, ``lesson_NN.py``, with ``CHECKS = {"NN.1": function, …}``. A check
takes the answer, returns a sentence of praise, or raises `NotYet` with a hint. What stands below
keeps checks short and makes a sentence of every answer of the wrong kind:

============ =====================================================================================
`choice`     one of several options, with a hint for each wrong one
`number`     the answer as one finite number
`call`       the answer is a function: call it, whatever it does
`array`      what it returned, as an array of numbers of the shape that is asked for
`compare`    right, a mistake that we know, or just wrong
============ =====================================================================================

Test a function on random, unequal, asymmetric inputs and at several settings: a constant, an answer
that ignores an argument or one that is right for the default only must not pass.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["NotYet", "array", "call", "check", "choice", "compare", "number"]


class NotYet(Exception):
    """The answer is not right yet; the message is a hint."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback, whose lines would give the answer away."""
        return [f"Not yet: {self}"]


def check(exercise: str, answer: object) -> None:
    """Check the answer to an exercise and print one line if it is right, or not there yet.

    Parameters
    ----------
    exercise
        Its number, "02.3" for the third one of lesson 02.
    answer
        What the exercise asks for. None and ``...`` mean that there is no answer yet.

    Raises
    ------
    NotYet
        The answer is wrong; the message is a hint.
    ValueError
        There is no such exercise.
    """
    function = find(exercise)
    if answer is None or answer is ...:
        print(f"Exercise {exercise}: not answered yet.")
        return
    try:
        praise = function(answer)
    except NotYet:
        raise
    except Exception as error:  # an answer of a kind that the check did not expect
        kind = type(answer).__name__
        raise NotYet(f"The check cannot use this answer, a {kind}: {error}") from error
    print(f"Right. {praise}")


def find(exercise: str) -> Callable[..., str]:
    """Return the check of the exercise "NN.n"."""
    lesson = str(exercise).partition(".")[0]
    module = f"{__name__}.lesson_{lesson}"
    if not lesson.isdigit() or importlib.util.find_spec(module) is None:
        raise ValueError(f"exercise={exercise!r}: give the lesson and the number, such as '02.3'")
    checks = importlib.import_module(module).CHECKS
    if exercise not in checks:
        raise ValueError(f"exercise={exercise!r}: lesson {lesson} has {', '.join(checks)}")
    return checks[exercise]


def choice(answer: object, right: str, hints: Mapping[str, str]) -> None:
    """Compare a choice such as "b" with the right one.

    Parameters
    ----------
    answer
        What the reader chose; capitals and spaces around it do not count.
    right
        The right option.
    hints
        A hint for each of the other options.
    """
    options = sorted({right, *hints})
    chosen = answer.strip().lower() if isinstance(answer, str) else answer
    if chosen not in options:
        listed = ", ".join(f'"{option}"' for option in options)
        raise NotYet(f"Answer with one of {listed}, not {answer!r}.")
    if chosen != right:
        raise NotYet(hints[chosen])


def choices(
    answer: object,
    expected: dict[str, tuple[str, str]],
    allowed: tuple[str, ...],
    example: str,
    *,
    noun: str = "",
    kind: str = "verdict",
) -> None:
    """Raise `NotYet` unless the answer names the right word for each name.

    `expected` is {name: (right word, hint)}; `noun` stands before a name, `kind` for the words.
    """
    if not isinstance(answer, dict):
        raise NotYet(f"Give a dictionary such as {example}.")
    given = {str(name).strip().lower(): word for name, word in answer.items()}
    if set(given) != set(expected):
        raise NotYet(f"Give one {kind} for each of {', '.join(expected)}.")
    known = {word.lower(): word for word in allowed}
    for name, (right, hint) in expected.items():
        named = f"{noun} {name}".strip()
        word = known.get(" ".join(str(given[name]).lower().replace("_", " ").split()))
        if word is None:
            raise NotYet(f"{named}: a {kind} is one of {', '.join(allowed)}.")
        if word != right:
            raise NotYet(f"{named}: think again. {hint}")


def number(answer: object, name: str = "Your answer") -> float:
    """Return the answer as a finite float."""
    return float(array(answer, (), name))


def array(value: object, shape: tuple[int, ...], name: str = "Your result") -> np.ndarray:
    """Return a value as finite float64 numbers of this shape; a tensor or a list will do.

    Parameters
    ----------
    value
        What a reader's function returned, or the answer itself.
    shape
        The shape that the exercise asks for; () for one number.
    name
        What the sentence of a wrong kind begins with.
    """
    wanted = f"an array of shape {shape}" if shape else "one number"
    if value is None:
        raise NotYet(f"{name} is None, want {wanted}: does the function end with a return?")
    try:
        numbers = np.asarray(value)
        real = numbers.dtype.kind in "biuf"
    except Exception:  # lists of unequal lengths, symbolic tensors
        real = False
    if not real:
        raise NotYet(f"{name}, a {type(value).__name__}, cannot be read as {wanted}.")
    if numbers.shape != shape:
        raise NotYet(f"{name} has shape {numbers.shape}, want {wanted}.")
    numbers = numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise NotYet(f"{name} is not finite: {_short(numbers)}.")
    return numbers


def call(function: object, *arguments: object, **keywords: object) -> object:
    """Return what a reader's function returns; whatever it raises becomes a hint.

    Arrays are copied before the call, so that a function that writes into its arguments does not
    change what the check compares with.
    """
    if not callable(function):
        kind = type(function).__name__
        raise NotYet(
            f"Give the function itself, answer = my_function, not {kind} {_short(function)}."
        )
    arguments = [_copied(value) for value in arguments]
    keywords = {name: _copied(value) for name, value in keywords.items()}
    try:
        return function(*arguments, **keywords)
    except Exception as error:
        lines = str(error).strip().split("\n")  # of a traced function the last one says it
        told = lines[-1 if lines[0] == "in user code:" else 0].strip()
        told = told.removeprefix(f"{type(error).__name__}: ")
        shown = ", ".join([_short(value) for value in arguments])
        raise NotYet(
            f"Called with ({shown}), your function stops with {type(error).__name__}: {told}"
        ) from None


def compare(
    got: ArrayLike,
    expected: ArrayLike,
    hint: str,
    *,
    mistakes: Mapping[str, ArrayLike] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Compare numbers of equal shapes, and name the mistake where it is one that we know.

    Parameters
    ----------
    got
        The reader's numbers; see `array`.
    expected
        The right ones.
    hint
        What to say where they differ in a way that we do not know. What was expected and what came
        is added.
    mistakes
        From a hint to the numbers that the mistake gives.
    rtol, atol
        ``|got - expected| <= atol + rtol * |expected|`` counts as equal.
    """
    if np.allclose(got, expected, rtol=rtol, atol=atol):
        return
    for told, wrong in (mistakes or {}).items():
        if np.allclose(got, wrong, rtol=rtol, atol=atol):
            raise NotYet(told)
    raise NotYet(f"{hint} (Expected {_short(expected)}, got {_short(got)}.)")


def _copied(value: object) -> object:
    """Return a copy of an array, and anything else as it is."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _short(value: object, length: int = 60) -> str:
    """Return a value on one line that is not long; of a big array, its shape."""
    if hasattr(value, "shape") and np.size(value) > 6:
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if hasattr(value, "shape"):
        value = np.asarray(value)
        text = np.array2string(value, precision=4, separator=", ")
    else:
        text = repr(value)
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
