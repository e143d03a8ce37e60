"""Every page of the site in a browser: narrow and wide, light and dark, by mouse and keyboard."""

import shutil
import subprocess
import tarfile
import time
from contextlib import contextmanager

import pytest

import build
import course

NOTEBOOKS = [path.stem for path in course.notebook_paths(solutions=True)]
PAGES = [*NOTEBOOKS, *build.GUIDES, "index"]
WIDTHS, THEMES = (1440, 360), ("light", "dark")
LOOKS = ((1440, "light"), (360, "dark"))  # each width and each theme once: axe takes its time
AXE = "axe-core@4.14.1"  # looks for what keeps people with disabilities from using a page
# What the mouse can use, the keyboard must reach; whether a script listens cannot be asked.
CONTROLS = "a[href], button, input, select, textarea, summary, [role=application], [tabindex='0']"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of the committed notebooks."""
    folder = tmp_path_factory.mktemp("build")
    assert build.main(["site", "--build", str(folder)]) == 0
    return folder / "site"


@pytest.fixture(scope="module")
def axe(request):
    """The script of axe-core, which npm fetches once; the test is skipped where it cannot."""
    script = request.config.cache.mkdir("axe-core") / f"{AXE}.js"
    if not script.exists():
        npm = shutil.which("npm")
        if not npm:
            pytest.skip("npm is not installed: it fetches axe-core")
        folder = request.getfixturevalue("tmp_path_factory").mktemp("npm")
        done = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm could not fetch {AXE}: {done.stderr.strip().splitlines()[-1:]}")
        (packed,) = folder.glob("*.tgz")
        with tarfile.open(packed) as archive:
            script.write_bytes(archive.extractfile("package/axe.min.js").read())
    return script.read_text(encoding="utf-8")


@contextmanager
def pages(site, browser):
    """Yield a function that opens a page and returns its console's lines; then tidy up."""

    def opened(stem):
        browser.get_log("browser")
        browser.get((site / f"{stem}.html").as_uri())
        wait(lambda: browser.execute_script(SETTLED), 60)
        return browser.get_log("browser")

    look(browser)
    yield opened
    browser.get((site / "index.html").as_uri())
    browser.execute_script("localStorage.clear()")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


@pytest.fixture
def page(site, browser):
    """Open a page of this test's own."""
    with pages(site, browser) as opened:
        yield opened


@pytest.fixture(scope="module", params=PAGES)
def every_page(request, site, browser):
    """Each page, open for all tests that look at every one: its console's lines."""
    with pages(site, browser) as opened:
        yield opened(request.param)


# Once all formulas are set, and the script has looked at their sizes.
SETTLED = """
const formulas = document.querySelector("script[src*=MathJax]");
const queue = window.MathJax?.Hub?.queue;
if (document.readyState !== "complete" || formulas && !queue) return false;
if (queue && (queue.pending || queue.running)) return false;
window.frames_seen = (window.frames_seen || 0) + 1;
return window.frames_seen > 3;
"""


