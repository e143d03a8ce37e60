"""The rules of committed notebooks: a good one keeps them all, and each fault is found."""

import copy

import nbformat
import pytest
from nbformat import v4
from nbformat.v4 import new_markdown_cell as md

import course
import fake_notebook
import hygiene

STREAM = {"output_type": "stream", "name": "stdout", "text": "1\n"}


def as_run(nb):
    """Return nb with the execution counts and outputs of one run, made up."""
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        if cell.source == fake_notebook.PICTURE:
            picture = {"data": {"image/png": fake_notebook.PNG}}
            metadata = {"image/png": {"alt": "a dot"}}
            cell.outputs = [v4.new_output("display_data", **picture, metadata=metadata)]
        elif hygiene.CHECKED in course.tags(cell):
            cell.outputs = [nbformat.from_dict(STREAM)]
    return nb


GOOD = as_run(fake_notebook.good_lesson())


def test_a_good_lesson_has_no_problem():
    assert hygiene.problems(GOOD, size=1, number="01") == []
    assert hygiene.problems(GOOD, size=1, number="02"), "its exercises are those of lesson 01"


# --- Faults: each changes a copy of a good lesson ------------------------------------------------


def _checked(nb):
    return next(cell for cell in nb.cells if hygiene.CHECKED in course.tags(cell))


def _output(nb, **output):
    _checked(nb).outputs.append(v4.new_output(**output))


def _data(nb, kind, value, **metadata):
    _output(nb, output_type="display_data", data={kind: value}, metadata=metadata)


def _stream(nb, text, name="stdout"):
    _output(nb, output_type="stream", name=name, text=text)


def _code(nb, source):
    """Insert a code cell as the second last, between two cells of prose."""
    nb.cells[-1:-1] = [md("More."), fake_notebook.code(source), md("Read it.")]
    counts = iter(range(1, 99))
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.execution_count = next(counts)


def _widen(nb):
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = "\n".join(["x = 1"] * 9)


def _untag(nb, tag=hygiene.CHECKED):
    for cell in nb.cells:
        if tag in course.tags(cell):
            cell.metadata.tags.remove(tag)


def _picture(nb):
    outputs = (out for cell in nb.cells for out in cell.get("outputs", []))
    return next(out for out in outputs if "image/png" in out.get("data", {}))


def _tagged(nb, tag):
    return next(cell for cell in nb.cells if tag in course.tags(cell))


