"""The page elements in a real browser: pointer, touch, keyboard, no network."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from helpers import data
from helpers.course import widgets
from helpers.vae import VAE

POINTS = np.array([[-2.0, -2.0], [2.0, 2.0], [2.0, -2.0]])
NAMES = ("cat", "dog", "</script>")


class Ramp(VAE):
    """A VAE whose image is one grey: z1 sets its top half, z2 its bottom half."""

    def likelihood(self, z):
        grey = 1 / (1 + np.exp(-np.asarray(z)))  # (batch, latent)
        image = np.ones((len(grey), 28, 28, 1)) * grey[:, 1, None, None, None]
        image[:, :14] = grey[:, 0, None, None, None]
        return type("Images", (), {"mean": lambda _: image})()


def explorer(n=13):
    vae = Ramp(2, hidden_dim=4)
    return widgets.latent_explorer(vae, POINTS, [0, 1, 2], NAMES, n=n).data


# Three close together, one above them, one far to the right.
SPOTS = np.array([[0.0, 0.0], [1.0, 0.2], [2.0, -0.1], [1.0, 3.0], [10.0, 0.0]])
GREYS = np.uint8(np.ones((5, 28, 28, 1)) * np.array([0, 72, 145, 218, 255])[:, None, None, None])
KINDS = [0, 1, 2, 1, 0]


def scatter():
    return widgets.image_scatter(SPOTS, GREYS, KINDS, NAMES).data


PICTURES = {"codes": {5: SPOTS, 30: -SPOTS, 100: SPOTS[::-1]}}
PICTURES["cloud"] = {value: SPOTS[:3] + value for value in PICTURES["codes"]}
NOTES = {title: {v: f"{title} at {v}" for v in panel} for title, panel in PICTURES.items()}


def slider(**change):
    arguments = dict(pictures=PICTURES, labels={"codes": KINDS}, class_names=NAMES, notes=NOTES)
    return widgets.scatter_slider(**arguments | change, setting="perplexity").data


def sprite_of(page):
    """Return the image inside a page element, as pixels."""
    text = page.split(";base64,")[1].split(")")[0]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("L"))


def test_the_sprite_holds_the_plane():
    pixels = sprite_of(explorer())
    wanted = 255 / (1 + np.exp(-np.linspace(-3, 3, 13)))  # of z1 rightwards, of z2 upwards
    assert pixels.shape == (13 * 28, 13 * 28)
    assert np.abs(pixels[7::28, 14::28] - wanted).max() < 12
    assert np.abs(pixels[21::28, 14::28] - wanted[::-1, None]).max() < 12


def test_the_page_is_small_and_asks_for_nothing():
    vae = VAE(2, encoder="conv", decoder="conv", hidden_dim=(4, 8))
    rng = np.random.default_rng(0)
    page = widgets.latent_explorer(vae, rng.normal(size=(2000, 2)), np.arange(2000) % 10, range(10))
    assert len(page.data) < 300_000
    assert "http" not in page.data and "</script>" not in explorer().split("<script>")[1][:-9]


def test_the_sprite_holds_the_images():
    pixels = sprite_of(scatter())
    assert pixels.shape == (2 * 28, 3 * 28)
    assert pixels[14::28, 14::28].tolist() == [[0, 72, 145], [218, 255, 0]]
    picture = np.arange(28 * 28, dtype=np.float32).reshape(1, 28, 28) / (28 * 28)
    kept = sprite_of(widgets.image_scatter([[0, 0]], picture, [0], NAMES).data) / 255
    assert np.abs(kept - picture[0]).max() <= 1 / 14 + 1 / 255  # half a level


def test_two_thousand_images_fit_a_page(monkeypatch):
    monkeypatch.setenv("VAE_DATA", "embedded")
    images = np.resize(data.load_mnist().train.images, (2000, 28, 28, 1))
    points = np.random.default_rng(0).normal(size=(2000, 2))
    page = widgets.image_scatter(points, images, np.arange(2000) % 10, range(10)).data
    assert len(page) < 400_000 and "http" not in page
    assert "</script>" not in scatter().split("<script>")[1][:-9]


def test_what_is_filled_in_may_spell_a_place():
    names = ("SPRITE", "SETTINGS", "NAME")
    page = widgets.image_scatter(SPOTS, GREYS, KINDS, names).data
    assert '"names":["SPRITE","SETTINGS","NAME"]' in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(points=SPOTS[:, :1]), r"z has shape \(5, 1\)"),
        (dict(images=GREYS[:4]), r"5 points and images of shape \(4, 28, 28\)"),
        (dict(images=np.repeat(GREYS, 3, axis=-1)), r"images of shape \(5, 28, 28, 3\)"),
        (
            dict(points=np.zeros((2001, 2)), images=np.zeros((2001, 2, 2)), labels=[0] * 2001),
            "2000 at most",
        ),
    ],
)
def test_a_scatter_refuses(change, message):
    arguments = dict(points=SPOTS, images=GREYS, labels=KINDS) | change
    with pytest.raises(ValueError, match=message):
        widgets.image_scatter(**arguments, class_names=NAMES)


def test_a_slider_keeps_proportions_and_asks_for_nothing():
    settings = json.loads(slider().split("const s = ")[1].split(";\nfor")[0])
    codes, cloud = settings["panels"]
    assert settings["values"] == ["5", "30", "100"] and settings["start"] == 1
    assert codes["labels"] == KINDS and cloud["labels"] is None
    assert np.ptp(np.array(codes["frames"][0]), axis=0).tolist() == [1000, 310]
    assert codes["frames"][0] == codes["frames"][2][::-1]
    points = {value: np.random.default_rng(value).normal(size=(500, 2)) for value in range(6)}
    notes = {"many": dict.fromkeys(points, "")}
    page = slider(pictures={"many": points}, labels={}, notes=notes)
    assert len(page) < 100_000 and "http" not in page
    assert "</script>" not in slider().split("<script>")[1][:-9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(pictures={}), "at least one"),
        (dict(pictures={"codes": {}}), "at least one"),
        (dict(pictures=PICTURES | {"cloud": {5: SPOTS}}), "the same values"),
        (dict(labels={"codes": [0]}), r"labels \(1,\)"),
        (dict(labels={"codes": [7] * 5}), "whole numbers from 0 to 2"),
    ],
)
def test_a_slider_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        slider(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(labels=[0]), r"labels \(1,\)"),
        (dict(n=1), "n must be at least 2"),
        (dict(limit=0.0), "limit must be finite and above 0"),
    ],
)
def test_an_explorer_refuses(change, message):
    arguments = dict(z=POINTS, labels=[0, 1, 2]) | change
    with pytest.raises(ValueError, match=message):
        widgets.latent_explorer(VAE(2, hidden_dim=4), class_names=NAMES, **arguments)


def opened(browser, folder, part):
    """Open a page that holds a part twice, as "new view for output" does."""
    path = folder / "page.html"
    path.write_text(f"<!doctype html><title>page</title>{part}{part}", encoding="utf-8")
    browser.get_log("browser")  # what was logged before is gone
    browser.get(path.as_uri())
    return browser


@pytest.fixture
def page(browser, tmp_path):
    return opened(browser, tmp_path, explorer())


@pytest.fixture
def spots(browser, tmp_path):
    return opened(browser, tmp_path, scatter())


@pytest.fixture
def slid(browser, tmp_path):
    return opened(browser, tmp_path, slider())


def ink(page, canvas):
    """Return how many pixels of a canvas are not empty, and their mean column and row."""
    script = """const c = arguments[0], d = c.getContext("2d").getImageData(0, 0, 360, 360).data;
    let n = 0, x = 0, y = 0;
    for (let i = 0; i < 360 * 360; i++) if (d[4 * i + 3] > 128) { n++; x += i % 360; y += i / 360; }
    return [n, x / n, y / n];"""
    return page.execute_script(script, canvas)


def test_the_slider_switches_both_panels(slid):
    from selenium.webdriver.common.keys import Keys

    first, second = slid.find_elements("css selector", "div[class^=explorer]")
    slide, text = first.find_element("css selector", "input"), "[aria-live]"
    codes, cloud = first.find_elements("css selector", "canvas")
    value = first.find_element("css selector", "output")
    assert value.text == "30" and slide.get_attribute("aria-label") == "perplexity"
    before = ink(slid, codes)
    slide.send_keys(Keys.ARROW_LEFT)
    assert value.text == "5"
    told = first.find_element("css selector", text).text
    assert told == "codes: codes at 5; cloud: cloud at 5"
    after = ink(slid, codes)
    assert before[0] > 20 and abs(before[1] + after[1] - 360) < 15, "mirrored points"
    assert ink(slid, cloud)[0] > 12 and cloud.get_attribute("aria-label") == "cloud, cloud at 5"
    slide.send_keys(*[Keys.ARROW_RIGHT] * 5)
    assert value.text == "100"
    assert second.find_element("css selector", "output").text == "30", "the other slider stays"


def parts(page, which=0):
    """Return the canvas, the decoded image and the text of one explorer."""
    box = page.find_elements("css selector", "div[class^=explorer]")[which]
    return [box.find_element("css selector", s) for s in ("canvas", "[role=img]", "[aria-live]")]


def tile(image):
    """Return the row and the column of the decoded image that is shown."""
    x, y = image.value_of_css_property("background-position").replace("px", "").split()
    return round(-float(y) / 168), round(-float(x) / 168)


def test_it_starts_in_the_middle(page):
    for which in (0, 1):
        _, image, text = parts(page, which)
        assert tile(image) == (6, 6) and text.text.startswith("z = (0.00, 0.00)")


def test_arrow_keys(page):
    from selenium.webdriver.common.keys import Keys

    canvas, image, text = parts(page)
    page.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert tile(image) == (5, 8)
    assert text.text == "z = (1.00, 0.50), nearest class: dog"
    assert image.get_attribute("aria-label").endswith("nearest class: dog")
    canvas.send_keys(*[Keys.ARROW_LEFT] * 20, *[Keys.ARROW_DOWN] * 20)
    assert tile(image) == (12, 0) and text.text == "z = (-3.00, -3.00), nearest class: cat"
    assert parts(page, 1)[2].text.startswith("z = (0.00, 0.00)"), "the other explorer stays"


def test_pointer(page):
    from selenium.webdriver import ActionChains

    canvas, image, text = parts(page)
    ActionChains(page).move_to_element_with_offset(canvas, 107, 107).perform()
    assert tile(image) == (10, 10)
    assert text.text == "z = (2.00, -2.00), nearest class: </script>"


def test_touch(page):
    canvas, image, text = parts(page)
    box = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    where = {"x": box["left"] + box["width"] / 6, "y": box["top"] + box["height"] / 6}
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    touch = "Input.dispatchTouchEvent"
    page.execute_cdp_cmd(touch, {"type": "touchStart", "touchPoints": [where]})
    assert tile(image) == (2, 2) and text.text.startswith("z = (-2.00, 2.00)")
    moved = where | {"x": where["x"] + box["width"] / 12}
    page.execute_cdp_cmd(touch, {"type": "touchMove", "touchPoints": [moved]})
    assert tile(image) == (2, 3)
    page.execute_cdp_cmd(touch, {"type": "touchEnd", "touchPoints": []})


def test_the_class_is_that_of_the_nearest_point(page):
    canvas, _, text = parts(page)
    from selenium.webdriver.common.keys import Keys

    page.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys(*[Keys.ARROW_RIGHT] * 2, *[Keys.ARROW_DOWN] * 2)
    x, y = 1.0, -1.0
    nearest = NAMES[int(np.argmin(((POINTS - (x, y)) ** 2).sum(1)))]
    assert text.text == f"z = ({x:.2f}, {y:.2f}), nearest class: {nearest}"


def shown(page, which=0):
    """Return the number of the image that is shown: its text and its place in the sprite agree."""
    _, image, text = parts(page, which)
    row, column = tile(image)
    number = int(text.text.split()[1])
    assert number == 3 * row + column + 1
    assert image.get_attribute("aria-label") == text.text
    assert text.text == f"image {number} of 5, class: {NAMES[KINDS[number - 1]]}"
    return number


def test_arrow_keys_go_to_the_nearest_image_that_way(spots):
    from selenium.webdriver.common.keys import Keys

    canvas = parts(spots)[0]
    spots.execute_script("arguments[0].focus()", canvas)
    right, left, up, down = (getattr(Keys, f"ARROW_{k}") for k in ("RIGHT", "LEFT", "UP", "DOWN"))
    seen = [shown(spots)]
    for key in (right, right, right, right, left, left, up, up, down):
        canvas.send_keys(key)
        seen.append(shown(spots))
    assert seen == [1, 2, 3, 5, 5, 3, 2, 4, 4, 2]
    assert shown(spots, 1) == 1, "the other scatter stays"


def test_page_keys_go_through_all_images(spots):
    from selenium.webdriver.common.keys import Keys

    canvas = parts(spots)[0]
    spots.execute_script("arguments[0].focus()", canvas)
    seen = []
    for key in [Keys.PAGE_DOWN] * 5 + [Keys.PAGE_UP] * 2:
        canvas.send_keys(key)
        seen.append(shown(spots))
    assert seen == [2, 3, 4, 5, 1, 5, 4]


def test_pointer_shows_the_nearest_image(spots):
    from selenium.webdriver import ActionChains

    canvas = parts(spots)[0]
    for right, up, number in ((9.0, 1.0, 5), (1.2, 2.5, 4), (2.1, 0.0, 3)):
        x = 12 + right / 10 * 456 - 240  # from the middle of the canvas
        y = 240 - (12 + (up + 0.1) / 10 * 456)
        ActionChains(spots).move_to_element_with_offset(canvas, round(x), round(y)).perform()
        assert shown(spots) == number


def test_touch_shows_the_nearest_image(spots):
    canvas = parts(spots)[0]
    box = spots.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    spots.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    where = {"x": box["left"] + 470, "y": box["top"] + 400}
    touch = "Input.dispatchTouchEvent"
    spots.execute_cdp_cmd(touch, {"type": "touchStart", "touchPoints": [where]})
    assert shown(spots) == 5
    spots.execute_cdp_cmd(touch, {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("which", ["page", "spots", "slid"])
def test_no_request_leaves_the_page(which, request):
    page = request.getfixturevalue(which)
    names = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in names if not name.startswith("data:")] == []
    assert page.get_log("browser") == []
