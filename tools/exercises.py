"""Write the students' copies under build/student/: without outputs, without solutions.

Of each lesson two notebooks come out: the lesson itself, and exercises/NN_exercises.ipynb, which
runs without it: the set-up of the solutions, then the exercises as the lesson puts them. What
stands between ### BEGIN SOLUTION and ### END SOLUTION (nbgrader's marks) becomes a blank.

usage: exercises.py [NUMBER] [--build FOLDER]
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

import course
import hygiene

BEGIN, END, BLANK = "### BEGIN SOLUTION", "### END SOLUTION", "...  # your code"
POINTER = re.compile(
    r"\s*[^.\n\[]*\[[^]]*\]\(solutions/[^)]*\)[^.\n]*\."
)  # a sentence with the link
INTRODUCTION = """# Exercises of lesson {number}

[Back to the lesson](../{lesson})

Set your answer in the first cell of each exercise and run the check below it. While there is no
answer, the check prints one line and passes. The first cells hold what the exercises need."""


def stripped(source: str) -> str:
    """Return the source of a cell with a blank, as far to the right, in place of each solution.

    Raises
    ------
    ValueError
        The marks do not come in pairs.
    """
    kept, inside = [], False
    for line in source.split("\n"):
        mark = line.strip()
        if mark in (BEGIN, END):
            if inside != (mark == END):
                raise ValueError(f"{mark!r} without its other half in:\n{source}")
            inside = mark == BEGIN
            if inside:
                kept.append(line.replace(BEGIN, BLANK))
        elif not inside:
            kept.append(line)
    if inside:
        raise ValueError(f"{BEGIN!r} without its other half in:\n{source}")
    return "\n".join(kept)


def cleared(nb):
    """Return nb, changed in place: no outputs, no solutions, and no word of where they stand."""
    for cell in nb["cells"]:
        text = course.source_of(cell)
        if cell["cell_type"] == "code":
            cell.update(source=stripped(text), outputs=[], execution_count=None)
        else:
            cell["source"] = POINTER.sub("", text)
    return nb


def retold(cell, text: str):
    """Return a copy of the cell with another text."""
    return nbformat.from_dict(cell | {"source": text})


def section(cells, title: str) -> list:
    """Return the cells from the heading "## title" to the next of its rank; no closing cell."""
    found, inside = [], False
    for cell in cells:
        if hygiene.CLOSING in course.tags(cell):
            continue
        if cell["cell_type"] == "code":
            parts = [course.source_of(cell)]
        else:  # the heading may stand in the middle of a cell, below the summary
            parts = re.split(r"^(?=## )", course.source_of(cell), flags=re.MULTILINE)
        for part in parts:
            if cell["cell_type"] == "markdown" and part.startswith("## "):
                inside = part.split("\n")[0] == f"## {title}"
            if inside and part.strip():
                found.append(retold(cell, part.strip()))
    return found


def workbook(lesson: Path, solutions: Path):
    """Return the exercises of a lesson as a notebook of their own."""
    nb, number = course.read(solutions), lesson.name[:2]
    texts = [course.source_of(cell) for cell in nb["cells"]]
    first = next((i for i, text in enumerate(texts) if text.startswith("## ")), len(texts))
    setup = nb["cells"][1:first]
    opening = retold(nb["cells"][0], INTRODUCTION.format(number=number, lesson=lesson.name))
    nb["cells"] = [opening, *setup, *section(course.read(lesson)["cells"], "Exercises")]
    return cleared(nb)


def main(arguments: list[str]) -> int:
    """Write the copies; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("number", nargs="?", default="")
    parser.add_argument("--build", type=Path, default=course.build_dir())
    options = parser.parse_args(arguments)
    folder = options.build.resolve() / "student"
    (folder / "exercises").mkdir(parents=True, exist_ok=True)
    for lesson in course.notebook_paths(options.number):
        number = lesson.name[:2]
        nbformat.write(cleared(course.read(lesson)), folder / lesson.name)
        print(lesson.name)
        solutions = lesson.parent / "solutions" / f"{number}_solutions.ipynb"
        if solutions.exists():
            name = f"exercises/{number}_exercises.ipynb"
            nbformat.write(workbook(lesson, solutions), folder / name)
            print(name)
    print(f"written to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
