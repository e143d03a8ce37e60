"""The checks of lesson 10."""

from collections.abc import Callable

import numpy as np

from helpers.course.exercises import NotYet, array, call, choices, compare

SEEDS = 200  # so many that a group which is never drawn is no accident
FAMILIES = ("bernoulli", "8-bit", "neither")
CASES = {  # case: (family, hint)
    "a": ("bernoulli", "How many different values does such a pixel take?"),
    "b": ("8-bit", "A colour of a photograph is a byte."),
    "c": ("bernoulli", "On which pixels are those published numbers measured?"),
    "d": ("8-bit", "The images are those of c, but the question is about their bytes."),
    "e": ("neither", "How many levels does the course keep of a 16-bit picture?"),
    "f": ("neither", "Do the values of that loss sum to 1 over the grey levels?"),
}


def check_families(answer: object) -> str:
    """10.1: six collections of pictures, and the likelihood for each."""
    example = '{"a": "bernoulli", "b": "neither", …}'
    choices(answer, CASES, FAMILIES, example, noun="Case", kind="family")
    return "The pixels that you want a number for choose the likelihood."


# --- 2: whole groups ------------------------------------------------------------------------------


def check_split(answer: Callable) -> str:
    """10.2: a split that keeps groups whole, drawn by a seed."""
    rng = np.random.default_rng(102)
    sizes = rng.permutation([1, 1, 2, 3, 3, 5, 8, 13, 21, 40])
    names = rng.permutation([f"patient {i}" for i in (3, 8, 11, 17, 20, 29, 31, 44, 58, 90)])
    in_rows = np.repeat(names, sizes)
    for groups, fraction in (
        (in_rows, 0.3),
        (rng.permutation(in_rows), 0.27),
        (rng.permutation(in_rows), 0.53),
        (rng.integers(100, 125, 400) ** 2, 0.2),
        (rng.permutation(in_rows), 0.01),
    ):
        masks = [_mask(answer, groups, fraction, seed) for seed in range(SEEDS)]
        _check_chance(answer, groups, fraction, masks)
    return "No patient is on both sides, and the seed alone decides who is where."


def _mask(answer: Callable, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the test mask of one call, whose groups are whole and as many as asked for."""
    returned = call(answer, groups, fraction, seed)
    if np.asarray(returned).dtype != bool:
        raise NotYet(
            f"Return booleans, one for each image, not {np.asarray(returned).dtype}: True is test."
        )
    mask = array(returned, groups.shape, "The mask").astype(bool)
    both = np.intersect1d(groups[mask], groups[~mask])
    if len(both):
        raise NotYet(f"{len(both)} groups are on both sides, {both[0]!s} among them.")
    count, number = len(np.unique(groups)), len(np.unique(groups[mask]))
    wanted = max(1, round(fraction * count))
    if number != wanted:
        raise NotYet(
            f"{number} of {count} groups are for the test with fraction={fraction}: want {wanted}, "
            "the fraction of the groups, rounded, and at least one."
        )
    return mask


def _check_chance(
    answer: Callable, groups: np.ndarray, fraction: float, masks: list[np.ndarray]
) -> None:
    """Raise unless a seed gives the same split again, and the seeds give all groups their turn."""
    if not np.array_equal(_mask(answer, groups, fraction, 7), masks[7]):
        raise NotYet("The same seed gave two different splits.")
    shares = np.mean(masks, axis=0)
    never = np.unique(groups[shares == 0])
    always = np.unique(groups[shares == 1])
    if len(never) or len(always):
        raise NotYet(
            f"With {SEEDS} seeds, {len(never)} groups were never and {len(always)} always for the "
            "test: the seed has to draw them at random."
        )


# --- 3: the left neighbour ------------------------------------------------------------------------


def check_neighbours(answer: Callable) -> str:
    """10.3: bits per dimension of a coder that looks at the left neighbour."""
    rng = np.random.default_rng(103)
    for shape in ((30, 6, 7, 1), (20, 5, 9, 3), (7, 3, 2, 3)):
        train, test = _walks(rng, shape), _walks(rng, (shape[0] // 2 + 1, *shape[1:]))
        returned = call(answer, train, test)
        got = array(returned, (), "The number of bits")
        compare(
            got,
            _neighbour_bits(train, test),
            "That is not the mean number of bits.",
            mistakes=_known_mistakes(train, test),
        )
    return "One neighbour is worth a lot, and the code is still a probability."


def _walks(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return uint8 images whose rows are random walks that pass 0 and 255."""
    steps = rng.normal(scale=20, size=shape).astype(int)
    steps[:, :, 0] = rng.integers(0, 256, (*shape[:2], shape[3]))
    return (np.cumsum(steps, axis=2) % 256).astype(np.uint8)


def _symbols(images: np.ndarray, axis: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of the first column, and the steps to the right, modulo 256."""
    whole = images.astype(int)
    return np.take(whole, [0], axis=axis), np.diff(whole, axis=axis) % 256


def _costs(train: np.ndarray, test: np.ndarray, add: float = 1.0) -> np.ndarray:
    """Return the bits of each symbol of the test images, by the frequencies in training images."""
    counts = np.bincount(train.ravel(), minlength=256) + add
    return -np.log2(counts / counts.sum())[test.ravel()]


def _neighbour_bits(
    train: np.ndarray, test: np.ndarray, axis: int = 2, add: float = 1.0
) -> np.floating:
    """Return the right answer, or with another axis or other counts a wrong one."""
    pairs = zip(_symbols(train, axis), _symbols(test, axis), strict=True)
    return np.mean(np.concatenate([_costs(*pair, add) for pair in pairs]))


def _known_mistakes(train: np.ndarray, test: np.ndarray) -> dict[str, object]:
    """Return the numbers of the mistakes that we know."""
    bits = _neighbour_bits(train, test)
    first, steps = zip(_symbols(train), _symbols(test), strict=True)
    absolute = [np.abs(np.diff(images.astype(int), axis=2)) for images in (train, test)]
    sizes = np.concatenate([_costs(*first), _costs(*absolute)])
    return {
        "These are nats: divide by log 2.": bits * np.log(2),
        "That is the sum of an image: take the mean over its numbers.": bits * test[0].size,
        "The left neighbour, not the upper one.": _neighbour_bits(train, test, axis=1),
        "Count on the training images: the test images pay.": _neighbour_bits(test, test),
        "The first column costs bits, too.": np.mean(_costs(*steps)),
        "That is the mean of two means: most numbers are not in the first column.": np.mean(
            [np.mean(_costs(*first)), np.mean(_costs(*steps))]
        ),
        "Left of the first column is no neighbour: code its bytes by their own frequencies.": (
            np.mean(
                _costs(*[np.diff(i.astype(int), axis=2, prepend=0) % 256 for i in (train, test)])
            )
        ),
        "Without the sign of a step, the picture cannot be decoded.": np.mean(sizes),
        "Those are the frequencies of the bytes: take the steps from the left.": np.mean(
            _costs(train, test)
        ),
    }


CHECKS = {
    "10.1": check_families,
    "10.2": check_split,
    "10.3": check_neighbours,
}
