"""Images of somebody's own: from arrays, or from a folder of pictures, to an `ImageDataset`.

What can be read in one way is read; what can be read in two, or in none, is refused with a sentence
that says what to write instead.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.course.checks import as_sizes, check_choice, check_fraction, check_seed, shown
from helpers.course.datasets import (
    OWN_IMAGES,
    DatasetInvalid,
    ImageDataset,
    Split,
    fixed_order,
)
from helpers.course.progress import progress

if TYPE_CHECKING:
    from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
ORIENTATION, ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # what a camera writes of how it was held
EXAMPLE_SIZE = 20  # pixels, height and width of the pictures of `write_example_folder`


def from_arrays(
    x: np.ndarray,
    y: np.ndarray | Sequence | None = None,
    *,
    name: str = "own images",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> ImageDataset:
    """Make a data set of your own arrays, split at random, the same way each time.

    A line says so where validation or test images are copies of training images.

    Parameters
    ----------
    x : array
        Images (n, h, w) or (n, h, w, c). White is 255 in uint8 (and in wider whole numbers that
        stay below 256), 65535 in uint16, 1.0 in floats, and True in booleans. Kept as 256 levels.
    y : array or sequence, optional
        A label for each image, whole numbers or strings.
    name : str
        For tables and titles.
    validation_fraction, test_fraction : float
        Parts of the images, at least one image each.
    seed : int
        Another seed gives another split.
    class_names : sequence of str, optional
        What the labels 0, 1, … mean, or the order of string labels. By default the labels
        themselves, sorted.

    Returns
    -------
    ImageDataset

    Raises
    ------
    TypeError, ValueError
        `x` or `y` can be read in more than one way, or in none; the message says what to write.
    """
    images = _as_grey_levels(_with_channels(_as_array(x)))
    labels, names = _as_classes(y, len(images), class_names)
    splits = _split(images, labels, validation_fraction, test_fraction, seed)
    return _with_note_of_copies(ImageDataset(name, *splits, names, OWN_IMAGES, False))


def from_folder(
    path: str | Path,
    size: int | tuple[int, int],
    *,
    channels: int = 3,
    skip_unreadable: bool = False,
    name: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> ImageDataset:
    """Make a data set of a folder of pictures, split at random, the same way each time.

    Folders inside `path` are classes; pictures that lie in `path` itself have none. A picture is
    turned as its camera says, cut to the shape of `size` around its middle, and resized;
    transparent parts become white, and of an animation the first frame is taken. A line says so
    where validation or test images are copies of training images.

    Parameters
    ----------
    path : str or Path
        Files other than pictures (PNG, JPEG, GIF, BMP, WebP, TIFF), and hidden ones, are ignored.
    size : int or (height, width)
        Of the images, in pixels.
    channels : int
        3 for colours, 1 for grey values.
    skip_unreadable : bool
        Leave pictures out that cannot be read, and name them, instead of raising an error.
    name : str, optional
        For tables and titles; by default the folder's name.
    validation_fraction, test_fraction, seed
        As in `from_arrays`.

    Returns
    -------
    ImageDataset

    Raises
    ------
    ValueError
        The folder holds no pictures, or something else than pictures or class folders; or nobody
        can tell what white is in them.
    DatasetInvalid
        Pictures cannot be read; the message names them.
    """
    folder = Path(path).expanduser()
    sizes = as_sizes("size", size)
    if len(sizes) > 2:
        raise ValueError(f"size must be one number or (height, width), got {shown(size)}")
    check_choice("channels", channels, (1, 3))
    files, classes = _pictures(folder)
    images, unreadable = [], []
    for file in progress(files, "read pictures", unit="picture"):
        try:
            images.append(_read_picture(file, sizes[0], sizes[-1], channels))
        except Exception:  # Pillow's readers raise many kinds for a damaged file
            unreadable.append(file)
    _report_unreadable(folder, unreadable, len(files), skip_unreadable)
    left_out = set(unreadable)
    _check_white(folder, [file for file in files if file not in left_out], images)
    kept = [label for file, label in zip(files, classes, strict=True) if file not in left_out]
    labels, names = _as_classes(kept if any(kept) else None, len(images), None)
    splits = _split(np.stack(images), labels, validation_fraction, test_fraction, seed)
    name = name or folder.resolve().name
    return _with_note_of_copies(ImageDataset(name, *splits, names, OWN_IMAGES, False))


def picture_sizes(path: str | Path) -> np.ndarray:
    """Return height and width of each picture of a folder, (n, 2), as `from_folder` would find it.

    Only the headers are read. Pictures that cannot be opened are left out; `from_folder` names
    them.
    """
    from PIL import Image

    sizes = []
    for file in _pictures(Path(path).expanduser())[0]:
        try:
            with Image.open(file) as opened:
                lies = opened.getexif().get(ORIENTATION) in ON_ITS_SIDE
                sizes.append(opened.size if lies else opened.size[::-1])  # (width, height)
        except (OSError, Image.DecompressionBombError):
            continue
    return np.array(sizes, int).reshape(-1, 2)


def copies(dataset: ImageDataset) -> dict[str, np.ndarray]:
    """Say which validation and test images an earlier split holds too, bit for bit.

    Parameters
    ----------
    dataset : ImageDataset

    Returns
    -------
    dict of np.ndarray
        "validation" and "test": booleans, one an image. Pictures that are nearly the same, such as
        two frames of a film, are not found.
    """
    seen = _digests(dataset.train.images)
    found = {}
    for name in ("validation", "test"):
        digests = _digests(getattr(dataset, name).images)
        found[name] = np.isin(digests, seen)
        seen = np.concatenate([seen, digests])
    return found


def without_copies(dataset: ImageDataset) -> ImageDataset:
    """Return a data set whose validation and test images stand in no earlier split.

    Raises
    ------
    ValueError
        None would be left.
    """
    kept = {}
    for name, is_copy in copies(dataset).items():
        split = getattr(dataset, name)
        if is_copy.all():
            raise ValueError(
                f"all {len(split)} {name} images stand in an earlier split too: bring images that "
                "differ from each other"
            )
        kept[name] = Split(split.images[~is_copy], split.labels[~is_copy])
    return replace(dataset, **kept)


def write_example_folder(path: str | Path) -> Path:
    """Write small pictures to a folder, for whoever has none at hand, and return its path.

    They are patches of the two photographs of scikit-learn, 20 x 20 pixels each, which do not
    overlap: PNG files in the class folders "temple" and "flower". A folder that is already there is
    left as it is. It gets its name when all pictures are in it.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".example-") as beside:
            _write_patches(Path(beside, folder.name))
            os.replace(Path(beside, folder.name), folder)
    return folder


