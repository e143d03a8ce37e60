"""The figures that every lesson shows. They come back as Matplotlib figures, ready for `show`.

No meaning hangs on colour alone: classes differ in their marker too, curves in their line style.
"""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import imageio.v3 as iio
import keras
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from IPython.display import HTML, display

from helpers.course.checks import check_whole, shown
from helpers.course.style import COLOURS, MARKERS
from helpers.training import History
from helpers.vae import VAE

PANELS = {"loss": "loss", "reconstruction": "reconstruction: −log p(x|z)", "kl": "KL"}
SHORTEST_FRAME = 20  # milliseconds; browsers slow down what is shorter


# --- Showing -------------------------------------------------------------------------------------


def show(fig: plt.Figure, alt: str) -> None:
    """Display `fig` as a PNG that says `alt` to a reader who cannot see it, then close it."""
    display(fig, metadata={"image/png": {"alt": _described(alt)}})
    plt.close(fig)


def gif(frames: Sequence[np.ndarray], *, duration: int = 100) -> bytes:
    """Encode frames as a GIF that repeats.

    Parameters
    ----------
    frames : sequence of array
        uint8, all of one shape (height, width), (height, width, 1) or (height, width, 3).
    duration : int
        Milliseconds a frame, at least 20.
    """
    frames = [np.asarray(frame) for frame in frames]
    kinds = {shown(frame) for frame in frames}
    if len(kinds) != 1 or frames[0].dtype != np.uint8:
        raise ValueError(
            f"frames are {', '.join(sorted(kinds)) or 'none'}: give one or more, all of one size "
            "and uint8 (np.uint8(255 * frame) turns grey values from 0 to 1 into it)"
        )
    if duration < SHORTEST_FRAME:
        raise ValueError(f"duration={duration}: give {SHORTEST_FRAME} milliseconds or more")
    if frames[0].ndim == 3 and frames[0].shape[2] == 1:
        frames = [frame[..., 0] for frame in frames]
    return iio.imwrite("<bytes>", frames, extension=".gif", duration=duration, loop=0)


def show_gif(frames: Sequence[np.ndarray], alt: str, *, duration: int = 100) -> None:
    """Display frames, as `gif` takes them, as an animation with `alt` as its description."""
    alt = html.escape(_described(alt))
    encoded = base64.b64encode(gif(frames, duration=duration)).decode()
    display(HTML(f'<img alt="{alt}" src="data:image/gif;base64,{encoded}">'))