GIF = '<img alt="spin" src="data:image/gif;base64,{}">'
FAULTS = {
    "want 4.5": lambda nb: nb.update(nbformat_minor=4),
    "ids are missing": lambda nb: nb.cells[0].update(id=nb.cells[1].id),
    "kernelspec": lambda nb: nb.metadata.kernelspec.update(name="conda-env"),
    "widget state": lambda nb: nb.metadata.update(widgets={}),
    "metadata lines_to_next_cell": lambda nb: nb.cells[0].metadata.update(lines_to_next_cell=2),
    "not from one run": lambda nb: nb.cells[1].update(execution_count=7),
    "not from one run ": lambda nb: nb.cells[1].update(execution_count=None),
    "prints to stderr": lambda nb: _stream(nb, "W0000 tensorflow", "stderr"),
    "ends in an error": lambda nb: _output(
        nb, output_type="error", ename="E", evalue="", traceback=[]
    ),
    "machine path": lambda nb: _stream(nb, "saved to /home/me/model.keras"),
    "machine path ": lambda nb: _data(nb, "text/html", "<p>/tmp/x1</p>"),
    "memory address": lambda nb: _data(nb, "text/plain", "<function f at 0x7f3a2b1c>"),
    "carriage return": lambda nb: _stream(nb, "10%\r20%"),
    "shows a widget": lambda nb: _data(nb, "application/vnd.jupyter.widget-view+json", {}),
    "bare GIF": lambda nb: _data(nb, "image/gif", "R0lG", alt="spin"),
    "picture without alt": lambda nb: _picture(nb).update(metadata={}),
    "HTML image without alt": lambda nb: _data(nb, "text/html", '<img src="data:,">'),
    "HTML image without alt ": lambda nb: _data(nb, "text/html", '<img alt="" src="data:,">'),
    "GIF of more": lambda nb: _data(nb, "text/html", GIF.format("A" * 360_000)),
    "HTML of more": lambda nb: _data(nb, "text/html", "x" * 410_000),
    "but shows nothing": lambda nb: _checked(nb).update(outputs=[]),
    "2 H1": lambda nb: nb.cells.append(md("# Again")),
    "picture in the prose": lambda nb: nb.cells.append(md("![](x.png)")),
    "colour map jet": lambda nb: _code(nb, "plt.imshow(x, cmap='jet')"),
    "empty code cell": lambda nb: _code(nb, ""),
    "median": _widen,
    "at most 40": lambda nb: _code(nb, "\n".join(["x = 1"] * 41)),
    "in a row": lambda nb: [nb.cells.insert(4, fake_notebook.code("1")) for _ in range(4)],
    "0 cells tagged nbval": _untag,
    "no picture": lambda nb: _picture(nb).pop("data"),
    "want at most 100": lambda nb: nb.cells.extend(md("x") for _ in range(100)),
    "cell of its own": lambda nb: nb.cells[8].update(source="Before.\n\n## Train"),
    "the first code cell": lambda nb: nb.cells[1].metadata.clear(),
    "the set-up cell": lambda nb: nb.cells[3].update(source="\n".join(["x = 1"] * 11)),
    "0 cells tagged quick-sizes": lambda nb: _untag(nb, hygiene.QUICK),
    "is not folded, or does not start": lambda nb: nb.cells[6].update(source="EPOCHS = 1"),
    "sizes in capitals only": lambda nb: nb.cells[5].update(source="EPOCHS = 5\nx = 3"),
    "exercise-check are not": lambda nb: _tagged(nb, hygiene.EXERCISE).update(
        source='course.check("02.1", answer_1)'
    ),
    "the last cell": lambda nb: nb.cells.append(md("The end.")),
    "closes nothing": lambda nb: nb.cells[-1].update(source="print(1)"),
    "shows a digest": lambda nb: _code(nb, f'DIGEST = "{"0f" * 32}"'),
    "registry being patched": lambda nb: _code(nb, "networks.ENCODERS['mine'] = Mine"),
    "registry being patched ": lambda nb: _code(nb, "helpers.vae.VAE = Mine"),
    "mark for the formatter": lambda nb: _code(nb, "x = 1  # fmt: skip"),
    "mark for the linter": lambda nb: _code(nb, "x = 1  # noqa: E741"),
    "returned print": lambda nb: _code(nb, "def f():\n    return print(1)"),
    "a number being recorded": lambda nb: _code(nb, "lesson.record('elbo', -90)"),
    "only True": lambda nb: _data(nb, "text/plain", "True"),
    "asserts below '## Part 4'": lambda nb: _code(nb, "\n".join(["assert 1"] * 4)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_lesson_keeps(fault):
    nb = copy.deepcopy(GOOD)
    if fault.startswith("asserts"):  # the cell comes below the last part
        nb.cells = [c for c in nb.cells if not c.source.startswith(("## R", "## S", "## E"))]
    FAULTS[fault](nb)
    found = hygiene.problems(nb, size=1, number="01")
    assert any(fault.strip() in line for line in found), found


OPENING = ["What you'll do", "What you'll learn", "What you need"]


@pytest.mark.parametrize(
    "part", [*OPENING, "Words we use", "Results", "Summary", "Exercises", "References"]
)
def test_a_lesson_has_every_part(part):
    nb = copy.deepcopy(GOOD)
    for cell in nb.cells:
        cell.source = cell.source.replace(part, "Something else")
    (found,) = hygiene.problems(nb, size=1, number="01")
    assert found.endswith(part)


def test_a_lesson_has_its_exercises_and_no_more(monkeypatch):
    monkeypatch.setattr(hygiene, "FEWER_EXERCISES", {"01": 3})
    (found,) = hygiene.problems(GOOD, size=1, number="01")
    assert found.endswith(
        'are not course.check("01.1", answer_1) to course.check("01.3", answer_3)'
    )


def test_a_file_may_be_so_large():
    assert hygiene.problems(GOOD, size=1_500_000, number="01") == []
    assert "want at most 1.5" in hygiene.problems(GOOD, size=1_600_000, number="01")[0]


def test_solutions_need_their_marks(tmp_path):
    (tmp_path / "solutions").mkdir()
    path = tmp_path / "solutions" / "01_solutions.ipynb"
    nb = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "P"}})
    nb.cells = [md("# Solve"), fake_notebook.code("### BEGIN SOLUTION\n1\n### END SOLUTION")]
    nbformat.write(as_run(nb), path)
    assert hygiene.problems_of(path) == []
    nb.cells[1].source = "### BEGIN SOLUTION\n1"
    nbformat.write(nb, path)
    assert hygiene.problems_of(path) == ["1 BEGIN SOLUTION and 0 END SOLUTION marks"]


def test_a_long_function_is_named_its_docstring_aside(tmp_path, capsys):
    lines, text = ["    x = 1"] * 39, ['    """Do.', *["    more"] * 20, '    """']
    fits = ["def fits():", *text, *lines]
    (tmp_path / "good.py").write_text("\n".join(fits), encoding="utf-8")
    assert hygiene.main([str(tmp_path)]) == 0
    (tmp_path / "bad.py").write_text("\n".join([*fits, "    x = 1"]), encoding="utf-8")
    assert hygiene.main([str(tmp_path)]) == 1
    assert "bad.py: fits has 41 lines, want at most 40" in capsys.readouterr().out