def _write_patches(folder: Path) -> None:
    """Write the pictures of the example, each class into a folder of its own."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    size = EXAMPLE_SIZE
    for name, photo in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        height, width, _ = photo.shape
        for top in range(0, height - size + 1, size):
            for left in range(0, width - size + 1, size):
                patch = Image.fromarray(photo[top : top + size, left : left + size])
                patch.save(folder / name / f"{top:03d}_{left:03d}.png")


def _with_note_of_copies(dataset: ImageDataset) -> ImageDataset:
    """Return the data set; a line says how many images of a split stand in an earlier one too."""
    found = {name: int(is_copy.sum()) for name, is_copy in copies(dataset).items()}
    if any(found.values()):
        listed = " and ".join(
            f"{count} of {len(getattr(dataset, name))} {name} images"
            for name, count in found.items()
            if count
        )
        print(
            f"Note: {listed} stand in an earlier split too, bit for bit: "
            "data.without_copies(dataset) takes them out."
        )
    return dataset


def _digests(images: np.ndarray) -> np.ndarray:
    """Return a digest of each image, (n,)."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images])


def _as_array(x: object) -> np.ndarray:
    """Return x as an array; TypeError says how to make one of a list or a tf.data pipeline."""
    if hasattr(x, "as_numpy_iterator"):
        raise TypeError(
            "x is a tf.data pipeline: give an array, np.stack(list(x.as_numpy_iterator())), or "
            "np.concatenate(…) of it if it yields batches"
        )
    if not hasattr(x, "shape"):
        raise TypeError(
            f"x is a {type(x).__name__}: give an array (n, h, w) or (n, h, w, c), np.stack(x) for "
            "a list of images of one size; from_folder reads picture files of any size"
        )
    return np.asarray(x)


