"""Seconds of `fit` with the tuning thread of tf.data over those without it, by length of the call.

When an iterator ends, TensorFlow waits for the thread that tunes its buffers, and that one sleeps
for as long as it has lived. `data.without_autotune` leaves the thread out. The two take turns.
"""

import sys
import time

import study

from helpers import data  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
import tensorflow as tf

from helpers.vae import VAE

BATCH, ROUNDS, STEPS = 100, 5, (20, 100, 500)


def ratios(vae, streams: dict, steps: int, rounds: int) -> tuple[list[float], float]:
    """Return the seconds with the thread over those without it, and the seconds without."""
    seconds = {name: [] for name in streams}
    for _ in range(rounds + 1):
        for name, stream in streams.items():
            start = time.perf_counter()
            vae.fit(stream, steps_per_epoch=steps, verbose=0, shuffle=False)
            seconds[name].append(time.perf_counter() - start)
    pairs = zip(seconds["tuned"][1:], seconds["plain"][1:], strict=True)  # the first one traces
    return [tuned / plain for tuned, plain in pairs], sum(seconds["plain"][1:])


def measure() -> None:
    """Record the ratio of seconds for calls of several lengths."""
    keras.utils.set_random_seed(0)
    vae = VAE(40, hidden_dim=(200, 200))
    vae.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (2_000, 28, 28, 1), dtype=np.uint8)
    plain = data.pipeline(images, protocol="dynamic", batch_size=BATCH, seed=0, epochs=1_000)
    tuned = tf.data.Options()
    tuned.autotune.enabled = True
    streams = {"tuned": plain.with_options(tuned), "plain": plain}
    results = study.results("01")
    for steps in study.size(STEPS, (2,)):
        found, seconds = ratios(vae, streams, steps, study.size(ROUNDS, 1))
        ratio = float(np.median(found))
        print(f"{steps} steps: {ratio:.2f} times the seconds (median of {len(found)})")
        results.record(
            f"random/dynamic/mlp_200/tuning_thread_seconds_ratio_{steps}_steps",
            ratio,
            seed=0,
            timing=True,
            rounds=[round(value, 2) for value in found],
            seconds=round(seconds, 1),
        )


PARTS = {"measure": measure}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
