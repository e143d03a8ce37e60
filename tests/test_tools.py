"""The project scripts, on tiny notebooks of their own."""

import shutil

import fake_notebook
import nbformat
import pytest

import course
import execute
import hygiene
import pages
import ranges
import readme_table
import run_notebooks
import taught
import verify_results


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A good lesson, run once."""
    nb = fake_notebook.lesson()
    assert course.run(nb, tmp_path_factory.mktemp("run"), {}).error == ""
    return nbformat.writes(nb)


@pytest.fixture
def folder(executed, tmp_path):
    """A notebooks folder with the one good lesson."""
    path = tmp_path / "notebooks"
    path.mkdir()
    (path / "01_toy.ipynb").write_text(executed, encoding="utf-8")
    return path


def test_the_good_lesson_has_no_problem(folder):
    assert hygiene.problems_of(folder / "01_toy.ipynb") == []


def _output(nb, **output):
    cell = next(c for c in nb.cells if "nbval-check-output" in course.tags(c))
    cell.outputs.append(nbformat.v4.new_output(**output))


def _data(nb, kind, value, **metadata):
    _output(nb, output_type="display_data", data={kind: value}, metadata=metadata)


def _stream(nb, text, name="stdout"):
    _output(nb, output_type="stream", name=name, text=text)


def _add(nb, *cells):
    nb.cells.extend(cells)


def _code(nb, source):
    count = sum(cell.cell_type == "code" for cell in nb.cells) + 1
    _add(nb, nbformat.v4.new_markdown_cell("More."), fake_notebook.code(source, count=count))


def _widen(nb):
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = "\n".join(["x = 1"] * 9)


def _untag(nb):
    for cell in nb.cells:
        cell.metadata.pop("tags", None)


def _picture(nb):
    return next(out for cell in nb.cells[:2] for out in cell.get("outputs", []))


GIF = '<img alt="spin" src="data:image/gif;base64,{}">'
SPOILS = {
    "want 4.5": lambda nb: nb.update(nbformat_minor=4),
    "ids are missing": lambda nb: nb.cells[0].update(id=nb.cells[1].id),
    "kernelspec": lambda nb: nb.metadata.kernelspec.update(name="conda-env"),
    "widget state": lambda nb: nb.metadata.update(widgets={}),
    "want at most 1.5": lambda nb: _stream(nb, "x" * 1_600_000),
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
    "bare GIF": lambda nb: _data(nb, "image/gif", "R0lG"),
    "png has no alt": lambda nb: _picture(nb).update(metadata={}),
    "HTML image has no alt": lambda nb: _data(nb, "text/html", '<img src="data:,">'),
    "HTML image has no alt ": lambda nb: _data(nb, "text/html", '<img alt="" src="data:,">'),
    "a GIF has more": lambda nb: _data(nb, "text/html", GIF.format("A" * 360_000)),
    "its HTML has more": lambda nb: _data(nb, "text/html", "x" * 410_000),
    "tagged": lambda nb: nb.cells[3].update(outputs=[]),
    "2 H1": lambda nb: _add(nb, nbformat.v4.new_markdown_cell("# Again")),
    "picture in the prose": lambda nb: _add(nb, nbformat.v4.new_markdown_cell("![](x.png)")),
    "colour map jet": lambda nb: _code(nb, "plt.imshow(x, cmap='jet')"),
    "empty code cell": lambda nb: _code(nb, ""),
    "median": _widen,
    "at most 40": lambda nb: _code(nb, "\n".join(["x = 1"] * 41)),
    "in a row": lambda nb: [nb.cells.insert(4, fake_notebook.code("1")) for _ in range(4)],
    "words of prose": lambda nb: nb.cells.pop(0),
    "no heading for References": lambda nb: nb.cells.pop(-1),
    "0 cells tagged": _untag,
    "no picture": lambda nb: nb.cells[1].update(outputs=[]),
}


@pytest.mark.parametrize("problem", SPOILS)
def test_hygiene_finds(folder, problem):
    path = folder / "01_toy.ipynb"
    nb = course.read(path)
    SPOILS[problem](nb)
    size = len(nbformat.writes(nb)) if "at most 1.5" in problem else path.stat().st_size
    found = hygiene.problems(nb, size=size)
    assert any(problem.strip() in line for line in found), found


def test_solutions_need_their_marks(folder):
    (folder / "solutions").mkdir()
    path = folder / "solutions" / "01_solutions.ipynb"
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "P"}})
    _add(nb, nbformat.v4.new_markdown_cell("# Solve"))
    _add(nb, fake_notebook.code("### BEGIN SOLUTION\n1\n### END SOLUTION", count=1))
    nbformat.write(nb, path)
    assert hygiene.problems_of(path) == []
    nb.cells[1].source = "### BEGIN SOLUTION\n1"
    nbformat.write(nb, path)
    assert hygiene.problems_of(path) == ["1 BEGIN SOLUTION and 0 END SOLUTION marks"]
    assert course.notebook_paths("1", folder, solutions=True) == [folder / "01_toy.ipynb", path]
    assert course.notebook_paths("", folder) == [folder / "01_toy.ipynb"]
    with pytest.raises(SystemExit, match=r"no notebook 09 .* 01"):
        course.notebook_paths("9", folder)


def test_run_notebooks_goes_on_after_a_failure(folder, tmp_path, capsys):
    bad = fake_notebook.lesson(fake_notebook.code("1 / 0"), title="Fail & fall")
    nbformat.write(bad, folder / "02_bad.ipynb")
    shutil.copy(folder / "01_toy.ipynb", folder / "03_good.ipynb")
    build = tmp_path / "build"
    assert run_notebooks.main(["--notebooks", str(folder), "--build", str(build)]) == 1
    index = (build / "index.html").read_text()
    assert index.count('class="ok"') == 2 and index.count('class="failed"') == 1
    assert "02 Fail &amp; fall" in index and "failed in cell 7: ZeroDivisionError" in index
    assert "<td>It adds.</td>" in index and "3 notebooks, 1 failed" in index
    for name in ("01_toy", "02_bad", "03_good"):
        assert (build / f"{name}.ipynb").exists()
        page = (build / f"{name}.html").read_text()
        assert pages.fetched_addresses(page) == []
        assert '<script src="mathjax/MathJax.js' in page
        assert """<img alt='a "&lt;dot&gt;"'""" in page
    assert (build / "mathjax" / "MathJax.js").exists()
    assert (build / "mathjax" / "config" / "TeX-AMS-MML_HTMLorMML-full.js").exists()
    assert 'webFont: "STIX-Web"' in page  # MathJax would ask for fonts that are not in the bundle
    assert list((build / "mathjax" / "fonts" / "HTML-CSS" / "STIX-Web").glob("**/*.woff"))
    (folder / "02_bad.ipynb").unlink()
    assert run_notebooks.main(["--notebooks", str(folder), "--build", str(build)]) == 0


@pytest.mark.parametrize(
    ("prose", "sentence"),
    [
        ("# T\n\nIt adds. Then more.", "It adds."),
        ("# T\nIt adds\ntwo `x`. More.", "It adds two x."),
        ("# T\n\n[next](02.ipynb)\n\n**What you'll do.** You *add* [it](x). More.", "You add it."),
        ("# T\n\n[a](b) · [c](d)\n\n* a list\n\n| a table |\n\nWell, no stop", "Well, no stop"),
        ("# T", ""),
    ],
)
def test_the_sentence_of_the_index(prose, sentence):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(prose)])
    assert course.title_and_sentence(nb) == ("T", sentence)


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/require.js"></script>',
        '<script async src="//cdn.example/x.js"></script>',
        "<link rel='stylesheet' href='http://example.org/a.css'>",
        '<img alt="x" src="https://example.org/x.png">',
        'const m = (await import("https://cdn.example/mermaid.mjs")).default',
        "@import 'https://fonts.example/css'; ",
        "background: url(https://example.org/x.png)",
    ],
)
def test_what_a_page_would_fetch_is_found(page):
    assert pages.fetched_addresses(page)
    assert not pages.fetched_addresses('<a href="https://example.org">a link</a>')


def test_clean_names_all_it_changes():
    nb = fake_notebook.lesson()
    nb.nbformat_minor = 4
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


@pytest.fixture
def house(folder, tmp_path, monkeypatch):
    """A repository of its own for execute.py, which writes in place."""
    monkeypatch.setattr(course, "ROOT", tmp_path)
    monkeypatch.setattr(execute.evaluation, "ROOT", tmp_path)
    monkeypatch.setenv("VAE_BUILD", str(tmp_path / "build"))
    return tmp_path


RECORD = """import json, os, pathlib
path = pathlib.Path(os.environ["VAE_BUILD"], "results", os.environ["VAE_PROFILE"], "01.json")
path.parent.mkdir(parents=True, exist_ok=True)
entry = {{"value": {}, "command": os.environ["VAE_COMMAND"]}}
_ = path.write_text(json.dumps({{"01/a/b/c/{}": entry}}))"""


def test_execute_leaves_the_numbers_of_the_lesson_beside_its_solutions(house, folder):
    lesson, answers = folder / "01_toy.ipynb", folder / "solutions" / "01_solutions.ipynb"
    answers.parent.mkdir()
    nb = fake_notebook.lesson(fake_notebook.code(RECORD.format(1, "d")))
    nbformat.write(nb, lesson)
    nb.cells[-1].source = "### BEGIN SOLUTION\n1\n### END SOLUTION"
    nbformat.write(nb, answers)
    for path in (lesson, answers):
        assert execute.execute(path, recording=False) == []
    assert (house / "build" / "results" / "full" / "01.json").exists()
    for path in (lesson, answers):
        assert execute.execute(path, recording=True) == []
    assert len(execute.evaluation.read_results(house / "data" / "results.json")) == 1


def test_execute_stores_outputs_and_numbers(house, folder):
    path, published = folder / "01_toy.ipynb", house / "data" / "results.json"
    for name in ("d", "e"):  # the second run no longer records d
        nbformat.write(fake_notebook.lesson(fake_notebook.code(RECORD.format(1, name))), path)
        before = path.read_text()
        assert execute.execute(path, recording=False) == []
        assert path.read_text() == before
        assert execute.execute(path, recording=True) == []
        assert hygiene.problems_of(path) == []
        entries = execute.evaluation.read_results(published)
        assert list(entries) == [f"01/a/b/c/{name}"]
        assert entries[f"01/a/b/c/{name}"]["command"] == "make execute NB=01"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('warning', file=sys.stderr)", "stderr"),
        ("print('/home/' + 'me')", "machine path"),
    ],
)
def test_execute_refuses_and_keeps_what_was_there(house, folder, source, problem):
    path = folder / "01_toy.ipynb"
    cells = fake_notebook.code(RECORD.format(1, "d")), fake_notebook.code(source)
    nbformat.write(fake_notebook.lesson(*cells), path)
    before = path.read_text()
    found = execute.execute(path, recording=True)
    assert len(found) == 1 and problem in found[0]
    assert path.read_text() == before
    assert not (house / "data" / "results.json").exists()
    assert (house / "build" / "failed" / "01_toy.ipynb").exists()


HELPER = '''
LIMIT: int = 3


def deco(f):
    return f


class Model:
    """A model."""

    @deco
    def elbo(self, x):
        """Return the bound.

        Shape (batch,).
        """
        return x - 1  # one less
'''


def test_taught_cells(house, folder, capsys, monkeypatch):
    (house / "helpers").mkdir()
    (house / "helpers" / "toy.py").write_text(HELPER)
    path = folder / "01_toy.ipynb"
    cell = fake_notebook.code("def elbo(self, x): ...", taught="helpers.toy:Model.elbo")
    nbformat.write(fake_notebook.lesson(cell), path)
    assert taught.main(["--check", str(path)]) == 1
    assert "differs" in capsys.readouterr().out
    assert taught.main([str(path)]) == 0
    assert taught.main(["--check", str(path)]) == 0
    nb = course.read(path)
    assert nb.cells[-1].source.startswith('@deco\ndef elbo(self, x):\n    """Return')
    assert nb.cells[-1].source.endswith("    return x - 1  # one less")
    nb.cells[-1].source = nb.cells[-1].source.replace("x - 1", "(x\n        - 1)")
    nbformat.write(nb, path)
    assert taught.differences([path]) == []  # the same syntax tree
    nb.cells[-1].source = nb.cells[-1].source.replace("- 1", "- 2")
    nbformat.write(nb, path)
    assert len(taught.differences([path])) == 1
    shutil.copy(path, folder / "02_again.ipynb")
    twice = taught.differences([path, folder / "02_again.ipynb"])
    assert any("taught in 01_toy.ipynb already" in line for line in twice)
    assert taught.helper_source("helpers.toy:LIMIT") == "LIMIT: int = 3"
    for name in ("helpers.toy", "helpers.none:x", "helpers.toy:Model.none"):
        with pytest.raises(ValueError, match=name):
            taught.helper_source(name)
    with pytest.raises(SystemExit, match="no such notebook"):
        taught.main(["nowhere.ipynb"])


@pytest.mark.parametrize(
    ("script", "wrong"),
    [
        (execute, ["x"]),
        (readme_table, ["--chek"]),
        (ranges, ["01", "--seeds", "1", "2"]),
        (run_notebooks, ["--bad"]),
        (verify_results, ["a", "b"]),
    ],
)
def test_scripts_explain_themselves(script, wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(wrong)
    assert stop.value.code and "usage" in f"{stop.value.code}{capsys.readouterr().err}"
