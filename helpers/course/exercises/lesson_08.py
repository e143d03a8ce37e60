"""The checks of the exercises of lesson 08, and the three patients of its last one."""

import contextlib
import io

import numpy as np
import tensorflow as tf

from helpers import clinic
from helpers.course import records
from helpers.course.exercises import array, call, choices, compare
from helpers.vae import VAE

VERDICTS = ("bound", "no bound")
LOSSES = {  # loss: (verdict, hint)
    "a": ("bound", "What is β at the step whose loss is read?"),
    "b": ("bound", "Each dimension counts as much as its KL, or more. Which way does that err?"),
    "c": ("no bound", "How much is subtracted where the KL is 25, and how much should be?"),
    "d": ("no bound", "The draws are narrower than the q whose KL is paid. Which costs more?"),
    "e": ("bound", "Must q be the best one, or one that saw x, for the ELBO to be a bound?"),
    "f": ("no bound", "The log of the mean weight is a bound. Is the largest above it or below?"),
}
ILLNESSES = ("KL too heavy", "KL too light", "wrong noise", "sigmoid twice", "test images seen")
SIGNS = {  # patient: (illness, hint)
    "a": (
        "KL too heavy",
        "In which direction does its own KL differ from the honest one, and how many "
        "of its units are active?",
    ),
    "b": (
        "wrong noise",
        "Its own KL is that of its q. At which draws does it take log p(x|z)?",
    ),
    "c": (
        "test images seen",
        "The loss is honest and the code is in use. Compare the splits.",
    ),
}


def check_bounds(answer: object) -> str:
    """Six training losses: is minus the loss a lower bound?"""
    choices(answer, LOSSES, VERDICTS, '{"a": "bound", "b": "no bound", …}', noun="Loss")
    return "Any q gives a bound if all of its KL is paid; what errs upwards gives none."


def check_weight(answer: object) -> str:
    """The weight of the KL that averages hide."""
    for pixels, latent_dim in ((784, 20), (3072, 100), (50, 2)):
        for mean_over_pixels in (False, True):
            for mean_over_latent in (False, True):
                arguments = (pixels, latent_dim, mean_over_pixels, mean_over_latent)
                got = array(call(answer, *arguments), ())
                of_pixels = pixels if mean_over_pixels else 1
                of_latent = latent_dim if mean_over_latent else 1
                mistakes = {
                    "Does a mean over the latent dimensions make the KL weigh more, or less?": (
                        of_pixels * of_latent
                    ),
                    "Upside down: which of the two terms do you divide by the pixels?": (
                        of_latent / of_pixels
                    ),
                    "Both averages are in it, whatever the flags say.": pixels / latent_dim,
                }
                wrong = {h: w for h, w in mistakes.items() if w != of_pixels / of_latent}
                hint = f"hidden_weight{arguments} is not right."
                compare(got, of_pixels / of_latent, hint, mistakes=wrong)
    return "A mean over the pixels makes the KL heavy, a mean over the code makes it light."


def check_loss(answer: object) -> str:
    """Sum over pixels, sum over the code, logits in."""
    rng = np.random.default_rng(83)
    for shape, latent_dim in (((3, 2, 4, 1), 5), ((4, 3, 3, 2), 2)):
        x = (rng.random(shape) < 0.4).astype(np.float32)
        logits = rng.normal(0.3, 2.0, shape).astype(np.float32)
        z_mean, z_log_var = rng.normal(size=(2, len(x), latent_dim)).astype(np.float32)
        per_dim = 0.5 * (z_mean**2 + np.exp(z_log_var) - z_log_var - 1)
        mistakes, pixels = {}, x[0].size
        for squashed in (False, True):
            a = 1 / (1 + np.exp(-logits)) if squashed else logits
            summed = np.sum(np.logaddexp(0, a) - x * a) / len(x)  # over pixels, mean over images
            for scale, kl in _ways(summed, per_dim):
                told = [
                    "the sigmoid is still applied twice" if squashed else "",
                    "the pixels are averaged" if scale == "mean" else "",
                    kl[0],
                ]
                value = (summed / pixels if scale == "mean" else summed) + kl[1]
                mistakes["Not yet: " + ", ".join(filter(None, told)) + "."] = value
        right = mistakes.pop("Not yet: .")
        tensors = [tf.constant(value) for value in (x, logits, z_mean, z_log_var)]
        got = array(call(answer, *tensors), (), "The loss of a batch")
        compare(got, right, "This is not minus the ELBO in nats per image.", mistakes=mistakes)
    return "Logits in, sums over pixels and over the code, a mean over the images."


def _ways(summed: float, per_dim: np.ndarray) -> list:
    """Return how pixels and KL can be put together: (scale, (what is wrong, value))."""
    kls = {
        "": per_dim.sum(axis=1).mean(),
        "the KL is averaged over the code": per_dim.mean(),
        "the KL is summed over the images too": per_dim.sum(),
    }
    return [(scale, kl) for scale in ("sum", "mean") for kl in kls.items()]


def check_patients(answer: object) -> str:
    """Three diagnoses."""
    example = '{"a": "KL too light", "b": …, "c": …}'
    choices(answer, SIGNS, ILLNESSES, example, noun="Patient", kind="diagnosis")
    return "All three are diagnosed, and you needed no look at their code."


# --- The patients ---------------------------------------------------------------------------------

CLASSES = {"a": clinic.HeavyKL, "b": clinic.VarianceAsSd, "c": VAE}  # how each was trained


def patient(name: str) -> VAE:
    """Return a sick model, of which nothing is told; its name is "a", "b" or "c"."""
    if name not in CLASSES:
        raise ValueError(f"patient={name!r}: there are {', '.join(CLASSES)}")
    with contextlib.redirect_stdout(io.StringIO()):  # how it was trained would tell
        recorded = records.load_recorded_model(f"clinic_{name}")
    if recorded is None:
        raise FileNotFoundError(f"the recorded model of patient {name} is missing")
    silent = type("Patient", (CLASSES[name],), {})  # the name of the class would tell
    model = silent.from_config(recorded.get_config())
    model.set_weights(recorded.get_weights())
    return model


CHECKS = {
    "08.1": check_bounds,
    "08.2": check_weight,
    "08.3": check_loss,
    "08.4": check_patients,
}
