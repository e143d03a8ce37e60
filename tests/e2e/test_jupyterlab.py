"""Every lesson as a reader runs it: the real JupyterLab in a browser, Run > Run All Cells."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest

import course
import hygiene

TIMEOUT = 600  # seconds, for the run of one notebook
SETTINGS = "@jupyterlab/notebook-extension/tracker.jupyterlab-settings"


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab on copies of the lessons without their outputs: their folder, address, token."""
    home = tmp_path_factory.mktemp("lab")
    folder, settings = home / "notebooks", home / "settings"
    folder.mkdir()
    for path in course.notebook_paths():
        nb = course.read(path)
        for cell in nb["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
        nbformat.write(nb, folder / path.name)
    # Cells out of sight stay in the page, so that their pictures can be looked at.
    (settings / SETTINGS).parent.mkdir(parents=True)
    (settings / SETTINGS).write_text(json.dumps({"windowingMode": "none"}), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = os.environ | course.QUICK
    environment |= {
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "VAE_BUILD": str(home / "build"),
        "PYTHONPATH": str(course.ROOT),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.root_dir={folder}", f"--ServerApp.port={port}"]
    with open(home / "log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: answers(f"{base}/api/status?token={token}"), 120, home / "log")
        yield folder, base, token
    finally:
        server.terminate()
        server.wait(60)


def answers(address):
    """Return the status of an address, 0 where nothing answers yet."""
    try:
        return urllib.request.urlopen(address).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def end_kernels(base, token):
    """Shut down every kernel: one for each lesson, all with TensorFlow, need much memory."""

    def call(path, method="GET"):
        headers = {"Authorization": f"token {token}"}
        request = urllib.request.Request(f"{base}/api/{path}", method=method, headers=headers)
        return urllib.request.urlopen(request).read()

    for session in json.loads(call("sessions")):
        call(f"sessions/{session['id']}", "DELETE")


def wait(condition, seconds, what):
    """Return the first true value of condition(); fail after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s: {what}"
        time.sleep(1)
    return value


def run_all(browser):
    """Choose Run > Run All Cells in the menu, once the kernel is there (before, Lab asks)."""
    from selenium.common.exceptions import WebDriverException

    def chosen():
        try:
            assert "| Idle" in browser.find_element("id", "jp-main-statusbar").text
            menu = browser.find_element(
                "xpath", "//*[contains(@class,'lm-MenuBar-itemLabel')][.='Run']"
            )
            menu.click()
            entry = "li[data-command='notebook:run-all-cells'], "
            entry += "li[data-command='runmenu:run-all']"
            browser.find_element("css selector", entry).click()
            return True
        except (AssertionError, WebDriverException):
            return False

    wait(chosen, 120, "no menu with Run All Cells")


# The prompt of a cell that is running or waits for its turn is [*]; after a failure none waits.
NONE_WAITS = """
const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")];
return /\\d/.test(prompts[0].textContent) && !prompts.some(one => one.textContent.includes("*"));
"""


def finished(browser, path):
    """Once no cell waits any more: save, and return the notebook if it is whole."""
    from selenium.webdriver import ActionChains, Keys

    if not browser.execute_script(NONE_WAITS):
        return None
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("s").key_up(Keys.CONTROL).perform()
    time.sleep(3)
    try:
        nb = course.read(path)
    except nbformat.reader.NotJSONError:
        return None  # it is being written
    code = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    return nb if course.failed_cell(nb) or code[-1]["execution_count"] else None


def test_without_the_token_nothing_is_shown(lab):
    assert answers(f"{lab[1]}/api/contents") == 403


@pytest.mark.parametrize("name", [path.name for path in course.notebook_paths()])
def test_run_all_cells(lab, browser, name):
    folder, base, token = lab
    end_kernels(base, token)  # of the lesson before
    # A workspace of its own: a common one would open the lessons before it too.
    browser.get(f"{base}/lab/workspaces/{name[:2]}/tree/{name}?token={token}")
    run_all(browser)
    nb = wait(lambda: finished(browser, folder / name), TIMEOUT, f"{name} to run")
    time.sleep(2)  # for the last outputs to be drawn
    code = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    assert course.failed_cell(nb) == 0
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for _, tags, output in hygiene.Notebook(nb, size=1).outputs():
        assert not hygiene.prints_to_stderr(output, tags) and not hygiene.shows_a_widget(
            output, tags
        )
    pictures = "[...document.querySelectorAll('.jp-OutputArea-output img')]"
    drawn = browser.execute_script(f"return {pictures}.filter(i => i.naturalWidth > 1).length")
    outputs = [out for cell in code for out in cell["outputs"]]
    stored = sum("image/png" in out.get("data", {}) for out in outputs)
    html = "".join("".join(out.get("data", {}).get("text/html", "")) for out in outputs)
    assert stored >= 1 and drawn == stored + html.count("<img ")
    for gif in browser.find_elements("css selector", "img[src^='data:image/gif']"):
        browser.execute_script("arguments[0].scrollIntoView()", gif)
        shown = gif.screenshot_as_png
        wait(lambda gif=gif, shown=shown: gif.screenshot_as_png != shown, 10, "the GIF to move")
    page = "[class^='explorer-']"
    for part in browser.find_elements("css selector", f"{page} canvas[tabindex], {page} input"):
        said = f"""return arguments[0].closest("{page}").querySelector('[aria-live]').textContent"""
        before = browser.execute_script(said, part)
        browser.execute_script("arguments[0].scrollIntoView(); arguments[0].focus()", part)
        part.send_keys("\ue012" if part.tag_name == "input" else "\ue014")  # left; right arrow
        assert browser.execute_script(said, part) != before, "a page element does not answer"
