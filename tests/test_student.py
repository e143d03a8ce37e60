"""The students' copies: they hold no solution, and run while nothing is answered."""

import ast
import contextlib
import io
import re

import nbformat
import pytest

import course
import exercises
import fake_notebook
import hygiene

LESSONS = course.notebook_paths()


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The folder that `make student` writes."""
    build = tmp_path_factory.mktemp("build")
    assert exercises.main(["--build", str(build)]) == 0
    return build / "student"


def _solution_lines(path):
    """Return the lines between the marks of a notebook with solutions."""
    code = "\n".join(course.source_of(cell) for cell in course.read(path)["cells"])
    regions = re.findall(rf"{exercises.BEGIN}\n(.*?)\n *{exercises.END}", code, re.DOTALL)
    return {line.strip() for region in regions for line in region.split("\n") if line.strip()}


def test_every_lesson_has_its_two_copies(copies):
    names = {path.relative_to(copies).as_posix() for path in copies.rglob("*.ipynb")}
    workbooks = {f"exercises/{path.name[:2]}_exercises.ipynb" for path in LESSONS}
    assert names == {path.name for path in LESSONS} | workbooks


def test_the_copies_are_written_where_vae_build_says(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_BUILD", str(tmp_path))
    assert exercises.main(["01"]) == 0
    assert (tmp_path / "student" / LESSONS[0].name).exists()


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
        here = set(re.findall(r"\]\(([\w./]+\.ipynb)\)", text))
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
    checks = sum(hygiene.EXERCISE in course.tags(cell) for cell in nb["cells"])
    assert printed.getvalue().count("not answered yet") == checks >= 3


def test_regions_become_blanks():
    source = f"a = None\n{exercises.BEGIN}\na = 1\n{exercises.END}\ncheck(a)"
    assert exercises.stripped(source) == "a = None\n...  # your code\ncheck(a)"
    body = f"def f():\n    {exercises.BEGIN}\n    return 1\n    {exercises.END}"
    assert exercises.stripped(body) == "def f():\n    ...  # your code"
    assert exercises.stripped("x = 1") == "x = 1"
    begin, end = exercises.BEGIN, exercises.END
    for bad in (begin, end, f"{begin}\n{begin}\n{end}"):
        with pytest.raises(ValueError, match="without its other half"):
            exercises.stripped(bad)


def test_a_workbook_has_the_setup_and_the_exercises_alone(tmp_path):
    lesson, solutions = tmp_path / "01_toy.ipynb", tmp_path / "01_solutions.ipynb"
    nb = fake_notebook.lesson()
    link = "Four. Solutions stand in [solutions/01_solutions.ipynb](solutions/01_solutions.ipynb)."
    nb.cells[-1:] = [
        nbformat.v4.new_markdown_cell(f"## Summary\n\n* Much.\n\n## Exercises\n\n{link}"),
        fake_notebook.code("answer_1 = None"),
        fake_notebook.code("lesson.close()", hygiene.CLOSING),
        nbformat.v4.new_markdown_cell("## References"),
        fake_notebook.code("print(1)"),
    ]
    nbformat.write(nb, lesson)
    nb.cells = [
        nbformat.v4.new_markdown_cell("# Solve"),
        fake_notebook.code("import math"),
        nbformat.v4.new_markdown_cell("## 1. Explain"),
        fake_notebook.code("answer_1 = 7"),
    ]
    nbformat.write(nb, solutions)
    cells = exercises.workbook(lesson, solutions)["cells"]
    texts = [course.source_of(cell) for cell in cells]
    assert texts[0].startswith("# Exercises of lesson 01")
    assert texts[1:] == ["import math", "## Exercises\n\nFour.", "answer_1 = None"]
