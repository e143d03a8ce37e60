"""One taught cell of each lesson, made wrong: the lesson must fail on it.

A lesson that teaches code of helpers/ trains and checks with the definition in its own cell; if it
did not, a reader who changes that cell would see nothing change.
"""

from typing import NamedTuple


class Mutation(NamedTuple):
    """In the cell that teaches `taught`, `old` (found once) becomes `new`."""

    taught: str
    old: str
    new: str


MUTATIONS: dict[str, Mutation] = {
    "01": Mutation("helpers.data:binarise", "255.0 * u <", "255.0 * u >"),
    "02": Mutation("helpers.vae:VAE.elbo", "log_px_z - kl", "log_px_z + kl"),
    "03": Mutation("helpers.plots:decode_plane", "values[::-1]", "values"),
    "04": Mutation("helpers.flows:made_masks", "None] < places", "None] <= places"),
    "05": Mutation(
        "helpers.evaluation:leave_one_out_accuracy", "neighbors(return", "neighbors(points, return"
    ),
    "06": Mutation(
        "helpers.evaluation:local_log_prob", "(2, 2), (2, 1), (2, 0)", "(2, 2), (2, 1), (2, 3)"
    ),
    "07": Mutation("helpers.vae:VAE.train_step", "loss / replicas", "loss"),
}
