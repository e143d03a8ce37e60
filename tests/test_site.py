"""The static site: no dead link, no request, no error; formulas, search and explorers work."""

import re
from html.parser import HTMLParser

import fake_notebook
import nbformat
import pytest

import build_site
import course
import pages


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of the committed notebooks."""
    build = tmp_path_factory.mktemp("build")
    assert build_site.main(["--build", str(build)]) == 0
    return build / "site"


class Links(HTMLParser):
    """Collects the ids of a page and what it leads to."""

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


def dead_links(site):
    """Return what leads to no file, or to no place in its page; addresses outside do not count."""
    read = {path.name: Links(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}
    dead = []
    for name, page in read.items():
        for target in page.targets:
            if re.match(r"(https?|mailto|data):", target):
                continue
            file, _, anchor = target.partition("#")  # an id may be quoted too
            file = file.split("?")[0] or name
            there = (site / file).exists() and (file not in read or not anchor or
                                                anchor in read[file].ids)  # fmt: skip
            dead += [] if there else [f"{name}: {target}"]
    return dead


def test_every_notebook_has_its_page_and_no_link_is_dead(site):
    wanted = {path.stem for path in course.notebook_paths(solutions=True)} | {"index"}
    assert wanted <= {path.stem for path in site.glob("*.html")}
    assert dead_links(site) == []
    for path in site.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert pages.fetched_addresses(text) == [] and text.count("aria-current=page") <= 1
        assert Links(text).bare == [], f"{path.name}: images without alt text"


def test_a_dead_link_is_found_and_a_missing_file_is_no_link(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "solutions").mkdir(parents=True)
    text = "[a](02_next.ipynb) [b](../README.md#x) [c](01_toy.ipynb#Summary) [d](#Nowhere)"
    nb = fake_notebook.lesson(nbformat.v4.new_markdown_cell(text))
    assert course.run(nb, tmp_path, {}).error == ""
    nbformat.write(nb, folder / "01_toy.ipynb")
    (folder / "TEACHING.md").write_text("# Teach\n\n[a lesson](01_toy.ipynb)\n", encoding="utf-8")
    arguments = ["--notebooks", str(folder), "--build", str(tmp_path)]
    assert build_site.main(arguments) == 0
    assert dead_links(tmp_path / "site") == ["01_toy.html: #Nowhere"]
    page = (tmp_path / "site" / "01_toy.html").read_text(encoding="utf-8")
    assert '<a title="not among these pages">b</a>' in page
    assert '<a href="01_toy.html#Summary">c</a>' in page
    assert '"01_toy.html#Summary", "Summary", "Train a toy"' in (
        tmp_path / "site" / "headings.js"
    ).read_text(encoding="utf-8")
    nb.cells[0].source += "\n\n![x](https://example.org/x.png)"
    nbformat.write(nb, folder / "01_toy.ipynb")
    assert build_site.main(arguments) == 1, "a page that asks the network for a picture"


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
