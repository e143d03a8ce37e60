"""The pages of `make run` and `make site`: what stands on them, where they lead, what is searched.

What they look like, and whether they work, is tested in a browser: tests/e2e/test_site.py.
"""

import json
import re
import shutil

import nbformat
import pytest
from bs4 import BeautifulSoup

import build
import course
import fake_notebook
import generate
import page


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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of the committed notebooks."""
    folder = tmp_path_factory.mktemp("build")
    assert build.main(["site", "--build", str(folder)]) == 0
    return folder / "site"


def add_prose(folder, text):
    """Write the good lesson again, with one more cell of prose."""
    nb = course.read(folder / "01_toy.ipynb")
    nb.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(nb, folder / "01_toy.ipynb")


def built(folder, tmp_path):
    """Return the lesson's page as a tree, and the exit code of the command."""
    code = build.main(["site", "--notebooks", str(folder), "--build", str(tmp_path)])
    text = (tmp_path / "site" / "01_toy.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser"), code


def searched(site):
    """Return what the search looks through: [address, page, heading, text] of each section."""
    script = (site / "search.js").read_text(encoding="utf-8")
    return json.loads(script.removeprefix("const SECTIONS = ").removesuffix(";\n"))


@pytest.mark.parametrize("named", ["{}/built", "~/built"])
def test_pages_are_written_where_vae_build_says(folder, tmp_path, monkeypatch, named):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAE_BUILD", named.format(tmp_path))
    assert build.main(["site", "--notebooks", str(folder)]) == 0
    assert (tmp_path / "built" / "site" / "01_toy.html").exists()


# --- make run ------------------------------------------------------------------------------------


def test_a_run_goes_on_after_a_failure(folder, tmp_path, capsys):
    bad = fake_notebook.lesson(fake_notebook.code("1 / 0"), title="Fail & fall")
    nbformat.write(bad, folder / "02_bad.ipynb")
    shutil.copy(folder / "01_toy.ipynb", folder / "03_good.ipynb")
    arguments = ["run", "--notebooks", str(folder), "--build", str(tmp_path / "build")]
    assert build.main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4, "a line for each lesson and one for all"
    assert re.fullmatch(r"01_toy.ipynb … \d+ s(, \d+ MB)?, ok", lines[0])
    assert lines[1].endswith("FAILED in cell 7: ZeroDivisionError: division by zero")
    assert lines[3].startswith("3 lessons, 1 failed, 0:00:")
    pages = {path.name: path.read_text("utf-8") for path in (tmp_path / "build").glob("*.html")}
    assert pages.keys() == {"index.html", "01_toy.html", "02_bad.html", "03_good.html"}
    front = pages["index.html"]
    assert "Fail &amp; fall" in front and "ZeroDivisionError: division by zero" in front
    assert front.count("It adds.") == 3 and front.count("<img alt=") == 3
    for text in pages.values():
        assert text.count('aria-current="page"') == 1
    assert (tmp_path / "build" / "02_bad.ipynb").exists()
    (folder / "02_bad.ipynb").unlink()
    assert build.main(["run", "3", *arguments[1:]]) == 0


def test_mathjax_lies_beside_the_pages(folder, tmp_path):
    tree, _ = built(folder, tmp_path)
    script, _, configuration = tree.select_one("script[defer]")["src"].partition("?config=")
    mathjax = tmp_path / "site" / "mathjax"
    assert (tmp_path / "site" / script).exists()
    assert (mathjax / "config" / f"{configuration.split(',')[0]}.js").exists()
    settings = (tmp_path / "site" / "design" / "site.js").read_text(encoding="utf-8")
    font = re.search(r'webFont: "([\w-]+)"', settings)[1]  # others it would ask for are not there
    assert list((mathjax / "fonts" / "HTML-CSS" / font).glob("**/*.woff"))


@pytest.mark.parametrize(
    ("prose", "sentence"),
    [
        ("# T\n\nIt adds. Then more.", "It adds."),
        ("# T\nIt adds\ntwo `x`. More.", "It adds two x."),
        ("# T\n\n[next](02.ipynb)\n\n**What you'll do.** You *add* [it](x). More.", "You add it."),
        ("# T\n\n[a](b) · [c](d)\n\n* a list\n\n| a table |\n\nWell, no stop", "Well, no stop"),
        ("# T\n\nThe flow of Kingma et al. (2016), e.g. a. b. More.", None),
        ("# T", ""),
    ],
)
def test_the_sentence_of_the_front_page(prose, sentence):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(prose)])
    if sentence is None:
        sentence = "The flow of Kingma et al. (2016), e.g. a."
    assert course.title_and_sentence(nb) == ("T", sentence)


