"""Seconds of training to the final test ELBO of TensorFlow's tutorial: K = 2, threshold, -156.6.

    VAE_RECORD=1 python tests/benchmarks/time_to_elbo.py [ROUNDS]

Three contestants, in turns, so that a change of the machine's speed meets all: the tutorial's
settings (batch 32, Adam 1e-4, 10 epochs over 60,000 images, its layers; its encoder's convolutions
pad here), a convolutional VAE with dense layers between its convolutions and z, and an MLP. The
clock runs from the first training call, tracing included; test evaluations are left out. Medians of
three rounds. What counts is depth next to a z of two numbers, the closed-form KL, the batch and the
rate: the tutorial's design with filters (16, 32), GELU, batch 128, rate 3e-3 and the Monte Carlo
KL, ended at -166.4 after three epochs.
Resumable: finished runs are kept in `build/runs/time_to_elbo.json`.
"""

import json
import statistics
import sys
import time

from study import RUNS

from helpers import data, evaluation, training  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
from keras import layers

from helpers.networks import ConvNet, ResidualDecoder
from helpers.vae import VAE

TARGET = -156.6
SEED = 42
CONTESTANTS = {  # network, batch size, epochs, peak rate, schedule, steps between evaluations
    "tutorial": (
        dict(encoder="conv", decoder="conv", hidden_dim=(32, 64), activation="relu"),
        32, 10, 1e-4, "constant", 18_750,
    ),
    "conv": (
        dict(encoder=(16, 256, 256), decoder=(256, 256, 16), activation="gelu", kl="analytic"),
        128, 2, 3e-3, "cosine", 50,
    ),
    "mlp": (
        dict(hidden_dim=(256, 256, 256), activation="gelu", kl="analytic"),
        128, 2, 3e-3, "cosine", 50,
    ),
}  # fmt: skip
FILE = RUNS / "time_to_elbo.json"


class PatchEncoder(ConvNet):
    """One convolution of patches of 4 x 4 pixels, then dense layers."""

    def make_layers(self):
        patches, *widths = self.filters
        first = layers.Conv2D(patches, 4, 4, activation=self.activation), layers.Flatten()
        dense = [layers.Dense(width, self.activation) for width in widths]
        return *first, *dense, self.last(layers.Dense)


class Clock(keras.callbacks.Callback):
    """Stop the clock every `every` steps, measure the test ELBO, and stop at the target."""

    def __init__(self, test, every):
        super().__init__()
        self.test, self.every, self.points, self.evaluating = test, every, [], 0.0

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations)
        if step % self.every:
            return
        now = time.perf_counter()
        elbos = [self.model.elbo(x, seed=(1, i)) for i, x in enumerate(self.test)]
        self.points.append((now - self.start - self.evaluating, float(np.mean(elbos))))
        self.evaluating += time.perf_counter() - now
        self.model.stop_training = self.points[-1][1] >= TARGET and self.every < 18_750


def run(name: str, seed: int) -> dict:
    """Train one contestant; return seconds and test ELBO at the target, or at its end."""
    network, batch_size, epochs, rate, schedule, every = CONTESTANTS[name]
    dataset = data.load_mnist()
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    test = data.prepare(dataset.test.images, "threshold").reshape(20, -1, 28, 28, 1)
    training.set_seed(seed)
    if name == "conv":
        encoder, decoder = network["encoder"], network["decoder"]
        options = dict(activation=network["activation"])
        network = network | dict(
            encoder=PatchEncoder(encoder, 2, **options),
            decoder=ResidualDecoder(decoder, dataset.image_shape, blocks=0, **options),
        )
    vae = VAE(2, **network, seed=seed)
    clock = Clock(test, every)
    training.fit(
        vae, images, epochs=epochs, batch_size=batch_size, protocol="threshold", seed=seed,
        learning_rate=rate, schedule=schedule, warmup=0.0 if schedule == "constant" else 0.05,
        steps_per_execution=1, callbacks=[clock], verbose=0,
    )  # fmt: skip
    seconds, elbo = clock.points[-1]
    return {"seconds": seconds, "elbo": elbo, "points": clock.points}


def main(rounds: int = 3) -> int:
    done = json.loads(FILE.read_text()) if FILE.exists() else {}
    for i in range(rounds):
        for name in CONTESTANTS:
            if f"{name} {i}" not in done:
                done[f"{name} {i}"] = run(name, SEED + i)
                FILE.parent.mkdir(parents=True, exist_ok=True)
                FILE.write_text(json.dumps(done, indent=1))
            got = done[f"{name} {i}"]
            print(f"round {i + 1}, {name}: {got['seconds']:.1f} s, test ELBO {got['elbo']:.2f}")
    results = evaluation.Results("03", data.load_mnist())
    median = {}
    for name in CONTESTANTS:
        runs = [done[f"{name} {i}"] for i in range(rounds)]
        median[name] = statistics.median(r["seconds"] for r in runs)
        if name != "tutorial" and min(r["elbo"] for r in runs) < TARGET:
            sys.exit(f"error: {name} did not reach {TARGET} in every round")
        key = f"mnist/threshold/time_to_elbo_{name}"
        results.record(
            f"{key}/seconds", median[name], seed=SEED, timing=True, unit="s",
            rounds=[round(r["seconds"], 2) for r in runs], elbos=[r["elbo"] for r in runs],
        )  # fmt: skip
        if name != "tutorial":
            ratio = median["tutorial"] / median[name]
            results.record(f"{key}/times_faster", ratio, seed=SEED, timing=True, headline=True)
            print(f"{name}: {ratio:.1f} times faster than the tutorial's settings")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
