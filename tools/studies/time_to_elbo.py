"""Seconds of training to the final test ELBO of TensorFlow's tutorial: K = 2, threshold, -156.6.

Three contestants, in turns, so that a change of the machine's speed meets all:

tutorial   its layers and padding, Monte Carlo KL, batch 32, Adam at 1e-4, 10 epochs of 60,000
conv       convolutions all the way, dense layers only at the ends; closed-form KL, batch 128, 5e-3
mlp        three dense layers each way; closed-form KL, batch 128, rate 3e-3

The clock runs from the first training call, tracing included; test evaluations are left out.
Medians of three rounds. What counts is depth next to a z of two numbers, the closed-form KL, the
batch and the rate: the tutorial's design with filters (16, 32), GELU, batch 128, rate 3e-3 and the
Monte Carlo KL, ended at -166.4 after three epochs.
Finished runs are kept in build/runs/time_to_elbo.json.
"""

import json
import statistics
import sys
import time

import study

from helpers import data  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
from keras import layers

from helpers.course.files import write_whole
from helpers.networks import ConvDecoder, ConvNet, PyramidDecoder, PyramidEncoder
from helpers.vae import VAE

TARGET = -156.6
SEED, ROUNDS = 42, 3
ONCE_AN_EPOCH = 18_750  # steps of the tutorial's training
CLOSED_FORM = dict(activation="relu", kl="analytic")


class TutorialEncoder(ConvNet):
    """The tutorial's encoder: convolutions that do not pad (28 -> 13 -> 6), then a dense layer."""

    def make_layers(self):
        convs = [layers.Conv2D(n, 3, 2, activation=self.activation) for n in self.filters]
        return [*convs, layers.Flatten(), layers.Dense(self.num_outputs)]


def tutorial() -> dict:
    """Networks of the tutorial; its decoder is the course's."""
    return dict(encoder=TutorialEncoder((32, 64), 2), decoder=ConvDecoder((64, 32), (28, 28, 1)))


def conv() -> dict:
    """Residual pyramids with few channels."""
    return CLOSED_FORM | dict(
        encoder=PyramidEncoder((16, 32, 16, 128), 2, blocks=1),
        decoder=PyramidDecoder((128, 16, 32, 16), (28, 28, 1), blocks=1),
    )


def mlp() -> dict:
    """Dense layers only."""
    return CLOSED_FORM | dict(hidden_dim=(256, 256, 256), activation="gelu")


CONTESTANTS = {  # networks, fit, steps between evaluations
    "tutorial": (
        tutorial,
        dict(batch_size=32, epochs=10, learning_rate=1e-4, schedule="constant", warmup=0.0),
        ONCE_AN_EPOCH,
    ),
    "conv": (conv, dict(batch_size=128, epochs=2, learning_rate=5e-3), 50),
    "mlp": (mlp, dict(batch_size=128, epochs=2, learning_rate=3e-3), 50),
}
WORDS = {
    "tutorial": "the tutorial's two convolutions each way",
    "conv": "residual convolutions each way, dense layers at the ends",
    "mlp": "three dense layers of 256 each way",
}


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
        self.model.stop_training = self.points[-1][1] >= TARGET and self.every < ONCE_AN_EPOCH


def run(name: str, seed: int) -> dict:
    """Train one contestant; return seconds and test ELBO at the target, or at its end."""
    networks, options, every = CONTESTANTS[name]
    dataset = data.load_mnist()
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    test = data.prepare(dataset.test.images, "threshold")[: study.size(None, 4)]
    keras.utils.set_random_seed(seed)
    vae = VAE(2, **networks(), seed=seed)
    batches = test.reshape(study.size(20, 2), -1, *dataset.image_shape)
    clock = Clock(batches, study.size(every, 1))
    study.fit(vae, images, protocol="threshold", seed=seed, callbacks=[clock], verbose=0, **options)
    seconds, elbo = clock.points[-1]
    return {"seconds": seconds, "elbo": elbo, "points": clock.points}


def take_turns(rounds: int) -> dict[str, list[dict]]:
    """Return the runs of each contestant; what is finished is kept."""
    file = study.runs_dir() / "time_to_elbo.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    done = json.loads(file.read_text()) if file.exists() else {}
    for i in range(rounds):
        for name in CONTESTANTS:
            if f"{name} {i}" not in done:
                done[f"{name} {i}"] = run(name, SEED + i)
                write_whole(file, json.dumps(done, indent=1).encode())
            got = done[f"{name} {i}"]
            print(f"round {i + 1}, {name}: {got['seconds']:.1f} s, test ELBO {got['elbo']:.2f}")
    return {name: [done[f"{name} {i}"] for i in range(rounds)] for name in CONTESTANTS}


def facts(name: str) -> dict:
    """Return what stands beside a contestant's seconds."""
    networks, options, _ = CONTESTANTS[name]
    vae = VAE(2, **networks())
    kept = {key: options[key] for key in ("batch_size", "learning_rate")}
    return kept | {"kl": vae.kl, "weights": vae.count_params(), "network": WORDS[name]}


def compare() -> None:
    """Record the median seconds of each contestant, and how much faster than the tutorial's."""
    found = take_turns(study.size(ROUNDS, 1))
    results = study.results("03", data.load_mnist())
    median = {name: statistics.median(r["seconds"] for r in runs) for name, runs in found.items()}
    for name, runs in found.items():
        missed = name != "tutorial" and min(run["elbo"] for run in runs) < TARGET
        if missed and not study.size(False, True):
            sys.exit(f"error: {name} did not reach {TARGET} in every round")
        key = f"mnist/threshold/time_to_elbo_{name}"
        results.record(
            f"{key}/seconds",
            median[name],
            seed=SEED,
            timing=True,
            unit="s",
            rounds=[round(run["seconds"], 2) for run in runs],
            elbos=[run["elbo"] for run in runs],
            **facts(name),
        )
        if name != "tutorial":
            ratio = median["tutorial"] / median[name]
            results.record(f"{key}/times_faster", ratio, seed=SEED, timing=True, headline=True)
            print(f"{name}: {ratio:.1f} times faster than the tutorial's settings")


PARTS = {"time": compare}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
