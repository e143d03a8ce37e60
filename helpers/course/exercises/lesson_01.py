"""The checks of the exercises of lesson 01."""

from contextlib import suppress
from itertools import islice

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from helpers.course.exercises import NotYet, array, call, choices, compare

VERDICTS = ("ruled out", "beaten", "neither")
REPORTS = {  # report: (verdict, hint)
    "a": ("ruled out", "The tosses came after the training, so no model could know them."),
    "b": ("neither", "How many coins does threshold toss?"),
    "c": (
        "neither",
        "The tosses are known by heart, so only which of 10,000 images is open: "
        "log 10,000 = 9.2 nats.",
    ),
    "d": ("neither", "Compare it with both reference lines."),
    "e": ("beaten", "Compare it with the model that knows only how bright each pixel is."),
    "f": ("neither", "Both lines are for binary pixels, and a log-density may be positive."),
}
DARKENED = (1.0, 0.25, 0.75, 0.5)  # factors, from the lowest noise floor to the highest
BATCH = 10


def check_reports(answer: object) -> str:
    """Six reported scores: what floor and baseline say of each."""
    choices(answer, REPORTS, VERDICTS, '{"a": "neither", "b": "beaten", …}', noun="Report")
    return "The floor holds for fresh tosses of binary pixels, the baseline for binary pixels."


def check_darkened(answer: object) -> str:
    """Factors of brightness, in the order of the noise floors that they lead to."""
    if not isinstance(answer, tuple | list | np.ndarray) or np.asarray(answer).dtype.kind in "US":
        raise NotYet("Give a tuple such as (1, 0.75, 0.5, 0.25).")
    got = array(list(answer) if isinstance(answer, tuple) else answer, (len(DARKENED),))
    if sorted(got) != sorted(DARKENED):
        raise NotYet("Put the four factors 1, 0.75, 0.5 and 0.25 in order, each of them once.")
    if got[0] == DARKENED[-1] or got[-1] != DARKENED[-1]:
        raise NotYet(
            "The brightest pixels of a stroke decide. What does each factor make of a white one?"
        )
    if got[0] != DARKENED[0]:
        raise NotYet("One factor leaves white pixels white. How uncertain is their toss?")
    if tuple(got) != DARKENED:
        raise NotYet("The same for white pixels, H(0.25) = H(0.75): look at a pixel of grey 0.5.")
    return (
        "Noise is largest near half brightness: a white pixel becomes a fair coin at 0.5 and "
        "a more certain one at 0.25."
    )


def check_pipeline(answer: object) -> str:
    """Every image once an epoch, in a fresh order, with fresh tosses of the right coin."""
    for images, seed in ((120, 0), (195, 1)):
        grey = _images_with_a_number(images, np.random.default_rng(seed))
        dataset = call(answer, grey)
        epochs = [_one_epoch(dataset, grey) for _ in range(3)]
        orders = [_numbers(epoch, images) for epoch in epochs]
        _check_order(orders)
        _check_coins(np.concatenate(epochs)[:, 2:], grey[0, 2:])
        if np.array_equal(epochs[0][:, 2:], epochs[1][:, 2:]):
            raise NotYet("The same tosses come back in every epoch: what freezes them?")
        by_number = [epochs[i][np.argsort(orders[i])] for i in range(3)]
        _check_tosses(by_number, grey)
    return "A fresh order and fresh tosses in every epoch, and no image is lost."


def _images_with_a_number(n: int, rng: np.random.Generator) -> np.ndarray:
    """Grey images (n, 8, 8, 1): the first row spells the number of the image in black and white."""
    grey = np.tile(rng.uniform(0.15, 0.75, size=(1, 8, 8, 1)), (n, 1, 1, 1))
    grey[:, 0, :, 0] = np.unpackbits(np.arange(n, dtype=np.uint8)[:, None], axis=1)
    grey[:, 1, 0], grey[:, 1, 1] = 0.0, 1.0  # black and white in every image
    return grey.astype(np.float32)


def _one_epoch(dataset: object, grey: np.ndarray) -> np.ndarray:
    """Return the images (n, 8, 8, 1) of one pass, binary, in batches of BATCH."""
    if not isinstance(dataset, tf.data.Dataset):
        raise NotYet(f"The function returns a {type(dataset).__name__}, want a tf.data.Dataset.")
    n, most = len(grey), len(grey) + 1  # even batches of one image end before
    batches = [np.asarray(batch) for batch in islice(dataset.as_numpy_iterator(), most)]
    if len(batches) == most:
        raise NotYet("One pass goes on for ever. An epoch ends after each image has come once.")
    sizes = [len(batch) if batch.shape[1:] == grey.shape[1:] else -1 for batch in batches]
    if min(sizes, default=-1) < 0:
        raise NotYet(f"Batches should have shape (batch, {', '.join(map(str, grey.shape[1:]))}).")
    if sum(sizes) != n:
        raise NotYet(f"{n} images went in, {sum(sizes)} came out in one epoch.")
    if max(sizes) != BATCH or len(sizes) != int(np.ceil(n / BATCH)):
        raise NotYet(
            f"The largest batch holds {max(sizes)} images, want {BATCH} in every full one."
        )
    epoch = np.concatenate(batches)
    if not np.isin(epoch, (0, 1)).all():
        raise NotYet("Some pixels are neither 0 nor 1: where is the coin toss?")
    if epoch[:, 1, 0].all() and not epoch[:, 1, 1].any():
        raise NotYet("Black pixels came out white: the coin falls the wrong way round.")
    if epoch[:, 1, 0].any() or not epoch[:, 1, 1].all():
        raise NotYet("A black pixel must stay 0 and a white one 1, however the coin falls.")
    return epoch


