"""The latent explorer in a real browser: pointer, touch, keyboard, and no network."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from helpers import plots
from helpers.networks import ConvDecoder
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
    return plots.latent_explorer(vae, POINTS, [0, 1, 2], NAMES, n=n).data


def test_the_sprite_holds_the_plane():
    page = explorer()
    sprite = page.split("data:image/jpeg;base64,")[1].split(")")[0]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprite))))
    wanted = 255 / (1 + np.exp(-np.linspace(-3, 3, 13)))  # of z1 rightwards, of z2 upwards
    assert pixels.shape == (13 * 28, 13 * 28)
    assert np.abs(pixels[7::28, 14::28] - wanted).max() < 12
    assert np.abs(pixels[21::28, 14::28] - wanted[::-1, None]).max() < 12


def test_the_page_is_small_and_asks_for_nothing():
    vae = VAE(2, encoder="conv", decoder=ConvDecoder((8, 4), (28, 28, 1)), hidden_dim=(4, 8))
    rng = np.random.default_rng(0)
    page = plots.latent_explorer(vae, rng.normal(size=(2000, 2)), np.arange(2000) % 10, range(10))
    assert len(page.data) < 300_000
    assert "http" not in page.data and "</script>" not in explorer().split("<script>")[1][:-9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(vae=3), "latent_dim=3"),
        (dict(z=np.zeros((3, 3))), r"\(3, 3\)"),
        (dict(labels=[0]), r"labels \(1,\)"),
        (dict(z=np.zeros((0, 2)), labels=[]), r"\(0, 2\)"),
        (dict(n=1), "n=1"),
        (dict(limit=0.0), "limit=0.0"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    good = dict(vae=2, z=POINTS, labels=[0, 1, 2], n=5, limit=3.0) | change
    vae = VAE(good.pop("vae"), hidden_dim=4)
    with pytest.raises(ValueError, match=message):
        plots.latent_explorer(vae, good.pop("z"), good.pop("labels"), NAMES, **good)


@pytest.fixture
def page(browser, tmp_path):
    """Open the explorer, twice in one page as "new view for output" does."""
    path = tmp_path / "explorer.html"
    path.write_text(f"<!doctype html><title>page</title>{explorer()}{explorer()}", encoding="utf-8")
    browser.get_log("browser")  # what was logged before is gone
    browser.get(path.as_uri())
    return browser


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


def test_no_request_leaves_the_page(page):
    names = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in names if not name.startswith("data:")] == []
    assert page.get_log("browser") == []
