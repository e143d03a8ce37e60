"""Trainings of several workers that are killed: run in a process of its own by test_workers.py.

That process imports TensorFlow once and copies itself for each worker, while TensorFlow has no
thread yet: make no tensor here.
"""

import json
import os
import random
import runpy
import signal
import sys
import traceback
from pathlib import Path

from helpers import cluster
from helpers.course import settings

WORKER = settings.ROOT / "tools" / "studies" / "worker.py"
EPOCHS, STEPS = 6, 8  # steps of an epoch
SETTINGS = {
    "images": 90,  # the last batch is ragged
    "model": {"latent_dim": 2, "hidden_dim": [3], "seed": 3},
    "fit": {"epochs": EPOCHS, "batch_size": 12, "protocol": "dynamic", "seed": 7, "verbose": 1},
}
KILLS = {2: [(1,), (0,), (0, 1), (1,)], 3: [(2,), (0, 1)]}  # who is killed, one after the other
NOTICED = 2  # the first kills of two workers: the one that is left has time to notice, ten seconds


class Copy:
    """A script of Python in a copy of this process: what `subprocess.Popen` would start anew."""

    def __init__(self, command, cwd, env, stdout, stderr):
        self.returncode = None
        self.pid = os.fork()
        if not self.pid:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            os.chdir(cwd)
            os.environ.update(env)
            sys.argv = [str(part) for part in command[1:]]
            try:
                runpy.run_path(sys.argv[0], run_name="__main__")
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)

    def _look(self, options):
        if self.returncode is None:
            found, status = os.waitpid(self.pid, options)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def poll(self):
        return self._look(os.WNOHANG)

    def wait(self):
        return self._look(0)

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def newest(folder):
    """The last epoch that a folder has a checkpoint of, 0 where there is none."""
    return max((int(path.name[6:11]) for path in folder.glob("epoch-*.npz")), default=0)


def killed(folder, count):
    """Kill workers of a training again and again; say where each start began, and how it ended."""
    steps = random.Random(count).sample(range(1, (EPOCHS - 1) * STEPS), len(KILLS[count]))
    for number, (kill, step) in enumerate(zip(KILLS[count], sorted(steps), strict=True)):
        before = newest(folder / "run")
        patience = 60.0 if count == 2 and number < NOTICED else 0.2
        options = {"kill": kill, "step": step, "count": count, "patience": patience}
        ended = cluster.rehearse_failure(WORKER, SETTINGS, folder, **options)
        first = int(cluster.read_progress(folder, kill[0])[0, 0])
        yield {"kill": kill, "step": step, "before": before, "first": first} | {
            "codes": [worker.code for worker in ended],
            "steps": [worker.step for worker in ended],
        }


def main(folder, count):
    """A run that nobody touches, and one that is killed; print what became of them."""
    cluster.subprocess.Popen = Copy
    whole, touched, count = Path(folder, "whole"), Path(folder, "killed"), int(count)
    found = {"whole": cluster.rehearse(WORKER, SETTINGS, whole, count=count)}
    found["kills"] = list(killed(touched, count))
    found["resumed"] = cluster.rehearse(WORKER, SETTINGS, touched, count=count)
    if count == 2:
        try:
            cluster.rehearse(WORKER, SETTINGS, whole, count=1)
        except cluster.ClusterError as error:
            found["alone"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