def _described(alt: str) -> str:
    """Return a description without the spaces around it; ValueError where it says nothing."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt is {shown(alt)}: say in a sentence what there is to see")
    return alt.strip()


# --- Images --------------------------------------------------------------------------------------


def image_grid(
    images: npt.ArrayLike,
    *,
    rows: int | None = None,
    columns: int = 10,
    title: str | None = None,
    labels: Sequence | None = None,
) -> plt.Figure:
    """Show images in a grid that is filled row by row.

    Parameters
    ----------
    images : array
        Shape (n, height, width), or with a last axis of 1 or 3 channels; uint8, or floats in
        [0, 1].
    rows : int, optional
        Rows at most; images that find no place are left out.
    columns : int
    title : str, optional
    labels : sequence, optional
        What to write above each image.
    """
    images = as_pixels(images)
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images: give one for each")
    check_whole(columns=columns)
    columns = min(columns, len(images))
    needed = math.ceil(len(images) / columns)
    if rows is not None:
        check_whole(rows=rows)
        needed = min(rows, needed)
    row_height = 0.8 if labels is None else 0.95
    size = (0.8 * columns, row_height * needed + (0.4 if title else 0.05))
    fig, axes = plt.subplots(needed, columns, squeeze=False, figsize=size)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        # Fixed limits, so that a grey means the same in every picture.
        ax.imshow(image, vmin=0, vmax=1, interpolation="nearest")
        if labels is not None:
            ax.set_title(labels[i], fontsize=9, pad=2)
    fig.suptitle(title)
    return fig


def image_rows(named: Mapping[str, npt.ArrayLike], title: str | None = None) -> plt.Figure:
    """Show rows of images, each with its name: the originals above their reconstructions.

    Parameters
    ----------
    named : mapping
        From names to images as `image_grid` takes them, equally many in each row.
    title : str, optional
    """
    counts = {name: len(images) for name, images in named.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"rows need the same number of images each, one row or more; got {counts}")
    n = next(iter(counts.values()))
    together = np.concatenate([as_pixels(images) for images in named.values()])
    fig = image_grid(together, columns=n, title=title)
    fig.set_figwidth(0.8 * n + 1.2)
    for ax, name in zip(fig.axes[::n], named, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return fig


def as_pixels(images: npt.ArrayLike) -> np.ndarray:
    """Return images as floats in [0, 1], of shape (n, height, width) or (n, height, width, 3)."""
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.size == 0 or images.ndim < 3 or images.shape[3:] not in ((), (3,)):
        raise ValueError(
            f"images of shape {images.shape}: give (n, height, width), or these with 1 or 3 "
            "channels"
        )
    if images.dtype.kind not in "buif" or not np.isfinite(images).all():
        raise ValueError(f"images of {images.dtype} that hold NaN, infinity or no numbers")
    if images.dtype == np.uint8:
        images = images / 255
    return np.clip(images, 0.0, 1.0)


# --- Curves and points ---------------------------------------------------------------------------


def training_curves(history: History | keras.callbacks.History, title: str) -> plt.Figure:
    """Plot loss, reconstruction and KL per epoch, training and validation.

    Parameters
    ----------
    history
        What `helpers.training.fit` returned, or a Keras model's own `fit`.
    title : str
    """
    measured = _measured(history)
    panels = [name for name in PANELS if name in measured or f"val_{name}" in measured]
    if not panels:
        raise ValueError(
            f"no loss, reconstruction or kl in the history, which holds {list(measured)}"
        )
    fig, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(3.2 * len(panels), 3))
    for ax, name in zip(axes[0], panels, strict=True):
        if name in measured:
            ax.plot(*measured[name], "o-", markersize=3, label="training")
        if f"val_{name}" in measured:
            ax.plot(*measured[f"val_{name}"], "s--", markersize=3, label="validation")
        ax.set(title=PANELS[name], xlabel="epoch", ylabel="nats per image")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].legend()
    fig.suptitle(title)
    return fig


def _measured(
    history: History | keras.callbacks.History,
) -> dict[str, tuple[list[int], list[float]]]:
    """Return {metric: (epochs from 1, values)} of either kind of history."""
    found = {}
    if not hasattr(history, "epochs"):  # Keras' keeps values, but not the epochs they are from
        for name, values in history.history.items():
            every = max(1, len(history.epoch) // len(values))  # validated every so many epochs
            epochs = [epoch + 1 for epoch in history.epoch][every - 1 :: every]
            found[name] = epochs[: len(values)], [float(np.squeeze(value)) for value in values]
        return found
    for row in history.epochs:
        for name in row.keys() - {"epoch", "seconds"}:
            epochs, values = found.setdefault(name, ([], []))
            epochs.append(row["epoch"])
            values.append(row[name])
    return found


def latent_scatter(
    z: npt.ArrayLike, labels: npt.ArrayLike, class_names: Sequence[str], title: str
) -> plt.Figure:
    """Plot points in the plane, each class with a colour and a marker of its own.

    Parameters
    ----------
    z : array
        Shape (n, 2).
    labels : array
        The class of each point, shape (n,): places in `class_names`.
    class_names : sequence of str
    title : str
    """
    z, labels = as_points(z, labels, class_names)
    fig, ax = plt.subplots(figsize=(6.4, 5))
    for k, name in enumerate(class_names):
        ax.scatter(
            *z[labels == k].T,
            s=14,
            color=COLOURS[k % len(COLOURS)],
            marker=MARKERS[k % len(MARKERS)],
            alpha=0.6,
            linewidths=0,
            label=name,
        )
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal")
    ax.legend(title="class", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.6)
    return fig


def as_points(
    z: npt.ArrayLike, labels: npt.ArrayLike, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return z (n, 2) and labels (n,), at least one and finite, with a class for each label."""
    z, labels = np.asarray(z, np.float64), np.asarray(labels)
    if z.shape[1:] != (2,) or labels.shape != z.shape[:1] or not len(z):
        raise ValueError(f"z has shape {z.shape}, labels {labels.shape}: give (n, 2) and (n,)")
    if not np.isfinite(z).all():
        raise ValueError(f"z from {z.min():g} to {z.max():g}: give finite numbers")
    if not np.isin(labels, range(len(class_names))).all():
        raise ValueError(
            f"labels {sorted(set(labels.tolist()))}: give whole numbers from 0 to "
            f"{len(class_names) - 1}"
        )
    return z, labels


# --- The plane of a model with K = 2 -------------------------------------------------------------


def decode_plane(vae: VAE, values: np.ndarray) -> np.ndarray:
    """Mean image of p(x|z) at every z = (z1, z2) of a square grid; built in lesson 03.

    Parameters
    ----------
    vae : helpers.vae.VAE
        With K = 2, else ValueError.
    values : array
        Rising, shape (n,): z1 from left to right, and z2 from the bottom to the top.

    Returns
    -------
    np.ndarray
        One image, (n * height, n * width, channels), in [0, 1].
    """
    if vae.latent_dim != 2:
        raise ValueError(f"latent_dim={vae.latent_dim}: a plane needs a model of latent_dim=2")
    values = np.asarray(values, np.float32)
    z = np.stack(np.meshgrid(values, values[::-1]), axis=-1)  # (n, n, 2)
    images = np.asarray(vae.likelihood(z.reshape(-1, 2)).mean())  # one batch of n * n
    rows = images.reshape(len(values), len(values), *images.shape[1:]).swapaxes(1, 2)
    return rows.reshape(-1, len(values) * images.shape[2], images.shape[3])


def manifold(vae: VAE, n: int = 20, title: str | None = None) -> plt.Figure:
    """Show n x n images decoded at the quantiles of N(0, I), where that prior puts equal mass.

    Parameters
    ----------
    vae : helpers.vae.VAE
        With K = 2, else ValueError.
    n : int
        Images per side, at least 2.
    title : str, optional
    """
    check_whole(low=2, n=n)
    prior = NormalDist()
    values = np.array([prior.inv_cdf((i + 0.5) / n) for i in range(n)])
    plane = decode_plane(vae, values)
    fig, ax = plt.subplots(figsize=(6.0, 6.0))
    ax.imshow(plane.squeeze(), vmin=0, vmax=1)
    height, width = plane.shape[0] / n, plane.shape[1] / n
    ticks = np.arange(0, n, max(1, n // 6))
    names = [f"{value:.2f}".replace("-", "−") for value in values[ticks]]
    ax.set_xticks((ticks + 0.5) * width, names)
    ax.set_yticks((n - ticks - 0.5) * height, names)  # z2 rises, rows are counted downwards
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    ax.grid(False)
    return fig
