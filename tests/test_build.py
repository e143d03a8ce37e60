"""The pages of `make run` and `make site`: links, requests, formulas, search, explorers."""

import re
import shutil
from html.parser import HTMLParser

import nbformat
import pytest

import build
import course
import fake_notebook


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


class Links(HTMLParser):
    """Collects the ids of a page, what it leads to, and images without alt text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.targets, self.bare = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.targets += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        if tag == "img" and not (attributes.get("alt") or "").strip():
            self.bare.append(attributes.get("src", "")[:40])


def dead_links(folder):
    """Return what leads to no file, or to no place in its page; addresses outside do not count."""
    read = {path.name: Links(path.read_text(encoding="utf-8")) for path in folder.glob("*.html")}
    dead = []
    for name, page in read.items():
        for target in page.targets:
            if re.match(r"(https?|mailto|data):", target):
                continue
            file, _, anchor = target.partition("#")  # an id may be quoted too
            file = file.split("?")[0] or name
            known = file not in read or not anchor or anchor in read[file].ids
            if not (known and (folder / file).exists()):
                dead.append(f"{name}: {target}")
    return dead


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
    assert "02 Fail &amp; fall" in front and "ZeroDivisionError: division by zero" in front
    assert front.count("It adds.") == 3 and front.count("<img alt=") >= 3
    for page in pages.values():
        assert build.fetched_addresses(page) == [] and Links(page).bare == []
        assert page.count('aria-current="page"') == 1
    assert """<img alt='a "&lt;dot&gt;"'""" in pages["01_toy.html"]
    assert dead_links(tmp_path / "build") == []
    assert (tmp_path / "build" / "02_bad.ipynb").exists()
    (folder / "02_bad.ipynb").unlink()
    assert build.main(["run", "3", *arguments[1:]]) == 0


def test_mathjax_lies_beside_the_pages(folder, tmp_path):
    assert build.main(["site", "--notebooks", str(folder), "--build", str(tmp_path)]) == 0
    page = (tmp_path / "site" / "01_toy.html").read_text(encoding="utf-8")
    script = re.search(r'<script src="(mathjax/MathJax\.js)\?config=([\w-]+)', page)
    mathjax = tmp_path / "site" / "mathjax"
    assert (tmp_path / "site" / script[1]).exists()
    assert (mathjax / "config" / f"{script[2]}.js").exists()
    font = re.search(r'webFont: "([\w-]+)"', page)[1]  # others it would ask for are not there
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
    assert build.fetched_addresses(page)
    assert not build.fetched_addresses('<a href="https://example.org">a link</a>')


# --- make site -----------------------------------------------------------------------------------


def test_every_notebook_has_its_page_and_no_link_is_dead(site):
    wanted = {path.stem for path in course.notebook_paths(solutions=True)} | {"index", "TEACHING"}
    assert wanted == {path.stem for path in site.glob("*.html")}
    assert dead_links(site) == []
    for path in site.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert build.fetched_addresses(text) == [] and text.count('aria-current="page"') <= 1
        assert Links(text).bare == [], f"{path.name}: images without alt text"


def test_a_dead_link_is_found_and_a_missing_file_is_no_link(folder, tmp_path, capsys):
    text = "[a](02_next.ipynb) [b](../README.md#x) [c](01_toy.ipynb#Summary) [d](#Nowhere)"
    nb = course.read(folder / "01_toy.ipynb")
    nb.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(nb, folder / "01_toy.ipynb")
    (folder / "TEACHING.md").write_text("# Teach\n\n[a lesson](01_toy.ipynb)\n", encoding="utf-8")
    arguments = ["site", "--notebooks", str(folder), "--build", str(tmp_path)]
    assert build.main(arguments) == 0
    assert dead_links(tmp_path / "site") == ["01_toy.html: #Nowhere"]
    page = (tmp_path / "site" / "01_toy.html").read_text(encoding="utf-8")
    assert '<a title="not among these pages">b</a>' in page
    assert '<a href="01_toy.html#Summary">c</a>' in page
    search = (tmp_path / "site" / "headings.js").read_text(encoding="utf-8")
    assert '"01_toy.html#Summary", "Summary", "Train a toy"' in search
    nb.cells[0].source += "\n\n![x](https://example.org/x.png)"
    nbformat.write(nb, folder / "01_toy.ipynb")
    capsys.readouterr()
    assert build.main(arguments) == 1, "a page that asks the network for a picture"
    assert "error: 01_toy.ipynb would fetch" in capsys.readouterr().out


def opened(browser, path):
    """Open a page and wait until its formulas are set; return its console's lines."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get_log("browser")
    browser.get(path.as_uri())
    ready = "return window.MathJax && MathJax.Hub && MathJax.Hub.queue.pending === 0 && "
    ready += "!MathJax.Hub.queue.running && document.readyState === 'complete'"
    WebDriverWait(browser, 60).until(lambda page: page.execute_script(ready))
    return browser.get_log("browser")


def requests_outside(browser):
    """Return the addresses outside the site that the open page asked for."""
    names = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    return [name for name in names if not name.startswith(("data:", "file:"))]


def test_a_lesson_in_the_browser(site, browser):
    from selenium.webdriver.common.keys import Keys

    lesson = next(p for p in sorted(site.glob("*.html")) if 'class="explorer-' in p.read_text())
    assert opened(browser, lesson) == [] and requests_outside(browser) == []
    assert len(browser.find_elements("css selector", ".MathJax, .MathJax_Display")) > 10
    assert not browser.find_elements("css selector", ".MathJax_Error")
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    assert browser.find_elements("css selector", 'img[src^="data:image/gif"]')
    canvas = browser.find_element("css selector", '[class^="explorer-"] canvas')
    said = browser.find_element("css selector", '[class^="explorer-"] [aria-live]')
    before = said.text
    browser.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert said.text != before and said.text.startswith("z = (")


def test_the_search_leads_to_a_heading(site, browser):
    from selenium.webdriver.common.keys import Keys

    assert opened(browser, site / "index.html") == [] and requests_outside(browser) == []
    box = browser.find_element("css selector", "nav input")
    box.send_keys("exercises")
    links = browser.find_elements("css selector", "nav li a")
    assert len(links) >= len(course.notebook_paths()) and links[0].is_displayed()
    box.send_keys(" zzz")
    assert not browser.find_elements("css selector", "nav li")
    assert "No heading" in browser.find_element("css selector", "nav ul").text
    box.send_keys(Keys.ESCAPE)
    assert not browser.find_element("css selector", "nav ul").is_displayed()
    box.send_keys("network", Keys.ENTER)
    assert "#" in browser.current_url and browser.current_url.startswith(site.as_uri())
    here = browser.execute_script(
        "return document.getElementById(decodeURIComponent(location.hash.slice(1))).textContent"
    )
    assert "network" in here.lower() or "network" in browser.title.lower()
