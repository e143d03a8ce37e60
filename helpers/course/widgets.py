"""Page elements that need no kernel: the latent explorer, the image scatter, a slider of scatters.

Each is a template beside this file, filled with an image that holds all pictures and with settings.
"""

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
from IPython.display import HTML
from PIL import Image

from helpers.course.checks import check_positive, check_whole
from helpers.course.style import COLOURS
from helpers.plots import as_pixels, as_points, decode_plane
from helpers.vae import VAE

MOST_IMAGES = 2_000  # more would make a page of megabytes
GREY_LEVELS = 8  # that `image_scatter` keeps


def latent_explorer(
    vae: VAE,
    z: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    n: int = 31,
    limit: float = 3.0,
) -> HTML:
    """Return a page element that shows the image decoded where the pointer is.

    Pointer, touch or arrow keys move over the square from -limit to limit. The points are drawn,
    and the one nearest to the pointer names the class.

    Parameters
    ----------
    vae : helpers.vae.VAE
        With K = 2.
    z : array
        Points to draw, shape (m, 2).
    labels : array
        Their classes, shape (m,): places in `class_names`.
    class_names : sequence of str
    n : int
        Images are decoded beforehand at n x n points; at least 2.
    limit : float
        Above 0. The cloud of a learned prior may be larger than that of N(0, I):
        ``1.1 * np.abs(z).max()`` holds all of `z`.
    """
    z, labels = as_points(z, labels, class_names)
    check_whole(low=2, n=n)
    check_positive(limit=limit)
    plane = decode_plane(vae, np.linspace(-limit, limit, n))
    pixels = np.round(255 * np.clip(plane, 0, 1)).astype(np.uint8).squeeze()
    sprite = iio.imwrite("<bytes>", pixels, extension=".jpeg", quality=60)
    points = [[round(x, 2), round(y, 2), int(k)] for (x, y), k in zip(z, labels, strict=True)]
    return _page(
        "explorer.html",
        sprite,
        {"n": n, "limit": float(limit), "points": points},
        names=class_names,
    )


def image_scatter(
    points: npt.ArrayLike,
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
) -> HTML:
    """Return a page element: a scatter that shows the image whose point is under the pointer.

    Pointer, touch or keys: arrows go to the nearest point that way, Page Up and Down through all.
    Shown in lesson 05.

    Parameters
    ----------
    points : array
        Shape (n, 2), n at most 2,000.
    images : array
        Grey, shape (n, height, width) or (n, height, width, 1), as `plots.image_grid` takes them;
        eight grey levels are kept.
    labels : array
        Classes, shape (n,): places in `class_names`.
    class_names : sequence of str
    """
    points, labels = as_points(points, labels, class_names)
    images, n = as_pixels(images), len(points)
    if images.ndim != 3 or len(images) != n or n > MOST_IMAGES:
        raise ValueError(
            f"{n} points and images of shape {images.shape}: give a grey image (n, height, width) "
            f"for each point, {MOST_IMAGES} at most"
        )
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    # One scale for both axes, so that distances stay what they are; from 0 to 1000.
    places = (points - points.min(axis=0)) / max(np.ptp(points, axis=0).max(), 1e-12)
    marks = [[int(x), int(y), int(k)] for (x, y), k in zip(1000 * places, labels, strict=True)]
    return _page(
        "scatter.html",
        _sheet(images, rows, columns),
        {"columns": columns, "rows": rows, "points": marks},
        names=class_names,
    )


def scatter_slider(
    pictures: Mapping[str, Mapping[object, npt.ArrayLike]],
    labels: Mapping[str, npt.ArrayLike],
    class_names: Sequence[str],
    *,
    setting: str,
    notes: Mapping[str, Mapping[object, str]],
) -> HTML:
    """Return a page element: scatters side by side, which a slider switches between settings.

    Shown in lesson 05: pictures by t-SNE, one for each perplexity.

    Parameters
    ----------
    pictures : mapping
        From the title of a panel to {value of the setting: points (n, 2)}; every panel has the same
        values, and the points of a panel stay in their order.
    labels : mapping
        From a title to the classes of its points, shape (n,): places in `class_names`. A panel
        that is missing here is drawn with squares in one colour.
    class_names : sequence of str
    setting : str
        What the slider sets.
    notes : mapping
        From a title to {value of the setting: a few words about that picture}.
    """
    values = list(next(iter(pictures.values()), {}))
    if not values or any(list(panel) != values for panel in pictures.values()):
        raise ValueError("pictures: give every panel the same values of the setting, at least one")
    panels = []
    for title, panel in pictures.items():
        kinds = labels.get(title)
        frames = []
        for points in panel.values():
            as_kinds = np.zeros(len(points), int) if kinds is None else kinds
            points, _ = as_points(points, as_kinds, class_names)
            # One scale for both axes, so that distances stay what they are; from 0 to 1000.
            size = max(np.ptp(points, axis=0).max(), 1e-12)
            frames.append((1000 * (points - points.min(axis=0)) / size).astype(int).tolist())
        panels.append(
            {
                "title": title,
                "labels": None if kinds is None else [int(k) for k in kinds],
                "frames": frames,
                "notes": [notes[title][value] for value in values],
            }
        )
    settings = {"setting": setting, "values": [str(value) for value in values], "panels": panels}
    return _page("slider.html", b"", settings | {"start": len(values) // 2}, names=class_names)


def _sheet(images: np.ndarray, rows: int, columns: int) -> bytes:
    """Return a PNG that holds the images (n, height, width) in rows, in a few grey levels."""
    n, height, width = images.shape
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[:n] = np.round((GREY_LEVELS - 1) * images)
    sheet = sheet.reshape(rows, columns, height, width).swapaxes(1, 2)
    picture = Image.fromarray(sheet.reshape(rows * height, columns * width))
    palette = np.linspace(0, 255, GREY_LEVELS, dtype=int)
    picture.putpalette(np.repeat(palette, 3).tolist())  # red, green and blue of each level
    file = io.BytesIO()
    picture.save(file, "png", bits=4, optimize=True)
    return file.getvalue()


def _page(template: str, sprite: bytes, settings: dict, names: Sequence[str]) -> HTML:
    """Fill a template with an image and settings, under a name made of both."""
    settings = settings | {"colours": COLOURS, "names": [str(name) for name in names]}
    # A name may spell "</script>", which would end the script here.
    text = json.dumps(settings, separators=(",", ":")).replace("<", "\\u003c")
    digest = hashlib.sha256(sprite + text.encode()).hexdigest()[:12]
    parts = {
        "SPRITE": base64.b64encode(sprite).decode(),
        "SETTINGS": text,
        "NAME": f"explorer-{digest}",
    }
    page = Path(__file__).with_name(template).read_text(encoding="utf-8").strip()
    # In one pass: what is filled in may spell one of these words itself.
    return HTML(re.sub("|".join(parts), lambda found: parts[found[0]], page))
