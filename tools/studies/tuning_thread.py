"""Seconds of `fit` with the tuning thread of tf.data over those without it, by length of the call.

    VAE_RECORD=1 python tests/benchmarks/tuning_thread.py

When an iterator ends, TensorFlow waits for the thread that tunes its buffers, and that one sleeps
for as long as it has lived. `data.untuned` leaves the thread out. The two settings take turns.
"""

import sys
import time

from helpers import data, evaluation, training  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
import tensorflow as tf

from helpers.vae import VAE

BATCH, ROUNDS, STEPS = 100, 5, (20, 100, 500)


def main() -> int:
    training.set_seed(0)
    vae = VAE(40, hidden_dim=(200, 200))
    vae.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (2_000, 28, 28, 1), dtype=np.uint8)
    plain = data.pipeline(images, protocol="dynamic", batch_size=BATCH, seed=0, epochs=1_000)
    tuned = tf.data.Options()
    tuned.autotune.enabled = True
    streams = {"tuned": plain.with_options(tuned), "plain": plain}
    results = evaluation.Results("01")
    for steps in STEPS:
        seconds = {name: [] for name in streams}
        for _ in range(ROUNDS + 1):
            for name, stream in streams.items():
                start = time.perf_counter()
                vae.fit(stream, steps_per_epoch=steps, verbose=0, shuffle=False)
                seconds[name].append(time.perf_counter() - start)
        pairs = zip(seconds["tuned"][1:], seconds["plain"][1:], strict=True)  # the first one traces
        ratios = [a / b for a, b in pairs]
        print(f"{steps} steps: {np.median(ratios):.2f} times the seconds (median of {ROUNDS})")
        results.record(
            f"random/dynamic/mlp_200/tuning_thread_seconds_ratio_{steps}_steps",
            float(np.median(ratios)), seed=0, timing=True, rounds=[round(r, 2) for r in ratios],
            seconds=round(sum(seconds["plain"][1:]), 1),
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
