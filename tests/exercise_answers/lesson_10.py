"""Answers to the exercises of lesson 10."""

import collections
import itertools
import math
import random

import numpy as np

from exercise_answers import Answers

# --- 1: families ----------------------------------------------------------------------------------

FAMILIES = dict(
    zip("abcdef", ("bernoulli", "8-bit", "bernoulli", "8-bit", "neither", "neither"), strict=True)
)


# --- 2: whole groups ------------------------------------------------------------------------------


def by_unique(groups, fraction, seed):
    names = np.unique(groups)
    number = max(1, round(fraction * len(names)))
    return np.isin(groups, np.random.default_rng(seed).permutation(names)[:number])


def by_random(groups, fraction, seed):
    names = sorted(set(groups.tolist()))
    number = max(1, round(fraction * len(names)))
    chosen = set(random.Random(seed).sample(names, number))
    return [name in chosen for name in groups.tolist()]


def by_sklearn(groups, fraction, seed):
    from sklearn.model_selection import GroupShuffleSplit

    number = max(1, round(fraction * len(np.unique(groups))))
    split = GroupShuffleSplit(n_splits=1, test_size=number, random_state=seed)
    mask = np.zeros(len(groups), bool)
    mask[next(split.split(groups, groups=groups))[1]] = True
    return mask


def of_images(groups, fraction, seed):
    """The classic: it draws images."""
    order = np.random.default_rng(seed).permutation(len(groups))
    return order < max(1, round(fraction * len(groups)))


def of_the_front(groups, fraction, seed):
    """Right for groups that lie in rows, of equal sizes."""
    return np.arange(len(groups)) < round(fraction * len(groups))


def without_the_seed(groups, fraction, seed):
    return by_unique(groups, fraction, 0)


def by_luck(groups, fraction, seed):
    return by_unique(groups, fraction, None)


def one_third(groups, fraction, seed):
    return by_unique(groups, 0.3, seed)


def rounded_down(groups, fraction, seed):
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, names[: max(1, int(fraction * len(names)))])


def rounded_up(groups, fraction, seed):
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, names[: max(1, math.ceil(fraction * len(names)))])


def maybe_none(groups, fraction, seed):
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, names[: round(fraction * len(names))])


def each_by_a_coin(groups, fraction, seed):
    names = np.unique(groups)
    return np.isin(groups, names[np.random.default_rng(seed).random(len(names)) < fraction])


def drawn_by_size(groups, fraction, seed):
    """It draws images and takes their groups: large ones come too often, and the count is off."""
    rng = np.random.default_rng(seed)
    return np.isin(groups, rng.choice(groups, max(1, round(fraction * len(groups)))))


def in_turn(groups, fraction, seed):
    """Every other mask for every other seed."""
    names = np.unique(groups)
    number = max(1, round(fraction * len(names)))
    return np.isin(groups, names[:number] if seed % 2 else names[-number:])


def as_places(groups, fraction, seed):
    return np.flatnonzero(by_unique(groups, fraction, seed))


def as_numbers(groups, fraction, seed):
    return by_unique(groups, fraction, seed).astype(int)


def training_mask(groups, fraction, seed):
    return ~by_unique(groups, fraction, seed)


# --- 3: the left neighbour ------------------------------------------------------------------------


def frequencies(symbols, add=1):
    counts = np.bincount(np.ravel(symbols), minlength=256) + add
    return counts / counts.sum()


def by_numpy(train, test):
    """The differences of bytes wrap around by themselves."""
    of_bytes = frequencies(train[:, :, 0])
    of_steps = frequencies(train[:, :, 1:] - train[:, :, :-1])
    bits = -np.log2(of_bytes)[test[:, :, 0]].sum()
    bits -= np.log2(of_steps)[test[:, :, 1:] - test[:, :, :-1]].sum()
    return bits / test.size


def by_counter(train, test):
    def symbols(images):
        for row in images.transpose(0, 1, 3, 2).reshape(-1, images.shape[2]).tolist():
            yield "first", row[0]
            yield from (("step", (b - a) % 256) for a, b in itertools.pairwise(row))

    seen = collections.Counter(symbols(train))
    total = {
        kind: 256 + sum(n for (k, _), n in seen.items() if k == kind) for kind in ("first", "step")
    }
    bits = [np.log2(total[kind]) - np.log2(seen[kind, value] + 1) for kind, value in symbols(test)]
    return float(np.mean(bits))


