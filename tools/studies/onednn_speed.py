"""Training speed with oneDNN over that without it, on this CPU: an MLP and a convolutional VAE.

TensorFlow reads TF_ENABLE_ONEDNN_OPTS when it starts, so each measurement is a process of its own;
the two settings take turns, so that a change of the machine's speed meets both. Random pixels.
"""

import sys
import time

import keras
import numpy as np
import study
import tensorflow as tf

from helpers.networks import ResidualDecoder
from helpers.vae import VAE

BATCH, SECONDS, ROUNDS = 256, 4.0, 5
NETWORKS = ("mlp", "residual", "conv")


def network(name: str) -> VAE:
    """Return one of the networks."""
    if name == "mlp":
        return VAE(40, hidden_dim=(512, 512), activation="silu")
    if name == "conv":
        return VAE(2, encoder="conv", decoder="conv", hidden_dim=(32, 64), activation="relu")
    decoder = ResidualDecoder((512, 32, 32, 32), (28, 28, 1), activation="silu")
    return VAE(40, decoder=decoder, hidden_dim=(512, 512), activation="silu")


def images_per_second(name: str) -> float:
    """Train for some seconds on random pixels."""
    vae, batch = network(name), study.size(BATCH, 8)
    vae.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    step = tf.function(vae.train_step)
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (batch, 28, 28, 1)).astype("float32"))
    for _ in range(study.size(3, 1)):
        step(x)
    start, steps, limit = time.perf_counter(), 0, study.size(SECONDS, 0.0)
    while steps == 0 or time.perf_counter() - start < limit:
        np.asarray(step(x)["loss"])
        steps += 1
    return batch * steps / (time.perf_counter() - start)


def measure(name: str, results) -> None:
    """Record the ratio of speeds of one network."""
    speeds = {"0": [], "1": []}
    for _ in range(study.size(ROUNDS, 1)):
        for setting, values in speeds.items():
            environment = {"TF_ENABLE_ONEDNN_OPTS": setting}
            values.append(study.alone(images_per_second, name, **environment))
    ratios = [a / b for a, b in zip(speeds["1"], speeds["0"], strict=True)]
    ratio = float(np.median(ratios))
    print(f"{name}: {ratio:.2f} times as fast with oneDNN (median of {len(ratios)})")
    results.record(
        f"random/binary/{name}/onednn_speed_ratio",
        ratio,
        seed=0,
        timing=True,
        rounds=[round(value, 2) for value in ratios],
        images_per_second=[round(value) for value in speeds["1"]],
    )


def measure_all() -> None:
    """Record the ratio of speeds of each network."""
    results = study.results("03")
    for name in study.size(NETWORKS, NETWORKS[:1]):
        measure(name, results)


PARTS = {"measure": measure_all}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
