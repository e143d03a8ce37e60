"""Images per second of the MLP VAE on CIFAR-10 at the book's size: 500 wide, K = 500, T = 0 and 3.

    VAE_RECORD=1 python tests/benchmarks/cifar_mlp_speed.py

Batch 32 (the book's) and ours, without and with three steps of a flow, in one run, alternating so
that a change of the machine's speed meets all. The pixels are random: speed does not depend on
them, and no data set is needed.
"""

import sys
import time

from helpers import data, evaluation, training  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
import tensorflow as tf

from helpers.vae import VAE

MODELS = [(batch_size, iaf_steps) for iaf_steps in (0, 3) for batch_size in (32, 1024)]
ROUNDS, STEPS = 5, {32: 100, 1024: 12}


def make(batch_size, iaf_steps):
    """Return a compiled model and an endless stream of batches already in memory."""
    training.set_seed(0)
    vae = VAE(500, (32, 32, 3), hidden_dim=500, likelihood="grey_bernoulli",
              iaf_steps=iaf_steps, iaf_hidden=500)  # fmt: skip
    vae.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    images = np.random.default_rng(0).random((2048, 32, 32, 3), dtype=np.float32)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(batch_size, drop_remainder=True)
    return vae, data.untuned(batches.cache().repeat())


def main() -> int:
    models, speeds = {m: make(*m) for m in MODELS}, {m: [] for m in MODELS}
    for vae, batches in models.values():
        vae.fit(batches, steps_per_epoch=3, verbose=0, shuffle=False)  # traced before it is timed
    for _ in range(ROUNDS):
        for (batch_size, iaf_steps), (vae, batches) in models.items():
            steps, start = STEPS[batch_size], time.perf_counter()
            vae.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
            seconds = time.perf_counter() - start
            speeds[batch_size, iaf_steps].append(batch_size * steps / seconds)
    results = {0: evaluation.Results("02"), 3: evaluation.Results("04")}
    for (batch_size, iaf_steps), values in speeds.items():
        median = float(np.median(values))
        print(f"T = {iaf_steps}, batch {batch_size}: {median:,.0f} images/s (median of {ROUNDS})")
        name = "mlp_500_k500" + f"_iaf_t{iaf_steps}" * bool(iaf_steps)
        results[iaf_steps].record(
            f"random/grey/{name}/images_per_second_batch_{batch_size}", median, seed=0,
            timing=True, unit="images/s", rounds=[round(v) for v in values],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