def signed(train, test):
    """Steps from -255 to 255: a probability too, but not the one that is asked for."""
    of_bytes = frequencies(train[:, :, 0])
    steps = [np.diff(images.astype(int), axis=2) + 255 for images in (train, test)]
    counts = np.bincount(steps[0].ravel(), minlength=511) + 1
    bits = -np.log2(of_bytes)[test[:, :, 0]].sum() - np.log2(counts / counts.sum())[steps[1]].sum()
    return bits / test.size


def never_seen_is_impossible(train, test):
    of_bytes, of_steps = (
        frequencies(train[:, :, 0], 1e-9),
        frequencies(np.diff(train, axis=2), 1e-9),
    )
    bits = -np.log2(of_bytes)[test[:, :, 0]].sum() - np.log2(of_steps)[np.diff(test, axis=2)].sum()
    return bits / test.size


def upwards(train, test):
    return by_numpy(train.transpose(0, 2, 1, 3), test.transpose(0, 2, 1, 3))


def of_grey(train, test):
    """It mixes the channels first."""
    grey = [images.mean(axis=3, keepdims=True).astype(np.uint8) for images in (train, test)]
    return by_numpy(*grey)


def from_the_wall(train, test):
    steps = [np.diff(images, axis=2, prepend=np.uint8(0)) for images in (train, test)]
    return -np.log2(frequencies(steps[0]))[steps[1]].mean()


def without_first_column(train, test):
    return -np.log2(frequencies(np.diff(train, axis=2)))[np.diff(test, axis=2)].mean()


def two_means(train, test):
    first = -np.log2(frequencies(train[:, :, 0]))[test[:, :, 0]].mean()
    return (first + without_first_column(train, test)) / 2


def unsigned(train, test):
    steps = [np.abs(np.diff(images.astype(int), axis=2)) for images in (train, test)]
    bits = -np.log2(frequencies(train[:, :, 0]))[test[:, :, 0]].sum()
    return (bits - np.log2(frequencies(steps[0]))[steps[1]].sum()) / test.size


ANSWERS = {
    "10.1": Answers(
        right=[FAMILIES, {name.upper(): family.upper() for name, family in FAMILIES.items()}],
        wrong=[
            *(FAMILIES | {name: "neither"} for name in "abcd"),
            FAMILIES | {"c": "8-bit"},
            FAMILIES | {"d": "bernoulli"},
            FAMILIES | {"e": "8-bit"},
            FAMILIES | {"f": "bernoulli"},
            dict.fromkeys("abcdef", "8-bit"),
            {"a": "bernoulli"},
            FAMILIES | {"b": "gaussian"},
            ["bernoulli", "8-bit"],
            "8-bit",
        ],
    ),
    "10.2": Answers(
        right=[by_unique, by_random, by_sklearn],
        wrong=[
            of_images,
            of_the_front,
            without_the_seed,
            by_luck,
            one_third,
            rounded_down,
            rounded_up,
            maybe_none,
            each_by_a_coin,
            drawn_by_size,
            in_turn,
            as_places,
            as_numbers,
            training_mask,
            lambda groups, fraction, seed: np.zeros(len(groups), bool),
            lambda groups, fraction, seed: groups == groups[0],
            np.array([True, False]),
        ],
    ),
    "10.3": Answers(
        right=[by_numpy, by_counter],
        wrong=[
            signed,
            never_seen_is_impossible,
            upwards,
            of_grey,
            from_the_wall,
            without_first_column,
            two_means,
            unsigned,
            lambda train, test: by_numpy(test, test),
            lambda train, test: by_numpy(train, train),
            lambda train, test: by_numpy(train[:1], test),
            lambda train, test: by_numpy(train, test) * np.log(2),
            lambda train, test: by_numpy(train, test) * test[0].size,
            lambda train, test: -np.log2(frequencies(train))[test].mean(),  # no neighbour at all
            lambda train, test: 8.0,
            5.2,
        ],
    ),
}
