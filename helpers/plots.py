"""One figure style, and the pictures that every lesson shows. Figures come back, ready for `show`.

No meaning hangs on colour alone: classes differ in marker too, curves in line style.
"""

import base64
import html
import math
from pathlib import Path

import imageio.v3 as iio
import matplotlib.pyplot as plt
import numpy as np
import tensorflow_probability as tfp
from IPython.display import HTML, display

from helpers.data import check_whole

# The colours of Okabe & Ito, which colour-blind readers tell apart, without their pale yellow.
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #000000 #8B7500 #7F3C8D #777777".split()
MARKERS = "os^vDPX<>*"


def use_style() -> None:
    """Set the one style of the course: `course.mplstyle` and the colours above."""
    plt.style.use(Path(__file__).with_name("course") / "course.mplstyle")
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)


def _described(alt: str) -> str:
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt is {alt!r}: say in a sentence what there is to see")
    return alt.strip()


def show(fig: plt.Figure, alt: str) -> None:
    """Display `fig` as a PNG that says `alt` to a reader who cannot see it, then close it."""
    display(fig, metadata={"image/png": {"alt": _described(alt)}})
    plt.close(fig)


def image_grid(images, *, rows=None, columns=10, title=None, labels=None) -> plt.Figure:
    """Show images (n, h, w[, 1 or 3]), uint8 or floats in [0, 1], in a grid filled row by row.

    `rows` limits how many are shown; `labels`, one for each image, stand above them.
    """
    images = _pixels(images)
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    check_whole(columns=(columns, 1), rows=(1 if rows is None else rows, 1))
    columns = min(columns, len(images))
    rows = min(rows or len(images), math.ceil(len(images) / columns))
    height = (0.8 if labels is None else 0.95) * rows + (0.4 if title else 0.05)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=(0.8 * columns, height))
    for i, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[], frame_on=False)
        if i < len(images):  # fixed limits, so that a grey means the same in every picture
            ax.imshow(images[i], vmin=0, vmax=1, interpolation="nearest")
            ax.set_title("" if labels is None else labels[i], fontsize=9, pad=2)
    fig.suptitle(title)
    return fig


def image_rows(named, title=None) -> plt.Figure:
    """Show {name: images}, one named row each, for example original above reconstruction."""
    counts = {name: len(images) for name, images in named.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"rows need the same number of images each, one row or more; got {counts}")
    n = next(iter(counts.values()))
    together = np.concatenate([_pixels(images) for images in named.values()])
    fig = image_grid(together, columns=n, title=title)
    fig.set_figwidth(0.8 * n + 1.2)
    for ax, name in zip(fig.axes[::n], named, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return fig


def _pixels(images):
    """Return the images as floats in [0, 1], of shape (n, h, w) or (n, h, w, 3)."""
    images = np.asarray(images)
    images = images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images
    if images.size == 0 or images.shape[3:] not in ((), (3,)) or images.ndim < 3:
        raise ValueError(f"images have shape {images.shape}: allowed are (n, h, w[, 1 or 3])")
    if images.dtype.kind not in "buif" or not np.isfinite(images).all():
        raise ValueError(f"images of {images.dtype} that hold NaN, infinity or no numbers")
    return np.clip(images / 255 if images.dtype == np.uint8 else images, 0.0, 1.0)


def training_curves(history, title: str) -> plt.Figure:
    """Plot loss, reconstruction and KL per epoch (nats per image), training and validation."""
    panels = {"loss": "loss", "reconstruction": "reconstruction: −log p(x|z)", "kl": "KL"}
    panels = {k: v for k, v in panels.items() if any(k in row for row in history.epochs)}
    if not panels:
        raise ValueError(f"no loss, reconstruction or kl in the history: {history.epochs[:1]}")
    fig, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(3.2 * len(panels), 3))
    for ax, (name, label) in zip(axes[0], panels.items(), strict=True):
        for key, style, who in ((name, "o-", "training"), (f"val_{name}", "s--", "validation")):
            points = [(row["epoch"], row[key]) for row in history.epochs if key in row]
            if points:
                ax.plot(*zip(*points, strict=True), style, markersize=3, label=who)
        ax.set(title=label, xlabel="epoch", ylabel="nats per image")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].legend()
    fig.suptitle(title)
    return fig


