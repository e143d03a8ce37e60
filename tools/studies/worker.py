"""One worker of a training on several hosts. The same command on each: python worker.py run.json

TF_CONFIG tells it the addresses of all workers and which of them it is (cluster.config_for).
"""

import json
import sys
from pathlib import Path

from helpers import cluster, data, training  # first: imports TensorFlow quietly
import keras
from helpers.vae import VAE

settings = json.loads(Path(sys.argv[1]).read_text())
folder = Path(settings["folder"])  # on a file system that all workers see

strategy = cluster.connect()  # before TensorFlow does anything else
keras.utils.set_random_seed(settings["model"]["seed"])
with strategy.scope():
    vae = VAE(**settings["model"])

images = data.load_mnist().train.images[: settings["images"]]
watch = cluster.Progress(folder)
history = training.fit(vae, images, run_dir=folder / "run", callbacks=[watch], **settings["fit"])

result = {
    "worker": cluster.worker_index(strategy),
    "replicas": strategy.num_replicas_in_sync,
    "weights": cluster.fingerprint(vae),
    "loss": history["loss"].tolist(),
    "seconds": history["seconds"].tolist(),
}
if result["worker"] == 0:  # the chief writes for all
    vae.save(folder / "model.keras")
    (folder / "result.json").write_text(json.dumps(result))
print(json.dumps(result))
