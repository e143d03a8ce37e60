"""A right and (at least) two wrong answers to every exercise: what each check must say of them.

Each answer is the tuple of arguments of the check. An answer that needs what the notebook defines
is a function of the notebook's names: lambda names: (names["prepare"],).
"""

from collections.abc import Callable
from typing import NamedTuple

Answer = tuple | Callable[[dict], tuple]


class Exercise(NamedTuple):
    """One answer that passes; the usual wrong ones, each of which raises with a hint."""

    right: Answer
    wrong: list[Answer]


EXERCISES: dict[str, dict[str, Exercise]] = {
    # "01": {"check_entropy": Exercise(right=(0.5,), wrong=[(1.0,), (-0.5,)])},
}