def latent_scatter(z, labels, class_names, title: str) -> plt.Figure:
    """Plot points z (n, 2) of the classes labels (n,), which index class_names."""
    z, labels = _points(z, labels, class_names)
    fig, ax = plt.subplots(figsize=(6.4, 5))
    for k, name in enumerate(class_names):
        style = dict(color=COLOURS[k % 10], marker=MARKERS[k % 10], alpha=0.6, linewidths=0)
        ax.scatter(*z[labels == k].T, s=14, label=name, **style)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal")
    ax.legend(title="class", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.6)
    return fig


def _points(z, labels, class_names):
    """Return z (n, 2) and labels (n,), at least one and finite, with a class for each label."""
    z, labels = np.asarray(z, np.float64), np.asarray(labels)
    if z.shape[1:] != (2,) or labels.shape != z.shape[:1] or not len(z):
        raise ValueError(f"z has shape {z.shape}, labels {labels.shape}; allowed: (n, 2) and (n,)")
    if not np.isfinite(z).all() or not np.isin(labels, range(len(class_names))).all():
        raise ValueError(f"z from {z.min():g} to {z.max():g}, labels {set(labels.tolist())}: give "
                         f"finite z, and labels from 0 to {len(class_names) - 1}")
    return z, labels


def gif(frames, *, duration: int = 100) -> bytes:
    """Encode uint8 frames (h, w[, 3]) as a GIF that repeats; `duration` in milliseconds a frame."""
    shapes = {(np.shape(frame), np.asarray(frame).dtype.name) for frame in frames}
    if len(shapes) != 1 or next(iter(shapes))[1] != "uint8" or duration < 20:
        raise ValueError(f"frames {sorted(shapes)}, {duration} ms each: give one or more frames, "
                         "all of one size and uint8, and 20 ms or more (browsers slow down below)")
    return iio.imwrite("<bytes>", list(frames), extension=".gif", duration=duration, loop=0)


def show_gif(frames, alt: str, *, duration: int = 100) -> None:
    """Display frames as an animation inside the page, with `alt` as its description."""
    alt, encoded = html.escape(_described(alt)), base64.b64encode(gif(frames, duration=duration))
    display(HTML(f'<img alt="{alt}" src="data:image/gif;base64,{encoded.decode()}">'))


def decode_plane(vae, values) -> np.ndarray:
    """Mean image of p(x|z) at every z = (z1, z2) of a square grid; built in notebook 03.

    `values` (n,), rising, are z1 from left to right and z2 from the bottom to the top. Returns one
    image (n * height, n * width, channels) in [0, 1]; ValueError unless the model has K = 2.
    """
    if vae.latent_dim != 2:
        raise ValueError(f"latent_dim={vae.latent_dim}: a plane needs a model of latent_dim=2")
    values = np.asarray(values, np.float32)
    z = np.stack(np.meshgrid(values, values[::-1]), axis=-1)  # (n, n, 2)
    images = np.asarray(vae.likelihood(z.reshape(-1, 2)).mean())  # one batch of n * n
    rows = images.reshape(len(values), len(values), *images.shape[1:]).swapaxes(1, 2)
    return rows.reshape(-1, len(values) * images.shape[2], images.shape[3])


def manifold(vae, n: int = 20, title: str | None = None) -> plt.Figure:
    """Show n x n images decoded at the quantiles of the prior, where it puts equal mass."""
    if not isinstance(n, int) or n < 2:
        raise ValueError(f"n={n!r}: give a whole number of images per side, at least 2")
    masses = (np.arange(n, dtype=np.float32) + 0.5) / n
    values = tfp.distributions.Normal(0.0, 1.0).quantile(masses).numpy()
    plane, shown = decode_plane(vae, values), np.arange(n)[:: max(1, n // 6)]
    fig, ax = plt.subplots(figsize=(6.4, 6.4))
    height, width = plane.shape[0] / n, plane.shape[1] / n
    ax.imshow(plane.squeeze(), vmin=0, vmax=1)
    ax.set_xticks((shown + 0.5) * width, [f"{values[i]:.2f}" for i in shown])
    ax.set_yticks((n - shown - 0.5) * height, [f"{values[i]:.2f}" for i in shown])
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    ax.grid(False)
    return fig
