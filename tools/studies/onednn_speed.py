"""Training speed with oneDNN over that without it, on this CPU: an MLP and a convolutional VAE.

    VAE_RECORD=1 python tests/benchmarks/onednn_speed.py

TensorFlow reads TF_ENABLE_ONEDNN_OPTS when it starts, so each measurement is a process of its own;
the two settings take turns, so that a change of the machine's speed meets both. Random pixels.
"""

import os
import subprocess
import sys
import time

from helpers import evaluation  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
import tensorflow as tf

from helpers.networks import ResidualDecoder
from helpers.vae import VAE

BATCH, SECONDS, ROUNDS = 256, 4.0, 5
NETWORKS = {
    "mlp": lambda: VAE(40, hidden_dim=(512, 512), activation="silu"),
    "residual": lambda: VAE(
        40, decoder=ResidualDecoder((512, 32, 32, 32), (28, 28, 1), activation="silu"),
        hidden_dim=(512, 512), activation="silu",
    ),
    "conv": lambda: VAE(
        2, encoder="conv", decoder="conv", hidden_dim=(32, 64), activation="relu"
    ),
}  # fmt: skip


def images_per_second(name: str) -> float:
    vae = NETWORKS[name]()
    vae.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    step = tf.function(vae.train_step)
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (BATCH, 28, 28, 1)).astype("float32"))
    for _ in range(3):
        step(x)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        np.asarray(step(x)["loss"])
        steps += 1
    return BATCH * steps / (time.perf_counter() - start)


def main(names: list[str]) -> int:
    if names:  # one measurement, in the process that the other call started
        print(images_per_second(*names))
        return 0
    results = evaluation.Results("03")
    for name in NETWORKS:
        speeds = {"0": [], "1": []}
        for _ in range(ROUNDS):
            for setting, values in speeds.items():
                environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": setting}
                command = [sys.executable, __file__, name]
                values.append(float(subprocess.check_output(command, env=environment)))
        ratios = [a / b for a, b in zip(speeds["1"], speeds["0"], strict=True)]
        print(f"{name}: {np.median(ratios):.2f} times as fast with oneDNN (median of {ROUNDS})")
        results.record(
            f"random/binary/{name}/onednn_speed_ratio", float(np.median(ratios)), seed=0,
            timing=True, rounds=[round(ratio, 2) for ratio in ratios],
            images_per_second=[round(value) for value in speeds["1"]],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
