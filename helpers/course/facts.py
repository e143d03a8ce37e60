"""What is worth knowing of images before a model of them is chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from helpers.course.datasets import ImageDataset, Split
from helpers.course.own_images import copies
from helpers.course.tables import Table

FEW_OF_A_CLASS = 10  # training images, below which a note says so
FEW_LEVELS = 64  # of 256


class Fact(NamedTuple):
    """A line of the table of facts."""

    fact: str
    value: str


@dataclass(frozen=True)
class Facts:
    """What `describe` found in a data set; it shows itself as a table.

    Attributes
    ----------
    name : str
    kind : str
        "binary": every pixel is black or white; else "grey" or "colour", by the channels.
    image_shape : tuple of int
        (height, width, channels).
    sizes : dict
        Images of each split.
    low, high : int
        The darkest and the brightest pixel, 0 to 255.
    levels : int
        How many of the 256 levels occur.
    share_binary : float
        Part of the pixels that are 0 or 255.
    class_sizes : dict
        Images of each class, of all splits together.
    copies : dict
        Validation and test images that an earlier split holds too, bit for bit.
    notes : tuple of str
        What to think about before training, a sentence each.
    """

    name: str
    kind: str
    image_shape: tuple[int, int, int]
    sizes: dict[str, int]
    low: int
    high: int
    levels: int
    share_binary: float
    class_sizes: dict[str, int]
    copies: dict[str, int]
    notes: tuple[str, ...]

    def table(self) -> Table:
        """Return the facts as a table of two columns, the notes last."""
        height, width, channels = self.image_shape
        rows = [
            Fact("images", f"{_listed(self.sizes)}; {height} × {width} pixels, {self.kind}"),
            Fact("numbers an image", f"{height * width * channels:,}"),
            Fact("pixels", f"from {self.low} to {self.high}, {self.levels} of 256 levels"),
            Fact("black or white", f"{self.share_binary:.1%} of the pixels are 0 or 255"),
            Fact("classes", _listed(self.class_sizes)),
            Fact("copies of an earlier split", _listed(self.copies)),
        ]
        return Table([*rows, *(Fact("note", note) for note in self.notes)])

    def __str__(self) -> str:
        return f"{self.name}\n{self.table()}"

    def _repr_markdown_(self) -> str:
        return f"**{self.name}**\n\n{self.table()._repr_markdown_()}"


def describe(dataset: ImageDataset) -> Facts:
    """Look at a data set: what its pixels are, what is in its splits, and what to think about.

    Parameters
    ----------
    dataset : ImageDataset
        From `load`, `from_arrays` or `from_folder`.

    Returns
    -------
    Facts
        `helpers.likelihoods.table(facts)` says which models they allow.
    """
    if not isinstance(dataset, ImageDataset):
        raise TypeError(
            f"dataset is a {type(dataset).__name__}: make one of your arrays with "
            "data.from_arrays(x)"
        )
    splits = _splits(dataset)
    occurrences = sum(np.bincount(s.images.ravel(), minlength=256) for s in splits.values())
    levels = np.flatnonzero(occurrences)
    share_binary = (occurrences[0] + occurrences[255]) / occurrences.sum()
    kind = "grey" if dataset.image_shape[-1] == 1 else "colour"
    counts, is_copy = _count_classes(dataset), copies(dataset)
    return Facts(
        name=dataset.display_name,
        kind="binary" if share_binary == 1 else kind,
        image_shape=dataset.image_shape,
        sizes={name: len(split) for name, split in splits.items()},
        low=int(levels[0]),
        high=int(levels[-1]),
        levels=len(levels),
        share_binary=float(share_binary),
        class_sizes={name: sum(row.values()) for name, row in counts.items()},
        copies={name: int(found.sum()) for name, found in is_copy.items()},
        notes=(
            *_notes_of_copies(is_copy),
            *_notes_of_classes(counts),
            *_notes_of_pixels(dataset, levels),
        ),
    )


def _splits(dataset: ImageDataset) -> dict[str, Split]:
    """Return the three splits by name."""
    return {name: getattr(dataset, name) for name in ("train", "validation", "test")}


def _count_classes(dataset: ImageDataset) -> dict[str, dict[str, int]]:
    """Return {class: {split: images}}."""
    return {
        name: {
            split: int(np.sum(images.labels == label)) for split, images in _splits(dataset).items()
        }
        for label, name in enumerate(dataset.class_names)
    }


def _notes_of_copies(is_copy: dict[str, np.ndarray]) -> Iterator[str]:
    """Yield what to say of images that stand in two splits."""
    for name, found in is_copy.items():
        if found.any():
            yield (
                f"{found.sum()} of {len(found)} {name} images stand in an earlier split too, "
                "so they say nothing about new images: data.without_copies takes them out"
            )


def _notes_of_classes(counts: dict[str, dict[str, int]]) -> Iterator[str]:
    """Yield what to say of classes that are small, or that a split lacks."""
    for name, by_split in counts.items():
        missing = [split for split, count in by_split.items() if not count]
        if by_split["train"] < FEW_OF_A_CLASS or missing:
            lacking = f", none for {' and '.join(missing)}" if missing else ""
            yield (
                f"class {name!r} has {by_split['train']} training images{lacking}: too few to say "
                "how well it is modelled"
            )


def _notes_of_pixels(dataset: ImageDataset, levels: np.ndarray) -> Iterator[str]:
    """Yield what to say of pixels that are not what their format promises."""
    images = dataset.train.images
    if images.shape[-1] > 1 and (images == images[..., :1]).all():
        yield "the channels are equal: one of them is enough (channels=1, or x[..., :1])"
    if 2 < len(levels) < FEW_LEVELS:
        yield (
            f"only {len(levels)} of 256 levels occur, which a model of 256 levels or of a density "
            "can learn: its bits/dim are low for this reason alone"
        )
    if levels[-1] < 128:
        yield f"no pixel is brighter than {levels[-1]}: is white really 255?"
    flat = images.reshape(len(images), -1)
    blank = int(np.sum(flat.min(axis=1) == flat.max(axis=1)))
    if blank:
        yield f"{blank} of {len(images)} training images are blank, all of one value"


def _listed(counts: dict[str, int]) -> str:
    """Return "train 800, validation 100", at most twelve of them."""
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:12]]
    return ", ".join(shown) + (", …" if len(counts) > 12 else "")