def wait(condition, seconds):
    """Return the first true value of condition(); fail after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s"
        time.sleep(0.1)
    return value


def look(browser, width=1440, theme="light", media="", motion="no-preference"):
    """Set the width of the window, and what the system asks of pages."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    features = {"prefers-color-scheme": theme, "prefers-reduced-motion": motion}
    features = [{"name": name, "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    time.sleep(0.3)  # for the script to look at the sizes again


def too_wide(browser):
    """Return what sticks out of the window to the right, and is in no box that scrolls."""
    return browser.execute_script("""
        const edge = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= edge) return [];
        return [...document.querySelectorAll("body *")]
          .filter(part => part.getBoundingClientRect().right > edge + 1)
          .map(part => part.outerHTML.slice(0, 100));""")


def requests_outside(browser):
    """Return the addresses outside the site that the open page asked for."""
    names = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    return [name for name in names if not name.startswith(("data:", "file:"))]


def unreached(browser):
    """Press Tab through the page; return the controls in sight that it passes by or hides."""
    from selenium.webdriver import ActionChains, Keys

    count = browser.execute_script(
        """
        window.reached = new Set();
        document.addEventListener("focusin", event => {
          if (getComputedStyle(event.target).outlineStyle !== "none") reached.add(event.target);
        });
        document.activeElement.blur();
        scrollTo(0, 0);
        return document.querySelectorAll(arguments[0]).length;""",
        CONTROLS,
    )
    ActionChains(browser).send_keys(Keys.TAB * (count + 5)).perform()
    return browser.execute_script(
        """
        return [...document.querySelectorAll(arguments[0])]
          .filter(part => part.checkVisibility({ visibilityProperty: true }) && !reached.has(part))
          .map(part => part.outerHTML.slice(0, 100));""",
        CONTROLS,
    )


def violations(browser, axe):
    """Return what axe-core finds: rule, and the first of the parts that break it."""
    if not browser.execute_script("return !!window.axe"):
        browser.execute_script(axe)
    browser.set_script_timeout(300)
    return browser.execute_async_script("""
        const done = arguments[0];
        const where = { exclude: ["th:has(math)"] };  // axe does not read MathML
        axe.run(where, { resultTypes: ["violations"] }).then(found => done(found.violations.map(
          rule => [rule.id, rule.help, ...rule.nodes.slice(0, 3).map(node => node.html)]
        )));""")


def element(browser, selector):
    """Return the first part of the page that a selector names."""
    return browser.find_element("css selector", selector)


# --- Every page ----------------------------------------------------------------------------------


def test_a_page_loads_fits_and_can_be_used_with_the_keyboard(every_page, browser):
    assert every_page == [] and requests_outside(browser) == []
    assert not browser.find_elements("css selector", ".MathJax_Error")
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    for width in WIDTHS:
        look(browser, width)
        assert too_wide(browser) == [], f"at {width} pixels"
        assert unreached(browser) == [], f"at {width} pixels"


def test_axe_finds_nothing(every_page, browser, axe):
    for width, theme in LOOKS:
        look(browser, width, theme)
        assert violations(browser, axe) == [], f"at {width} pixels, {theme}"


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_what_opens(page, browser, axe, theme):
    look(browser, 360, theme)
    page("TEACHING")
    element(browser, ".menu-button").click()
    assert violations(browser, axe) == []
    element(browser, ".menu-button").send_keys("\ue00c")  # Escape
    element(browser, ".search input").send_keys("posterior")
    wait(lambda: browser.find_elements("css selector", ".found a"), 10)
    assert violations(browser, axe) == []


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("main p').style.color = '#9aa'", "axe"),
        ("main p').style.minWidth = '2000px'", "width"),
        (".dark').tabIndex = -1", "keyboard"),
    ],
)
def test_a_planted_fault_is_found(page, browser, axe, fault, check):
    page("index")
    browser.execute_script(f"document.querySelector('{fault}")
    found = {
        "axe": violations(browser, axe),
        "width": too_wide(browser),
        "keyboard": unreached(browser),
    }
    assert [name for name, faults in found.items() if faults] == [check]


# --- What the pages do ---------------------------------------------------------------------------


def lesson_with(site, text):
    """Return the stem of the first lesson whose page holds a text."""
    lessons = [path.stem for path in course.notebook_paths()]
    return next(stem for stem in lessons if text in (site / f"{stem}.html").read_text("utf-8"))


def colour(browser, selector):
    """Return the background of a part of the page."""
    return element(browser, selector).value_of_css_property("background-color")


WHITE = "rgba(255, 255, 255, 1)"


def test_an_explorer_answers_to_the_keys(site, page, browser):
    from selenium.webdriver.common.keys import Keys

    page(lesson_with(site, 'class="explorer-'))
    assert len(browser.find_elements("css selector", ".MathJax_Display")) > 5
    canvas = element(browser, '[class^="explorer-"] canvas')
    said = element(browser, '[class^="explorer-"] [aria-live]')
    before = said.text
    browser.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert said.text != before and said.text.startswith("z = (")


def test_an_animation_moves_until_it_is_paused(site, page, browser):
    stem = lesson_with(site, "data:image/gif")
    page(stem)
    output = element(browser, "figure:has(> img[src^='data:image/gif'])")
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", output)
    shown = output.screenshot_as_png
    wait(lambda: output.screenshot_as_png != shown, 10)
    button = output.find_element("css selector", "button")
    button.click()
    shown = output.screenshot_as_png
    time.sleep(2)
    assert output.screenshot_as_png == shown
    still = output.find_element("css selector", "canvas")
    assert still.is_displayed() and still.get_attribute("aria-label").strip()
    button.click()
    wait(lambda: output.screenshot_as_png != shown, 10)
    look(browser, motion="reduce")
    page(stem)
    wait(lambda: element(browser, "figure > canvas").is_displayed(), 10)


