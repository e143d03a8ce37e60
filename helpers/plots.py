"""One figure style, and the pictures that every lesson shows. Figures come back, ready for `show`.

No meaning hangs on colour alone: classes differ in marker too, curves in line style.
"""

import base64
import html
import math
from collections.abc import Mapping, Sequence

import imageio.v3 as iio
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by colour-blind readers; yellow is darkened for white paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B7500",
           "#7F3C8D", "#777777")  # fmt: skip
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*")


def use_style() -> None:
    """Set the one style of the course: small files (110 dots per inch), readable on GitHub."""
    plt.rcdefaults()
    plt.rcParams.update({
        "figure.dpi": 110, "savefig.dpi": 110, "figure.figsize": (6.4, 3.8),
        "figure.constrained_layout.use": True, "font.size": 10, "axes.titlesize": 11,
        "figure.titlesize": 12, "legend.frameon": False, "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "image.cmap": "gray",
        "axes.prop_cycle": plt.cycler(color=COLOURS),
    })  # fmt: skip


def show(fig: Figure, alt: str) -> None:
    """Display `fig` as a PNG that says `alt` to a reader who cannot see it, then close it."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt is {alt!r}; say in a sentence what the figure shows")
    display(fig, metadata={"image/png": {"alt": alt.strip()}})
    plt.close(fig)


def _pixels(images) -> np.ndarray:
    """Check images and return them as (n, h, w) or (n, h, w, 3), floats in [0, 1] or uint8."""
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)) or not images.size:
        raise ValueError(f"images have shape {images.shape}; allowed are (n, h, w[, 1 or 3]), n > 0")
    return images if images.dtype == np.uint8 else np.clip(images.astype("float32"), 0, 1)


def _draw(ax, image: np.ndarray, label: str = "") -> None:
    # Fixed limits: a picture's grey must mean the same in every panel.
    ax.imshow(image, vmin=0, vmax=255 if image.dtype == np.uint8 else 1, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(label, fontsize=9, pad=2)
    ax.spines[:].set_visible(False)


def image_grid(images, *, rows=None, columns=10, title=None, labels=None) -> Figure:
    """Show images, (n, h, w[, c]) in [0, 1] or uint8, in a grid filled row by row.

    `rows` limits how many are shown; `labels`, one for each image, stand above them.
    """
    images = _pixels(images)
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    columns = min(columns, len(images))
    rows = min(rows or len(images), math.ceil(len(images) / columns))
    cell, top = (0.8 if labels is None else 0.95), (0.4 if title else 0.05)
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=(0.8 * columns, cell * rows + top))
    for i, ax in enumerate(axes.flat):
        if i < len(images):
            _draw(ax, images[i], "" if labels is None else str(labels[i]))
        else:
            ax.set_axis_off()
    fig.suptitle(title)
    return fig


def image_rows(named: Mapping[str, np.ndarray], title: str | None = None) -> Figure:
    """Show one row of images for each name, for example original above reconstruction."""
    rows = {name: _pixels(images) for name, images in named.items()}
    counts = {name: len(images) for name, images in rows.items()}
    if not rows or len(set(counts.values())) > 1:
        raise ValueError(f"each row needs the same number of images, one row or more; got {counts}")
    columns = next(iter(counts.values()))
    size = (0.8 * columns + 1.2, 0.8 * len(rows) + (0.4 if title else 0.05))
    fig, axes = plt.subplots(len(rows), columns, squeeze=False, figsize=size)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            _draw(ax, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    fig.suptitle(title)
    return fig


def training_curves(history, title: str) -> Figure:
    """Plot loss, reconstruction and KL per epoch (nats per image), training and validation."""
    panels = {"loss": "loss = −ELBO", "reconstruction": "reconstruction = −log p(x|z)", "kl": "KL"}
    recorded = {name for row in history.epochs for name in row}
    panels = {name: label for name, label in panels.items() if name in recorded}
    if not panels:
        raise ValueError(f"the history has none of loss, reconstruction, kl; it has {recorded}")
    fig, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(3.2 * len(panels), 3))
    for ax, (name, label) in zip(axes[0], panels.items(), strict=True):
        for key, style, who in ((name, "o-", "training"), (f"val_{name}", "s--", "validation")):
            rows = [row for row in history.epochs if key in row]
            x, y = [row["epoch"] for row in rows], [row[key] for row in rows]
            ax.plot(x, y, style, markersize=3 if len(rows) < 30 else 0, label=who)
        ax.set(title=label, xlabel="epoch", ylabel="nats per image")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].legend()
    fig.suptitle(title)
    return fig


def latent_scatter(z, labels, class_names: Sequence[str], title: str) -> Figure:
    """Plot points z (n, 2), coloured and marked by integer labels (n,) that index class_names."""
    z, labels = np.asarray(z), np.asarray(labels)
    if z.ndim != 2 or z.shape[1] != 2 or labels.shape != z.shape[:1]:
        raise ValueError(f"z has shape {z.shape}, labels {labels.shape}; allowed: (n, 2) and (n,)")
    fig, ax = plt.subplots(figsize=(6.4, 5))
    for k, name in enumerate(class_names):
        style = dict(color=COLOURS[k % 10], marker=MARKERS[k % 10], s=14, alpha=0.6, linewidths=0)
        ax.scatter(*z[labels == k].T, **style, label=name)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.6)
    return fig


def gif(frames: Sequence[np.ndarray], *, duration: int = 100) -> bytes:
    """Encode uint8 frames, each (h, w) or (h, w, 3), as an endless GIF; duration in ms a frame."""
    frames = [np.asarray(frame) for frame in frames]
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) != 1 or any(frame.dtype != np.uint8 for frame in frames):
        raise ValueError(f"a GIF needs uint8 frames of one size, one or more; got sizes {shapes}")
    if duration < 20:
        raise ValueError(f"duration is {duration} ms; browsers slow down below 20 ms a frame")
    return iio.imwrite("<bytes>", frames, extension=".gif", duration=duration, loop=0)


def show_gif(frames: Sequence[np.ndarray], alt: str, *, duration: int = 100) -> None:
    """Display frames as an animation inside the page, with `alt` as its description."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt is {alt!r}; say in a sentence what the animation shows")
    encoded = base64.b64encode(gif(frames, duration=duration)).decode()
    display(HTML(f'<img alt="{html.escape(alt)}" src="data:image/gif;base64,{encoded}">'))