def _numbers(epoch: np.ndarray, n: int) -> np.ndarray:
    """Return the number that each image spells; each must come once."""
    numbers = np.packbits(epoch[:, 0, :, 0].astype(np.uint8), axis=1)[:, 0]
    if not np.array_equal(np.sort(numbers), np.arange(n)):
        raise NotYet("In one epoch every image should come once; some come twice or never.")
    return numbers


def _check_order(orders: list[np.ndarray]) -> None:
    """Raise unless images are shuffled, in another order in each epoch, by a large buffer."""
    n = len(orders[0])
    if any(np.array_equal(order, np.arange(n)) for order in orders):
        raise NotYet("The images come in the order of the file: nothing is shuffled.")
    if any(np.array_equal(orders[0], order) for order in orders[1:]):
        raise NotYet("The order of the first epoch comes back in the next: what freezes it?")
    together = [{frozenset(order[i : i + BATCH]) for i in range(0, n, BATCH)} for order in orders]
    if together[0] == together[1]:
        raise NotYet("Only whole batches change places: the same images always come together.")
    if max(order[: n // 4].max() for order in orders) < 3 * n // 4:
        raise NotYet("The first quarter holds no late image: the shuffle's buffer is too small.")


def _check_coins(tossed: np.ndarray, grey: np.ndarray) -> None:
    """Raise unless the pixels (n, h, w, c) of grey levels (h, w, c) have a coin each."""
    if (tossed == tossed[0]).all():
        raise NotYet("A pixel of the same grey comes out the same in every image: a threshold?")
    darkest_one = np.where(tossed == 1, grey, 1.0).min(axis=(1, 2, 3))
    brightest_zero = np.where(tossed == 0, grey, 0.0).max(axis=(1, 2, 3))
    if (darkest_one >= brightest_zero).all():
        raise NotYet("One random number decides all pixels of an image: draw one for each pixel.")


def _check_tosses(epochs: list[np.ndarray], grey: np.ndarray) -> None:
    """Raise unless tosses are fresh for each image and epoch, and as likely as the grey level."""
    first, second = (epoch[:, 2:].reshape(len(epoch), -1) for epoch in epochs[:2])
    if (first == second).all(axis=1).any():
        raise NotYet("Images come back with the tosses of the epoch before: what freezes them?")
    if len(np.unique(first, axis=0)) < len(first):
        raise NotYet("Several images share their tosses: toss for each image by itself.")
    frequency = np.mean(epochs, axis=(0, 1))
    if np.abs(frequency - grey.mean(axis=0))[2:].max() > 0.15:
        raise NotYet("A pixel of grey level x should be 1 with probability x, and is not.")


def check_mixture(answer: object) -> str:
    """log p(b) of a mixture of independent pixels, with unequal weights and several shapes."""
    rng = np.random.default_rng(4)
    for n, classes, shape in ((5, 3, (2, 3, 1)), (4, 2, (3, 2, 3)), (3, 4, (50, 50, 1))):
        b = rng.integers(0, 2, size=(n, *shape)).astype(np.float64)
        means = rng.uniform(0.05, 0.95, size=(classes, *shape))
        weights = rng.permutation(np.arange(1.0, classes + 1) ** 2)
        _compare_mixture(answer, b, weights / weights.sum(), means)
    return "Now fit it to MNIST: how far below independent pixels does it get?"


def _compare_mixture(answer: object, b: np.ndarray, weights: np.ndarray, means: np.ndarray) -> None:
    """Compare an answer with the log-sum-exp, and with what usual mistakes give."""
    pixels, p = b.reshape(len(b), 1, -1), means.reshape(len(means), -1)
    ones, zeros = pixels * np.log(p), (1 - pixels) * np.log(1 - p)
    log_each = (ones + zeros).sum(axis=-1)  # (n, classes)
    joint = log_each + np.log(weights)
    got = call(answer, b, weights, means)
    with suppress(TypeError, ValueError):  # what is no number is told below
        if np.isneginf(np.asarray(got, np.float64)).any():
            raise NotYet("With 2,500 pixels the probability is rounded to 0: use a log-sum-exp.")
    compare(
        array(got, (len(b),)),
        logsumexp(joint, axis=1),
        "Sum the classes' probabilities, each times its weight, then take the logarithm.",
        mistakes={
            "All weights count alike here: where do you use `weights`?": (
                logsumexp(log_each, axis=1) - np.log(len(weights))
            ),
            "The classes' probabilities are added without their weights.": (
                logsumexp(log_each, axis=1)
            ),
            "Average probabilities, not their logarithms.": log_each @ weights,
            "Return log p(b), not −log p(b).": -logsumexp(joint, axis=1),
            "Add the logarithm of the weights, not the weights.": (
                logsumexp(log_each + weights, axis=1)
            ),
            "That draws a new class for every pixel; choose one class for the whole image.": (
                np.log(np.where(pixels == 1, weights @ p, 1 - weights @ p)).sum(axis=(1, 2))
            ),
            "That is the most likely class alone; all classes count.": joint.max(axis=1),
            "Pixels that are 0 count too, with probability 1 - p.": (
                logsumexp(ones.sum(axis=-1) + np.log(weights), axis=1)
            ),
        },
    )


CHECKS = {
    "01.1": check_reports,
    "01.2": check_darkened,
    "01.3": check_pipeline,
    "01.4": check_mixture,
}
