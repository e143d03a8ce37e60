"""Make the sample of MNIST that ships with the course, helpers/course/mnist_sample.npz.

Of each digit it holds the first 500 images of the course's training split, the first 50 of its
validation split, and the first 100 of the published test images in the random order that all
lessons compare on. Needs mnist.npz in VAE_DATA_DIR, or the network:

    python tools/make_sample.py
"""

import os

import numpy as np

from helpers import data
from helpers.course import datasets, files

PER_CLASS = {"train": 500, "validation": 50, "test": 100}


def first_of_each_class(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Return the rows of the first images of each class, in the order in which they stand."""
    rows = [np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(rows))


def choose(mnist: data.ImageDataset) -> dict[str, np.ndarray]:
    """Return the sample's arrays, named as in `datasets.SAMPLE_KEYS`."""
    n = len(mnist.test)
    shuffled_test = data.Split(
        data.random_subset(mnist.test.images, n), data.random_subset(mnist.test.labels, n)
    )
    splits = {"train": mnist.train, "validation": mnist.validation, "test": shuffled_test}
    sample = {}
    for name, split in splits.items():
        rows = first_of_each_class(split.labels, PER_CLASS[name])
        sample[f"x_{name}"] = split.images[rows]
        sample[f"y_{name}"] = split.labels[rows]
    return sample


def main() -> None:
    """Write the sample, and print the digest that helpers/course/datasets.py is to hold."""
    os.environ["VAE_DATA"] = "real"
    mnist = data.load_mnist()
    if not mnist.official:
        raise SystemExit("The sample can be made of the published MNIST only.")
    sample = choose(mnist)
    path = datasets.MNIST_SAMPLE
    files.write_whole(path, lambda file: np.savez_compressed(file, **sample))
    digest = datasets.content_digest(sample[key] for key in datasets.SAMPLE_KEYS)
    print(f"{path.name}: {path.stat().st_size:,} bytes, MNIST_SAMPLE_DIGEST = {digest!r}")


if __name__ == "__main__":
    main()