def _with_channels(x: np.ndarray) -> np.ndarray:
    """Return images (n, h, w, c); ValueError says how to bring other shapes into this one."""
    wanted = f"x has shape {x.shape}: give (n, h, w) or (n, h, w, c)"
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(f"{wanted}, for example x.reshape(-1, 28, 28) for rows of 784 pixels")
    if x.ndim == 3 and x.shape[-1] in (1, 3, 4):
        raise ValueError(f"{wanted}; this looks like one picture with channels")
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and x.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{wanted}; channels come last here: np.moveaxis(x, 1, -1)")
    return x[..., np.newaxis] if x.ndim == 3 else x


def _as_grey_levels(x: np.ndarray) -> np.ndarray:
    """Return images as uint8, 255 for white; refuse what can be read in two ways."""
    kind = x.dtype.kind
    if kind == "b":
        return np.where(x, np.uint8(255), np.uint8(0))
    if kind in "iu":
        return _from_whole_numbers(x)
    if kind == "f":
        return _from_floats(x)
    raise TypeError(f"x is {x.dtype}: give booleans, whole numbers or floats")


def _from_whole_numbers(x: np.ndarray) -> np.ndarray:
    """Return whole numbers as 256 grey levels."""
    low, high = int(x.min()), int(x.max())
    given = f"x is {x.dtype} from {low} to {high}"
    if low < 0:
        raise ValueError(f"{given}: write (x - black) / (white - black) with your black and white")
    if high == 1:
        raise ValueError(f"{given}: write x == 1 if 1 is white, or x / 255 if 255 is white")
    if x.dtype == np.uint16 and high > 32_767:
        return _to_levels(x, 65_535)
    if x.dtype == np.uint16 or high > 255:  # dark pictures, or of 10 or 12 bits?
        raise ValueError(f"{given}: write x / white with your white, such as 255, 4095 or 65535")
    return x.astype(np.uint8)


def _from_floats(x: np.ndarray) -> np.ndarray:
    """Return floats from 0 to 1 as 256 grey levels."""
    if not np.isfinite(x).all():
        raise ValueError(f"x holds NaN or infinity at {np.sum(~np.isfinite(x))} places")
    low, high = float(x.min()), float(x.max())
    given = f"x is {x.dtype} from {low:.3g} to {high:.3g}"
    if low < -1e-6 or high > 1 + 1e-6:
        raise ValueError(
            f"{given}, not from 0 to 1: write x / 255 if white is 255, (x + 1) / 2 if black is -1"
        )
    if 0 < high <= 1.01 / 255:
        raise ValueError(f"{given}: all but black; write x * 255 if it was divided by 255 twice")
    return _to_levels(x, 1.0)


def _to_levels(x: np.ndarray, white: float) -> np.ndarray:
    """Return images as uint8, where `white` becomes 255; one by one, for the sake of memory."""
    levels = np.empty(x.shape, np.uint8)
    for image, level in zip(x, levels, strict=True):
        level[...] = np.round(255 * np.clip(image / white, 0, 1))
    return levels