def test_the_search_finds_words_of_the_text(site, page, browser):
    from selenium.webdriver import ActionChains, Keys

    assert page("index") == []
    ActionChains(browser).send_keys("/reparameterised").perform()
    box = element(browser, ".search input")
    links = wait(lambda: browser.find_elements("css selector", ".found a"), 10)
    assert links[0].is_displayed() and box.get_attribute("value") == "reparameterised"
    assert element(browser, ".found mark").text.lower() == "reparameterised"
    box.send_keys(" zzz")
    assert not browser.find_elements("css selector", ".found a")
    assert element(browser, ".found [role=status]").text.startswith("Nothing found")
    box.send_keys(Keys.ESCAPE)
    assert not element(browser, ".found").is_displayed() and box.get_attribute("value") == ""
    box.send_keys("exercises")
    assert len(browser.find_elements("css selector", ".found a")) >= len(course.notebook_paths())
    second = browser.find_elements("css selector", ".found a")[1].get_attribute("href")
    ActionChains(browser).send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER).perform()
    wait(lambda: browser.current_url == second and browser.execute_script(SETTLED), 60)
    assert browser.execute_script(
        "return document.getElementById(decodeURIComponent(location.hash.slice(1))).tagName"
    ).startswith("H")
    assert requests_outside(browser) == []


@pytest.mark.parametrize(("stem", "other"), [build.GUIDES, build.GUIDES[::-1]])
def test_a_page_for_teachers_is_found_and_leads_to_the_other(page, browser, stem, other):
    page("index")
    for link in (f"nav.lessons a[href='{stem}.html']", f"main a[href='{other}.html']"):
        element(browser, link).click()
        wait(lambda: browser.execute_script(SETTLED), 60)
    assert browser.current_url.endswith(f"/{other}.html")
    assert browser.title.startswith(element(browser, "nav.lessons [aria-current]").text)


def test_dark_mode_follows_the_system_until_it_is_switched(page, browser):
    page("TEACHING")
    assert colour(browser, "body") == WHITE
    look(browser, theme="dark")
    dark = colour(browser, "body")
    assert dark != WHITE
    switch = element(browser, ".dark")
    assert switch.get_attribute("aria-checked") == "true"
    switch.click()
    assert colour(browser, "body") == WHITE and switch.get_attribute("aria-checked") == "false"
    page("index")
    assert colour(browser, "body") == WHITE, "the choice holds on the next page"
    element(browser, ".dark").click()
    assert colour(browser, "body") == dark
    look(browser, theme="light")
    assert colour(browser, "body") == WHITE, "the system's theme was chosen: it is followed again"


def test_figures_stay_white_in_the_dark_and_paper_is_white(site, page, browser):
    look(browser, theme="dark")
    page(lesson_with(site, "data:image/png"))
    assert colour(browser, "figure > img") == WHITE and colour(browser, "body") != WHITE
    look(browser, theme="dark", media="print")
    assert colour(browser, "body") == WHITE
    for selector in (".top", "nav.lessons", "nav.headings", "nav.around", ".copy"):
        assert not element(browser, selector).is_displayed()
    assert element(browser, "figure > img").is_displayed()


def test_code_is_copied(site, page, browser):
    page(lesson_with(site, "details"))
    browser.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    code = element(browser, ".cell > .highlight")
    browser.execute_script("arguments[0].querySelector('button').focus()", code)
    code.find_element("css selector", "button").click()
    wait(lambda: code.find_element("css selector", "button").text == "Copied", 10)
    copied = browser.execute_async_script(
        "const done = arguments[0]; navigator.clipboard.readText().then(done, e => done(String(e)))"
    )
    assert copied == code.find_element("css selector", "pre").get_attribute("textContent").strip()


def test_the_menu_of_a_narrow_page_opens_and_closes_by_keyboard(page, browser):
    from selenium.webdriver import ActionChains, Keys

    look(browser, 360)
    page("TEACHING")
    menu = element(browser, "#menu")
    assert not menu.is_displayed()
    element(browser, ".menu-button").send_keys(Keys.ENTER)
    assert menu.is_displayed()
    ActionChains(browser).send_keys(Keys.TAB).perform()
    assert browser.switch_to.active_element == element(browser, "nav.lessons a")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not menu.is_displayed()
    element(browser, ".menu-button").send_keys(Keys.ENTER)
    heading = element(browser, "nav.headings a")
    heading.send_keys(Keys.ENTER)
    assert not menu.is_displayed() and browser.current_url == heading.get_attribute("href")


def test_the_heading_in_sight_is_marked(site, page, browser):
    page(lesson_with(site, "data:image/png"))
    link = browser.find_elements("css selector", "nav.headings a")[4]
    link.click()
    wait(lambda: link.get_attribute("aria-current") == "true", 10)
    assert len(browser.find_elements("css selector", "nav.headings [aria-current]")) == 1
    assert link.is_displayed()
