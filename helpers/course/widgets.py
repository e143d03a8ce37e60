"""Two page elements that need no kernel: the latent explorer and the image scatter."""

import base64
import hashlib
import io
import json
import math
import re
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from IPython.display import HTML
from PIL import Image

from helpers.plots import COLOURS, _pixels, _points, decode_plane


def latent_explorer(vae, z, labels, class_names, *, n: int = 31, limit: float = 3.0) -> HTML:
    """Return a page element that shows the decoded image under the pointer; it needs no kernel.

    Pointer, touch or arrow keys move over [-limit, limit] x [-limit, limit]; images are decoded
    beforehand at n x n points. z (m, 2) with labels (m,) are drawn, and name the nearest class."""
    z, labels = _points(z, labels, class_names)
    if not isinstance(n, int) or n < 2 or not 0 < limit < math.inf:
        raise ValueError(f"n={n!r}, limit={limit!r}: give n >= 2 and a limit above 0")
    plane = decode_plane(vae, np.linspace(-limit, limit, n))
    pixels = np.round(255 * np.clip(plane, 0, 1)).astype(np.uint8).squeeze()
    points = [[round(a, 2), round(b, 2), int(k)] for (a, b), k in zip(z, labels, strict=True)]
    return _page("explorer.html", iio.imwrite("<bytes>", pixels, extension=".jpeg", quality=60),
                 n=n, limit=limit, points=points, names=class_names)


def image_scatter(points, images, labels, class_names) -> HTML:
    """Return a page element: a scatter that shows the image under the pointer; it needs no kernel.

    `points` (n, 2), n at most 2,000, `images` (n, h, w[, 1]), kept in 8 grey levels, and `labels`
    (n,). Pointer, touch or keys: arrows go to the nearest point that way, Page Up and Down through
    all. Built in notebook 05.
    """
    points, labels, images = np.asarray(points, np.float64), np.asarray(labels), _pixels(images)
    shapes, n = (points.shape, images.shape[:1], labels.shape, images.ndim), len(points)
    if shapes != ((n, 2), (n,), (n,), 3) or not 1 <= n <= 2000 or not np.isfinite(points).all():
        raise ValueError(f"points {points.shape}, images {images.shape}, labels {labels.shape}: "
                         "give finite (n, 2), grey (n, h, w) and (n,), n from 1 to 2000")
    columns, (height, width) = math.ceil(math.sqrt(n)), images.shape[1:]
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[:n] = np.round(7 * images)
    sheet = sheet.reshape(rows, columns, height, width).swapaxes(1, 2)
    sprite, file = Image.fromarray(sheet.reshape(rows * height, columns * width)), io.BytesIO()
    sprite.putpalette(np.repeat(np.linspace(0, 255, 8, dtype=int), 3).tolist())
    sprite.save(file, "png", bits=4, optimize=True)
    places = (points - points.min(axis=0)) / max(np.ptp(points, axis=0).max(), 1e-12)
    points = [[*map(int, xy), int(k)] for xy, k in zip(1000 * places, labels, strict=True)]
    return _page("scatter.html", file.getvalue(), columns=columns, rows=rows, points=points,
                 names=class_names)


def _page(template, sprite, names, **settings) -> HTML:
    """Fill a template with an image and settings, under a name made of both."""
    settings |= {"colours": COLOURS, "names": [str(name) for name in names]}
    text = json.dumps(settings, separators=(",", ":")).replace("<", "\\u003c")
    digest = hashlib.sha256(sprite + text.encode()).hexdigest()[:12]
    parts = {"SPRITE": base64.b64encode(sprite).decode(), "SETTINGS": text,
             "NAME": f"explorer-{digest}"}
    page = Path(__file__).with_name(template).read_text(encoding="utf-8").strip()
    # In one pass: what is filled in may spell one of these words itself.
    return HTML(re.sub("|".join(parts), lambda found: parts[found[0]], page))
