"""Figures: right content, a description for each, no meaning by colour alone."""

import base64
import io
import re

import imageio.v3 as iio
import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import keras
import matplotlib.pyplot as plt

from helpers import plots
from helpers.course.style import use_style
from helpers.training import History
from helpers.vae import VAE

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 6, 6, 1), dtype=np.uint8)
COLOUR = RNG.random((7, 6, 6, 3), dtype=np.float32)


@pytest.fixture(autouse=True)
def clean():
    with matplotlib.rc_context():
        use_style()
        yield
        plt.close("all")


@pytest.fixture
def displayed(monkeypatch):
    calls = []
    monkeypatch.setattr(plots, "display", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def pictures(fig):
    return [ax.images[0] for ax in fig.axes if ax.images]


def png_size(fig):
    buffer = io.BytesIO()
    fig.savefig(buffer)
    return len(buffer.getvalue())


def test_show_describes_and_closes(displayed):
    before = plt.get_fignums()  # of other tests in this process
    fig = plt.figure()
    plots.show(fig, " A curve that falls. ")
    assert displayed == [((fig,), {"metadata": {"image/png": {"alt": "A curve that falls."}}})]
    assert plt.get_fignums() == before


@pytest.mark.parametrize("alt", ["", "  ", None, 3])
def test_alt_is_required(displayed, alt):
    fig = plt.figure()
    with pytest.raises(ValueError, match="alt is"):
        plots.show(fig, alt)
    with pytest.raises(ValueError, match="alt is"):
        plots.show_gif([GREY[0, ..., 0]], alt)
    assert displayed == []


def test_show_reaches_ipython_with_the_alt_text():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import select_figure_formats

    shell = InteractiveShell.instance()
    select_figure_formats(shell, {"png"})
    published = []
    shell.display_pub.publish = lambda data, metadata=None, **_: published.append((data, metadata))
    fig = plots.image_grid(GREY)
    plots.show(fig, "Seven small pictures.")
    InteractiveShell.clear_instance()
    ((bundle, metadata),) = published
    assert bundle["image/png"] and metadata["image/png"]["alt"] == "Seven small pictures."


def test_image_grid_shows_every_image_once():
    fig = plots.image_grid(GREY, columns=3, title="Seven", labels=list("abcdefg"))
    shown = pictures(fig)
    assert len(shown) == 7 and len(fig.axes) == 9
    for image, want in zip(shown, GREY[..., 0], strict=True):
        np.testing.assert_allclose(image.get_array(), want / 255)
        assert image.get_clim() == (0, 1)  # an image of one grey is not stretched
        assert image.get_cmap().name == "gray"
    assert [ax.get_title() for ax in fig.axes[:7]] == list("abcdefg")
    assert fig.get_suptitle() == "Seven"
    assert len(pictures(plots.image_grid(GREY, rows=1, columns=3))) == 3
    assert pictures(plots.image_grid(COLOUR))[0].get_array().shape == (6, 6, 3)
    assert len(pictures(plots.image_grid(GREY[..., 0]))) == 7
    dark = pictures(plots.image_grid(np.full((1, 2, 2), 0.2)))[0]
    assert np.all(dark.get_array() == 0.2)


@pytest.mark.parametrize(
    ("images", "change", "message"),
    [
        (np.zeros((6, 6)), {}, r"shape \(6, 6\)"),
        (np.zeros((0, 6, 6)), {}, r"shape \(0, 6, 6\)"),
        (np.zeros((2, 6, 6, 2)), {}, r"shape \(2, 6, 6, 2\)"),
        (np.full((2, 6, 6), np.nan), {}, "float64 that hold NaN"),
        (GREY, dict(labels=["a", "b"]), "2 labels for 7 images"),
        (GREY, dict(columns=0), "columns must be at least 1"),
        (GREY, dict(rows=-1), "rows must be at least 1"),
    ],
)
def test_image_grid_refuses(images, change, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(images, **change)


def test_image_rows_names_its_rows():
    named = {"original": GREY, "reconstruction": GREY.astype("float32") / 255}
    fig = plots.image_rows(named, title="Digits")
    assert len(pictures(fig)) == 14
    assert [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel()] == list(named)
    assert fig.axes[7].get_ylabel() == "reconstruction"
    np.testing.assert_allclose(pictures(fig)[0].get_array(), pictures(fig)[7].get_array())
    for bad in ({}, {"a": GREY, "b": GREY[:3]}):
        with pytest.raises(ValueError, match="same number"):
            plots.image_rows(bad)


def history(**columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return History([{"epoch": i + 1, "seconds": 1.0, **row} for i, row in enumerate(rows)])


def test_training_curves():
    some = history(loss=[3.0, 2.0], kl=[1.0, 1.5], val_loss=[4.0, 3.0], val_kl=[0.5, 0.6])
    del some.epochs[0]["val_loss"]  # validated every other epoch
    fig = plots.training_curves(some, "A run")
    assert [ax.get_title() for ax in fig.axes] == ["loss", "KL"]
    loss, kl = fig.axes
    assert [ax.get_ylabel() for ax in fig.axes] == ["nats per image"] * 2
    assert loss.get_xlabel() == "epoch" and fig.get_suptitle() == "A run"
    training, validation = loss.lines
    assert (training.get_label(), validation.get_label()) == ("training", "validation")
    assert training.get_ydata().tolist() == [3.0, 2.0]
    assert (list(validation.get_xdata()), list(validation.get_ydata())) == ([2], [3.0])
    assert training.get_linestyle() != validation.get_linestyle()  # not by colour alone
    assert len(loss.get_legend().get_texts()) == 2 and len(kl.lines) == 2
    assert len(plots.training_curves(history(loss=[1.0]), "x").axes[0].lines) == 1


def test_training_curves_of_keras_own_history():
    """Keras keeps a validation's values without the epochs that they belong to."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    x = np.ones((4, 1), np.float32)
    kept = model.fit(x, x, epochs=5, validation_data=(x, x), validation_freq=2, verbose=0)
    (loss,) = plots.training_curves(kept, "Keras").axes
    training, validation = loss.lines
    assert list(training.get_xdata()) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(training.get_ydata(), kept.history["loss"])
    assert list(validation.get_xdata()) == [2, 4]
    np.testing.assert_allclose(validation.get_ydata(), kept.history["val_loss"])


@pytest.mark.parametrize("empty", [History(), history(accuracy=[1.0])])
def test_training_curves_need_a_loss(empty):
    with pytest.raises(ValueError, match="no loss"):
        plots.training_curves(empty, "x")


def test_latent_scatter_tells_classes_apart_without_colour():
    z, labels = RNG.normal(size=(200, 2)), np.arange(200) % 10
    fig = plots.latent_scatter(z, labels, [f"class {k}" for k in range(10)], "Latents")
    (ax,) = fig.axes
    np.testing.assert_array_equal(ax.collections[3].get_offsets(), z[labels == 3])
    shapes = {str(group.get_paths()[0].vertices.round(3).tolist()) for group in ax.collections}
    colours = {tuple(group.get_facecolor()[0]) for group in ax.collections}
    assert len(shapes) == len(colours) == 10
    assert [text.get_text() for text in ax.get_legend().get_texts()][3] == "class 3"
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("$z_1$", "$z_2$", "Latents")


@pytest.mark.parametrize(
    ("z", "labels", "message"),
    [
        (np.zeros((3, 1)), [0, 0, 0], r"z has shape \(3, 1\)"),
        (np.zeros((3, 2)), [0, 0], r"labels \(2,\)"),
        (np.zeros((0, 2)), [], r"\(0, 2\)"),
        (np.full((3, 2), np.inf), [0, 0, 0], "z from inf"),
        (np.zeros((3, 2)), [0, 1, 7], r"labels \[0, 1, 7\]: give whole numbers from 0 to 1"),
    ],
)
def test_points_that_cannot_be_drawn_are_refused(z, labels, message):
    with pytest.raises(ValueError, match=message):
        plots.latent_scatter(z, labels, "ab", "x")


def test_figures_stay_small():
    z, labels = RNG.normal(size=(2000, 2)), np.arange(2000) % 10
    fig = plots.latent_scatter(z, labels, [str(k) for k in range(10)], "Latents")
    assert png_size(fig) < 150_000
    assert png_size(plots.image_grid(RNG.random((50, 28, 28)))) < 150_000  # noise: the worst case


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 3)])
def test_gif_keeps_frames_and_time(shape):
    frames = [np.full(shape, value, np.uint8) for value in (0, 90, 255)]
    encoded = plots.gif(frames, duration=120)
    assert encoded[:6] == b"GIF89a" and b"NETSCAPE2.0" in encoded  # repeats for ever
    again = iio.imread(encoded, index=None)
    assert again.shape[:3] == (3, 8, 9)
    assert again.reshape(3, -1)[:, 0].tolist() == [0, 90, 255]
    assert iio.immeta(encoded)["duration"] == 120


FRAME = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(
    ("frames", "duration", "message"),
    [
        ([], 100, "frames are none"),
        ([FRAME, np.zeros((4, 5), np.uint8)], 100, "all of one size"),
        ([FRAME / 2], 100, r"float64 \(4, 4\).*np.uint8\(255"),
        ([FRAME], 10, "duration=10: give 20 milliseconds"),
    ],
)
def test_gif_refuses(frames, duration, message):
    with pytest.raises(ValueError, match=message):
        plots.gif(frames, duration=duration)


def test_show_gif_embeds_and_describes(displayed):
    frames = [np.full((4, 4), value, np.uint8) for value in (0, 255)]
    plots.show_gif(frames, 'Two "squares" & no script <b>.', duration=50)
    (((page,), _),) = displayed
    found = re.fullmatch(r'<img alt="([^"<>]*)" src="data:image/gif;base64,([^"]*)">', page.data)
    assert found[1] == "Two &quot;squares&quot; &amp; no script &lt;b&gt;."
    assert base64.b64decode(found[2]) == plots.gif(frames, duration=50)


# --- The plane of a model with K = 2 ----------------------------------------------------------


class Ramp(VAE):
    """A VAE whose image is one grey: z1 sets its upper part, z2 its lower part."""

    def likelihood(self, z):
        z = np.asarray(z)
        image = np.ones((len(z), *self.image_shape)) * z[:, 1, None, None, None]
        image[:, :2] = z[:, 0, None, None, None]
        return type("Images", (), {"mean": lambda _: image})()


def test_the_plane_lies_as_its_axes_say():
    values = np.array([0.1, 0.5, 0.9])
    plane = plots.decode_plane(Ramp(2, (4, 5, 1), hidden_dim=4), values)
    assert plane.shape == (12, 15, 1)
    for row, z2 in enumerate(values[::-1]):
        for column, z1 in enumerate(values):
            part = plane[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
            np.testing.assert_allclose(part[:2], z1, atol=1e-6)
            np.testing.assert_allclose(part[2:], z2, atol=1e-6)


def test_a_plane_needs_two_dimensions():
    with pytest.raises(ValueError, match="latent_dim=3"):
        plots.manifold(VAE(3, (4, 4, 1), hidden_dim=4))


def test_the_manifold_uses_the_quantiles_of_the_prior(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "decode_plane", lambda vae, v: seen.append(v) or np.zeros((8, 8, 1)))
    fig = plots.manifold(None, 4, title="a title")
    np.testing.assert_allclose(seen[0], [-1.15035, -0.31864, 0.31864, 1.15035], atol=1e-4)
    ax = fig.axes[0]
    assert ax.get_title() == "a title" and ax.images[0].get_clim() == (0, 1)
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert [t.get_text() for t in ax.get_xticklabels()] == names
    assert "−1.15" in names  # a minus sign, as on all other axes, and not a hyphen
    labels = [float(name.replace("−", "-")) for name in names]
    heights = ax.get_yticks()
    assert labels == sorted(labels) and list(heights) == sorted(heights, reverse=True)


def test_the_manifold_in_colour():
    fig = plots.manifold(VAE(2, (8, 8, 3), hidden_dim=4), 3)
    assert fig.axes[0].images[0].get_array().shape == (24, 24, 3)
