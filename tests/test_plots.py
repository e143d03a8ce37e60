"""Figures: right content, a description for each, no meaning by colour alone."""

import base64
import io
import re

import imageio.v3 as iio
import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt

from helpers import plots
from helpers.training import History

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 6, 6, 1), dtype=np.uint8)
COLOUR = RNG.random((7, 6, 6, 3), dtype=np.float32)


@pytest.fixture(autouse=True)
def clean():
    with matplotlib.rc_context():
        plots.use_style()
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
    fig = plt.figure()
    plots.show(fig, " A curve that falls. ")
    assert displayed == [((fig,), {"metadata": {"image/png": {"alt": "A curve that falls."}}})]
    assert plt.get_fignums() == []


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


@pytest.mark.parametrize("shape", [(6, 6), (0, 6, 6), (2, 6, 6, 2), (2, 3, 6, 6, 1)])
def test_images_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=re.escape(str(shape[:4]).rstrip(")"))):
        plots.image_grid(np.zeros(shape))


def test_image_grid_refuses_labels_of_another_number():
    with pytest.raises(ValueError, match="2 labels for 7 images"):
        plots.image_grid(GREY, labels=["a", "b"])


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
    rows = zip(*columns.values(), strict=True)
    rows = [dict(zip(columns, row, strict=True)) for row in rows]
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
    for empty in (History(), history(accuracy=[1.0])):
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
    for bad_z, bad_labels in ((z[:, :1], labels), (z, labels[:-1]), (z[0], labels)):
        with pytest.raises(ValueError, match="z has shape"):
            plots.latent_scatter(bad_z, bad_labels, ["a"], "x")


def test_figures_stay_small():
    z, labels = RNG.normal(size=(2000, 2)), np.arange(2000) % 10
    fig = plots.latent_scatter(z, labels, [str(k) for k in range(10)], "Latents")
    assert png_size(fig) < 150_000
    assert png_size(plots.image_grid(RNG.random((50, 28, 28)))) < 150_000  # noise: the worst case


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 3)])
def test_gif_keeps_frames_and_time(shape):
    frames = [np.full(shape, value, np.uint8) for value in (0, 90, 255)]
    encoded = plots.gif(frames, duration=120)
    assert encoded[:6] == b"GIF89a" and b"NETSCAPE2.0" in encoded  # repeats for ever
    again = iio.imread(encoded, index=None)
    assert again.shape[:3] == (3, 8, 9)
    assert again.reshape(3, -1)[:, 0].tolist() == [0, 90, 255]
    assert iio.immeta(encoded)["duration"] == 120


@pytest.mark.parametrize(
    "frames, duration",
    [([], 100), ([np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)], 100),
     ([np.zeros((4, 4))], 100), ([np.zeros((4, 4), np.uint8)], 10)],
)  # fmt: skip
def test_gif_refuses(frames, duration):
    with pytest.raises(ValueError, match="one size"):
        plots.gif(frames, duration=duration)


def test_show_gif_embeds_and_describes(displayed):
    frames = [np.full((4, 4), value, np.uint8) for value in (0, 255)]
    plots.show_gif(frames, 'Two "squares" & no script <b>.', duration=50)
    (((page,), _),) = displayed
    found = re.fullmatch(r'<img alt="([^"<>]*)" src="data:image/gif;base64,([^"]*)">', page.data)
    assert found[1] == "Two &quot;squares&quot; &amp; no script &lt;b&gt;."
    assert base64.b64decode(found[2]) == plots.gif(frames, duration=50)
