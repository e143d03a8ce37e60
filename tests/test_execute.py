"""Running notebooks: over files, not TCP; stored only if they may be; strictly or for a try."""

import nbformat
import pytest
from nbformat import v4

import course
import execute
import fake_notebook
import generate
import hygiene

# Stands for the end of a lesson that disagrees with what is published.
DIFFERS = """import os
if os.environ["VAE_STRICT"]:
    raise ValueError("elbo is -91, accepted -90.1 to -89.9")
print("17 of 18 numbers", os.environ["VAE_PROFILE"])
lesson.close()"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of notebooks of ours, where lesson 02 is published, and a build folder."""
    monkeypatch.setenv("VAE_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(generate, "taught_problems", found_nothing)
    monkeypatch.setattr(course, "read_published", {"02": {"lesson": {}}}.copy)
    (tmp_path / "solutions").mkdir()
    return tmp_path


def found_nothing(paths):
    """Stand for taught cells that are up to date."""
    return []


def add_lesson(folder, *cells, closing="lesson.close()"):
    """Write lesson 02 with these cells and this closing cell at its end; return its path."""
    nb = fake_notebook.good_lesson(*cells, number="02", closing=closing)
    nbformat.write(nb, folder / "02_toy.ipynb")
    return folder / "02_toy.ipynb"


def test_a_kernel_speaks_over_files_and_stops_at_the_first_error(tmp_path, capfd):
    nb = v4.new_notebook(
        cells=[
            fake_notebook.code("import os\nprint(os.environ['VAE_PROFILE'])"),
            fake_notebook.code("1 / 0", "raises-exception"),
            fake_notebook.code("int('x')"),
            fake_notebook.code("print('never')"),
        ]
    )
    run = course.run(nb, tmp_path, course.QUICK)
    assert nb.cells[0].outputs[0].text == "quick\n" and not nb.cells[3].outputs
    assert run.error.startswith("cell 3: ValueError: invalid literal") and run.seconds > 0
    assert capfd.readouterr() == ("", "")  # no warning that anybody can listen


def test_a_run_is_stored_with_its_solutions(folder, capsys):
    lesson = add_lesson(folder)
    answers = folder / "solutions" / "02_solutions.ipynb"
    marked = fake_notebook.code("### BEGIN SOLUTION\n1\n### END SOLUTION")
    nbformat.write(fake_notebook.lesson(marked), answers)
    assert execute.main([], folder) == 0
    assert "2 notebooks, 0 failed" in capsys.readouterr().out
    for path in (lesson, answers):
        assert hygiene.problems_of(path) == []
        assert first_checked(path)["outputs"]


def first_checked(path):
    """Return the first cell of a notebook whose outputs are compared."""
    cells = course.read(path)["cells"]
    return next(cell for cell in cells if hygiene.CHECKED in course.tags(cell))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('warning', file=sys.stderr)", "stderr"),
        ("print('/home/' + 'me')", "machine path"),
        (DIFFERS, "accepted -90.1 to -89.9"),
    ],
)
def test_a_run_that_may_not_be_committed_leaves_what_was_there(folder, capsys, source, problem):
    path = add_lesson(folder, fake_notebook.code(source))
    before = path.read_text()
    assert execute.main(["02"], folder) == 1
    assert problem in capsys.readouterr().out
    assert path.read_text() == before
    assert (folder / "build" / "failed" / path.name).exists()


def test_check_is_strict_and_writes_nothing(folder, capsys):
    path = add_lesson(folder, closing=DIFFERS)
    before = path.read_text()
    assert execute.main(["--check"], folder) == 1
    assert "accepted -90.1 to -89.9" in capsys.readouterr().out
    assert path.read_text() == before and not (folder / "build").exists()


def test_only_what_is_published_is_compared_strictly(folder, monkeypatch, capsys):
    path = add_lesson(folder, closing=DIFFERS)
    monkeypatch.setattr(course, "read_published", dict)
    assert execute.main(["--check"], folder) == 1  # nothing was compared
    assert "02_toy.ipynb: not published yet, not run\n0 notebooks" in capsys.readouterr().out
    assert execute.main(["02"], folder) == 0
    assert "  17 of 18 numbers lesson\n" in capsys.readouterr().out
    assert course.read(path)["cells"][-1]["outputs"]


def test_a_try_is_not_strict_and_shows_the_closing_line(folder, capsys):
    path = add_lesson(folder, closing=DIFFERS)
    before = path.read_text()
    assert execute.main(["2", "--try", "--profile", "quick"], folder) == 0
    assert "  17 of 18 numbers quick\n" in capsys.readouterr().out
    assert path.read_text() == before and (folder / "build" / "try" / path.name).exists()


def test_taught_cells_are_refreshed_before_anything_is_stored(folder, monkeypatch):
    add_lesson(folder)
    monkeypatch.setattr(generate, "taught_problems", differs)
    with pytest.raises(SystemExit, match="a cell differs"):
        execute.main([], folder)


def differs(paths):
    """Stand for a taught cell that is not up to date."""
    return [f"{paths[0].name}: a cell differs"]


def test_what_is_stored_is_a_run_of_the_lesson_profile(folder, capsys):
    with pytest.raises(SystemExit):
        execute.main(["--profile", "quick"], folder)
    assert "add --check or --try" in capsys.readouterr().err


def test_clean_names_all_it_changes():
    nb = fake_notebook.lesson()
    nb["nbformat_minor"] = 4
    for cell in nb.cells:
        del cell["id"]
    nb.metadata["widgets_order"] = 1
    nb.cells[1].metadata.update(ExecuteTime={}, taught="a:b", tags=["t"])
    said = execute.clean(nb)
    assert len(said) == len(nb.cells) + 3
    assert nb.cells[1].metadata == {"taught": "a:b", "tags": ["t"]}
    nbformat.validate(nb)
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)
    assert execute.clean(nb) == []
