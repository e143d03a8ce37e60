"""The students' copies: they hold no solution, and run while nothing is answered."""

import ast
import contextlib
import io
import re

import exercises
import pytest

import course
import student

LESSONS = course.notebook_paths()
NOT_WRITTEN_YET = {
    target
    for path in LESSONS
    for target in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", path.read_text(encoding="utf-8"))
    if not (course.NOTEBOOKS / target).exists()
}


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The folder that `make student` writes."""
    build = tmp_path_factory.mktemp("build")
    assert student.main(["--build", str(build)]) == 0
    return build / "student"


def _solution_lines(path):
    """Return the lines between the marks of a notebook with solutions."""
    code = "\n".join(course.source_of(cell) for cell in course.read(path)["cells"])
    regions = re.findall(rf"{student.BEGIN}\n(.*?)\n *{student.END}", code, re.DOTALL)
    return {line.strip() for region in regions for line in region.split("\n") if line.strip()}


def test_every_lesson_has_its_two_copies(copies):
    names = {path.relative_to(copies).as_posix() for path in copies.rglob("*.ipynb")}
    workbooks = {f"exercises/{path.name[:2]}_exercises.ipynb" for path in LESSONS}
    assert names == {path.name for path in LESSONS} | workbooks


@pytest.mark.parametrize("lesson", LESSONS, ids=[path.stem for path in LESSONS])
def test_no_solution_is_left(copies, lesson):
    solutions = lesson.parent / "solutions" / f"{lesson.name[:2]}_solutions.ipynb"
    known = "\n".join(course.source_of(cell) for cell in course.read(lesson)["cells"])
    secret = _solution_lines(solutions) - {line.strip() for line in known.split("\n")}
    assert len(secret) > 3
    for path in (copies / lesson.name, copies / "exercises" / f"{lesson.name[:2]}_exercises.ipynb"):
        nb = course.read(path)
        text = "\n".join(course.source_of(cell) for cell in nb["cells"])
        assert not secret & {line.strip() for line in text.split("\n")}
        assert "SOLUTION" not in text and "solutions/" not in text
        for cell in nb["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None
        here = set(re.findall(r"\]\(([\w./]+\.ipynb)\)", text)) - NOT_WRITTEN_YET
        assert [target for target in here if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("lesson", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_workbook_runs_without_the_lesson(copies, lesson, monkeypatch):
    for name, value in course.QUICK.items():
        monkeypatch.setenv(name, value)
    nb = course.read(copies / "exercises" / f"{lesson.name[:2]}_exercises.ipynb")
    names = {"__name__": "exercises"}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for cell in nb["cells"]:
            if cell["cell_type"] == "code":
                exec(compile(ast.parse(course.source_of(cell)), lesson.name, "exec"), names)
    assert printed.getvalue().count("not answered yet") == len(exercises.checks_of(names)) >= 3


def test_regions_become_blanks():
    source = f"a = None\n{student.BEGIN}\na = 1\n{student.END}\ncheck(a)"
    assert student.stripped(source) == "a = None\n...  # your code\ncheck(a)"
    body = f"def f():\n    {student.BEGIN}\n    return 1\n    {student.END}"
    assert student.stripped(body) == "def f():\n    ...  # your code"
    assert student.stripped("x = 1") == "x = 1"
    for bad in (student.BEGIN, student.END, f"{student.BEGIN}\n{student.BEGIN}\n{student.END}"):
        with pytest.raises(ValueError, match="without its other half"):
            student.stripped(bad)