def _as_classes(
    y: np.ndarray | Sequence | None, n: int, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels 0, 1, … (n,) and what they mean."""
    if y is None:
        return np.zeros(n, np.uint8), ("no label",)
    y = _as_label_array(y, n)
    if class_names is None:
        values = list(np.unique(y))
        names = tuple(str(value) for value in values)
    else:
        names = tuple(class_names)
        values = list(names) if y.dtype.kind == "U" else list(range(len(names)))
    place = {value: label for label, value in enumerate(values)}
    strange = [str(value) for value in np.unique(y) if value not in place]
    if strange:
        raise ValueError(f"y holds {shown(strange)}, which class_names {shown(names)} do not name")
    dtype = np.uint8 if len(names) <= 256 else np.int32
    return np.array([place[value] for value in y.tolist()], dtype), names


def _as_label_array(y: np.ndarray | Sequence, n: int) -> np.ndarray:
    """Return one label for each image: whole numbers, booleans, or strings."""
    y = np.asarray(y)
    if y.shape == (n, 1):  # as Keras' CIFAR-10 has them
        y = y[:, 0]
    if y.shape != (n,):
        one_hot = ", np.argmax(y, axis=1) of one-hot rows" if y.shape[:1] == (n,) else ""
        raise ValueError(f"y has shape {y.shape}: give one label for each of {n} images{one_hot}")
    if y.dtype.kind == "S":
        return np.char.decode(y)
    if y.dtype.kind == "T" or (y.dtype.kind == "O" and all(isinstance(v, str) for v in y)):
        return y.astype(str)
    if y.dtype.kind not in "biuU":
        raise TypeError(f"y is {y.dtype}: give whole numbers, y.astype(int), or strings")
    return y


def _split(
    images: np.ndarray,
    labels: np.ndarray,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> list[Split]:
    """Return the splits for training, validation and test, drawn by the seed."""
    check_fraction(validation_fraction=validation_fraction, test_fraction=test_fraction)
    check_seed(seed=seed)
    n = len(images)
    validation = max(1, round(validation_fraction * n))
    test = max(1, round(test_fraction * n))
    train = n - validation - test
    if train < 1:
        raise ValueError(
            f"{n} images leave none to train with, after {validation} for validation and {test} "
            "for the test: give more images, or smaller fractions"
        )
    parts = np.split(fixed_order(n, seed), [train, train + validation])
    return [Split(images[part], labels[part]) for part in parts]


def _pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the picture files of a folder, sorted, and the class of each, "" without classes."""
    entries = sorted(folder.iterdir())
    loose = [entry for entry in entries if _is_picture(entry, folder)]
    files, classes = [], []
    for entry in entries:
        if entry.is_dir():
            found = [file for file in sorted(entry.rglob("*")) if _is_picture(file, folder)]
            files += found
            classes += [entry.name] * len(found)
    names = sorted(set(classes))
    if loose and files:
        raise ValueError(f"{folder} holds pictures beside folders of pictures: {shown(names)}")
    if {"train", "test"} <= {name.lower() for name in names}:
        raise ValueError(f"{folder} holds {shown(names)}, no classes: give one of these folders")
    if not loose and not files:
        raise ValueError(f"{folder} holds no pictures ({', '.join(PICTURES)})")
    return loose + files, [""] * len(loose) + classes


def _is_picture(path: Path, folder: Path) -> bool:
    """Whether a path is a picture by its name, and not hidden below `folder`."""
    hidden = any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    return path.suffix.lower() in PICTURES and path.is_file() and not hidden


def _read_picture(file: Path, height: int, width: int, channels: int) -> np.ndarray:
    """Return a picture as uint8 (height, width, channels)."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened)
    if _has_16_bits(picture):  # Pillow would clip them at 255
        levels = np.round(np.asarray(picture, np.float64) / 257)
        picture = Image.fromarray(levels.astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError("32 bits a pixel")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    picture = picture.convert("L" if channels == 1 else "RGB")
    picture = ImageOps.fit(picture, (width, height))
    return np.asarray(picture).reshape(height, width, channels)


def _has_16_bits(picture: "Image.Image") -> bool:
    """Whether a picture has 16 bits a pixel."""
    return picture.mode.startswith("I;16")


def _check_white(folder: Path, files: list[Path], images: list[np.ndarray]) -> None:
    """Raise where pictures are all but black because their white is not that of their format."""
    from PIL import Image

    brightest = max(int(image.max()) for image in images)
    if brightest == 1:
        raise ValueError(
            f"the pictures of {folder} hold only 0 and 1, but white is 255: read them as an array "
            "x and give data.from_arrays(x == 1)"
        )
    if brightest > 127:
        return
    for file in files:
        with Image.open(file) as opened:
            if _has_16_bits(opened):
                raise ValueError(
                    f"{file} has 16 bits a pixel, and no picture of {folder} is brighter than half "
                    "of 65535: read them as an array x and give data.from_arrays(x / white), with "
                    "your white, such as 4095"
                )


def _report_unreadable(folder: Path, unreadable: list[Path], count: int, skip: bool) -> None:
    """Name the pictures that cannot be read, as an error unless they are to be skipped."""
    if not unreadable:
        return
    names = [file.relative_to(folder).as_posix() for file in unreadable]
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    message = f"{len(names)} of {count} pictures cannot be read: {listed}"
    if not skip or len(names) == count:
        raise DatasetInvalid(f"{message}. Mend or remove them, or skip_unreadable=True")
    print(f"Note: {message}. They are left out.")
