"""Which images does each worker see? The same command for all of them: python reader.py run.json"""

import json
import sys
import time
from pathlib import Path

from helpers import cluster, shards  # first: imports TensorFlow quietly

settings = json.loads(Path(sys.argv[1]).read_text())
strategy = cluster.connect()
share = {"workers": cluster.worker_count(strategy), "seed": settings["seed"]}
result = {"worker": cluster.worker_index(strategy)}
for policy in ("file", "data"):
    epochs, start = [], time.perf_counter()
    for epoch in range(settings["epochs"]):
        images = shards.read_shards(settings["shards"], policy=policy, epoch=epoch, **share)
        batches = images.batch(settings["batch_size"])  # of all workers together
        mine = strategy.experimental_distribute_dataset(batches)
        seen = [strategy.experimental_local_results(index) for index, image in mine]
        epochs.append([[int(i) for part in batch for i in part] for batch in seen])
    result[policy] = {"epochs": epochs, "seconds": time.perf_counter() - start}
print(json.dumps(result))