@pytest.mark.parametrize(
    "text",
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
def test_what_a_page_would_fetch_is_found(text):
    assert page.fetched_addresses(text)
    assert not page.fetched_addresses('<a href="https://example.org">a link</a>')


# --- make site -----------------------------------------------------------------------------------


def test_every_notebook_has_its_page_and_nothing_is_wrong_with_it(site, capsys):
    wanted = {path.stem for path in course.notebook_paths(solutions=True)}
    wanted |= {"index", "TEACHING", "MARKING"}
    assert wanted == {path.stem for path in site.glob("*.html")}
    assert "error" not in capsys.readouterr().out
    for path in site.glob("*.html"):
        assert path.read_text(encoding="utf-8").count('aria-current="page"') <= 1
    assert 'class="explorer-' in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("prose", "problem"),
    [
        ("[d](#Nowhere)", "#Nowhere leads nowhere"),
        ("[d](01_toy.ipynb#Nowhere)", "01_toy.html#Nowhere leads nowhere"),
        ("## Summary", "the id Summary stands 2 times"),
        ('<img src="data:image/png;base64,xx">', "pictures without alternative text: 1"),
        ("![](data:image/png;base64,xx)", "pictures without alternative text: 1"),
        ("![x](https://example.org/x.png)", "would fetch <img alt="),
    ],
)
def test_what_is_wrong_with_a_page_is_said(folder, tmp_path, capsys, prose, problem):
    add_prose(folder, prose)
    _, code = built(folder, tmp_path)
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(errors) == 1
    assert errors[0].startswith("error: 01_toy.html: ") and problem in errors[0]


@pytest.mark.parametrize("address", ["", "someone/vae-hands-on"])
def test_links_lead_to_pages_and_to_the_files_of_the_repository(
    folder, tmp_path, monkeypatch, address
):
    add_prose(folder, "[a](02_next.ipynb) [b](../README.md#x) [c](01_toy.ipynb#Summary)")
    (folder / "TEACHING.md").write_text("# Teach\n\n[a lesson](01_toy.ipynb)\n", encoding="utf-8")
    monkeypatch.setattr(generate, "address_of", lambda _: address)
    tree, code = built(folder, tmp_path)
    a, b, c = tree.select("main p")[-1].select("a")
    files = f"https://github.com/{address}/blob/{generate.RELEASE}"
    assert a.get("href") == (f"{files}/notebooks/02_next.ipynb" if address else None)
    assert b.get("href") == (f"{files}/README.md#x" if address else None)
    assert (code, c["href"]) == (0, "01_toy.html#Summary")


def test_the_pages_for_teachers_lead_to_each_other_and_are_listed_and_searched(folder, tmp_path):
    add_prose(folder, "[teach](TEACHING.md) and [mark](MARKING.md#Lesson-01)")
    teaching = "# Teach a toy\n\n[how to mark](MARKING.md#Lesson-01), [a lesson](01_toy.ipynb)\n"
    (folder / "TEACHING.md").write_text(teaching, encoding="utf-8")
    marking = "# Mark a toy\n\n[when to set it](TEACHING.md)\n\n## Lesson 01\n\n| asks |\n| --- |\n"
    (folder / "MARKING.md").write_text(marking, encoding="utf-8")
    tree, code = built(folder, tmp_path)
    assert code == 0
    links = [link["href"] for link in tree.select("main p")[-1].select("a")]
    assert links == ["TEACHING.html", "MARKING.html#Lesson-01"]
    listed = {link["href"]: link.get_text() for link in tree.select("nav.lessons a")}
    assert listed["TEACHING.html"] == "Teach a toy" and listed["MARKING.html"] == "Mark a toy"
    for name, targets in {
        "TEACHING": ["MARKING.html#Lesson-01", "01_toy.html"],
        "MARKING": ["TEACHING.html"],
    }.items():
        page = BeautifulSoup((tmp_path / "site" / f"{name}.html").read_text("utf-8"), "html.parser")
        assert [link["href"] for link in page.select("main p a")] == targets
        assert page.select_one('nav.lessons [aria-current="page"]')["href"] == f"{name}.html"
    assert page.select("div.scroll > table th") and page.select("nav.headings a")
    found = ["MARKING.html#Lesson-01", "Mark a toy", "Lesson 01", "asks "]
    assert searched(tmp_path / "site")[-1] == found


def test_folded_cells_stay_folded_under_a_name(folder, tmp_path):
    nb = course.read(folder / "01_toy.ipynb")
    hidden = {"jupyter": {"source_hidden": True}}
    shown = nbformat.v4.new_output("stream", name="stdout", text="seen")
    nb.cells += [
        fake_notebook.code("# @title Fetch & go\nfetch = 1", **hidden),
        fake_notebook.code("if course.quick:\n    n = 1", "quick-sizes", **hidden),
        fake_notebook.code("lesson.close()", "closing", outputs=[shown], **hidden),
        fake_notebook.code("draw = 1", **hidden),
    ]
    nbformat.write(nb, folder / "01_toy.ipynb")
    tree, _ = built(folder, tmp_path)
    folded = tree.select("main details")
    assert [part.summary.get_text() for part in folded] == [
        "Fetch & go",
        "Smaller sizes, for tests",
        "Compare with the published run",
        "Show the code",
    ]
    assert not any(part.has_attr("open") for part in folded)
    assert "seen" in [pre.get_text() for pre in tree.select("figure.output > pre")]
    assert not any("seen" in part.get_text() for part in folded)


def test_all_kinds_of_outputs_are_shown_and_alt_texts_kept(folder, tmp_path):
    error = nbformat.v4.new_output(
        "error", ename="E", evalue="v", traceback=["\x1b[31mE\x1b[0m: <v>"]
    )
    html = nbformat.v4.new_output("execute_result", {"text/html": "<b id='own'>x</b>"})
    nb = course.read(folder / "01_toy.ipynb")
    nb.cells.append(fake_notebook.code("x", outputs=[html, error]))
    nbformat.write(nb, folder / "01_toy.ipynb")
    tree, _ = built(folder, tmp_path)
    assert tree.select_one("main img")["alt"] == 'a "<dot>"'
    shown = [part.get_text().strip() for part in tree.select("figure.output")]
    assert shown[1:3] == ["1", "1"], "what is printed, and the value of the last line"
    assert tree.select_one("figure.output > #own").get_text() == "x"
    assert tree.select_one("figure.output > pre.error").get_text().strip() == "E: <v>"


def test_tables_scroll_in_a_box_and_an_empty_corner_is_no_heading(folder, tmp_path):
    add_prose(folder, "| | b |\n| --- | --- |\n| c | d |")
    tree, _ = built(folder, tmp_path)
    assert [th.get_text() for th in tree.select("div.scroll > table th")] == ["b"]
    assert [td.get_text() for td in tree.select("div.scroll > table td")] == ["", "c", "d"]


def test_the_search_holds_prose_and_code_and_nothing_that_is_folded_or_computed(folder, tmp_path):
    folded = fake_notebook.code("folded = 1", **{"jupyter": {"source_hidden": True}})
    printed = nbformat.v4.new_output("stream", name="stdout", text="computed")
    nb = course.read(folder / "01_toy.ipynb")
    prose = "## A *new* $z$\n\nWords, $x$ and $\\frac{p}{q}$.\n\n| cell |\n| --- |\n| row |"
    nb.cells += [
        nbformat.v4.new_markdown_cell(prose),
        fake_notebook.code("shown = 1", outputs=[printed]),
        folded,
    ]
    nbformat.write(nb, folder / "01_toy.ipynb")
    tree, _ = built(folder, tmp_path)
    address, where, heading, text = searched(tmp_path / "site")[-1]
    assert (where, heading) == ("Train a toy", "A new z")
    assert tree.find(id=address.removeprefix("01_toy.html#")).name == "h2"
    assert text.strip() == "Words, x and …. cell row shown = 1"
    contents = tree.select("nav.headings a")
    assert [link.get_text() for link in contents][-1] == "A new z"


def test_a_lesson_leads_to_its_neighbours_and_solutions(site):
    lessons = [path.stem for path in course.notebook_paths()]
    tree = BeautifulSoup((site / f"{lessons[1]}.html").read_text("utf-8"), "html.parser")
    around = [link["href"] for link in tree.select("nav.around a")]
    assert around == [f"{lessons[0]}.html", "02_solutions.html", f"{lessons[2]}.html"]
    tree = BeautifulSoup((site / "02_solutions.html").read_text("utf-8"), "html.parser")
    assert [link["href"] for link in tree.select("nav.around a")] == [f"{lessons[1]}.html"]
