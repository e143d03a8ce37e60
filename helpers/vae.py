"""The variational autoencoder: three distributions, the bound they give, and how to train it."""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import bounds, data, flows, priors
from helpers.course.checks import as_sizes, check_choice, check_seed, check_whole
from helpers.likelihoods import LIKELIHOODS, check_unit_interval
from helpers.networks import DECODERS, ENCODERS, Outputs, Sizes

tfd = tfp.distributions

BOUNDS = ("elbo", "iwae", "dreg")
CONTEXT_DIM = 128  # numbers that a named encoder tells each step of the flow about its image


def reparameterise(z_mean: tf.Tensor, z_log_var: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw z ~ N(z_mean, exp(z_log_var)) so that gradients reach both parameters.

    ``z = mean + std * eps``, eps ~ N(0, I): Kingma & Welling 2013, section 2.4.
    Built in lesson 02.

    Parameters
    ----------
    z_mean, z_log_var : tf.Tensor
        Shape (batch, latent), or with more axes in front.
    seed : tf.Tensor or pair of int
        Stateless seed: the same seed gives the same draw.

    Returns
    -------
    tf.Tensor
        The shape of `z_mean`.
    """
    eps = tf.random.stateless_normal(tf.shape(z_mean), seed)
    return z_mean + tf.exp(0.5 * z_log_var) * eps


class Terms(NamedTuple):
    """Parts of a bound, for one draw per image, shape (batch,), or for k, shape (k, batch).

    For the gradient of DReG also the draws, and the same cut off from the encoder.
    """

    log_px_z: tf.Tensor
    kl: tf.Tensor
    drawn: tf.Tensor | None = None
    z: tf.Tensor | None = None


class ReparameterisedNormal(tfd.Normal):
    """TFP's normal distribution, whose draws are those of `reparameterise`."""

    def _sample_n(self, n: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        shape = tf.concat([[n], self._batch_shape_tensor()], axis=0)
        z_mean = tf.broadcast_to(self.loc, shape)
        return reparameterise(z_mean, 2.0 * tf.math.log(self.scale), seed)


@keras.saving.register_keras_serializable(package="vae")
class VAE(keras.Model):
    """Variational autoencoder (Kingma & Welling 2013) of which the reader chooses every part.

    Takes images (batch, height, width, channels), floats in [0, 1]. Lesson 02 builds the core of it
    by hand, as ``TinyVAE``, and shows that the two agree.

    Parameters
    ----------
    latent_dim : int
        K, the number of latent dimensions.
    image_shape : tuple of int
        (height, width, channels).
    encoder, decoder : str or keras network
        A name in `networks.ENCODERS` or `networks.DECODERS`, or a network of your own. An encoder
        returns (z_mean, z_log_var), or (z_mean, z_log_var, context) for a flow; a decoder returns
        logits, one tensor, or (mean, log_var). A network of your own is also the way to options
        that a name does not reach: ``encoder=PyramidEncoder((32, 64, 16, 512), 40, blocks=1)``.
    likelihood : str
        A name in `likelihoods.LIKELIHOODS`: "bernoulli" (binary pixels), "gaussian" (dequantised),
        "discretised_logistic" (8-bit), or "grey_bernoulli": grey pixels under a Bernoulli, which is
        no likelihood.
    hidden_dim : int or sequence of int
        Widths (or filters) of a named encoder; a named decoder mirrors them.
    activation : str
        Of the named networks' hidden layers.
    prior : str or helpers.priors.Prior
        A name in `priors.PRIORS`: "standard_normal", "vamp" or "flow" (lesson 07), or a prior of
        your own options: ``prior=FlowPrior(40, steps=4)``.
    kl : str
        "monte_carlo" or "analytic" (closed form, without a flow, for the standard normal prior).
    bound : str
        What training raises: "elbo"; "iwae", the importance-weighted bound of `num_samples` draws;
        "dreg", the same bound with the doubly reparameterised gradient (lesson 07). `elbo` and
        `elbo_terms` are those of one draw, whatever is trained.
    num_samples : int
        k, the draws of "iwae" and "dreg".
    beta : float
        Weight of the KL in the training loss, rising from 0 over the first `beta_warmup` steps.
    iaf_steps : int
        Steps of an inverse autoregressive flow in the posterior (lesson 04), each with masked
        networks `iaf_hidden` wide.
    seed : int
        The noise of step t is a function of (seed, t) alone.

    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        *,
        encoder: str | keras.layers.Layer = "gaussian_mlp",
        decoder: str | keras.layers.Layer = "bernoulli_mlp",
        likelihood: str = "bernoulli",
        hidden_dim: Sizes = (200, 200),
        activation: str = "tanh",
        prior: str | priors.Prior = "standard_normal",
        kl: str = "monte_carlo",
        bound: str = "elbo",
        num_samples: int = 1,
        beta: float = 1.0,
        beta_warmup: int = 0,
        iaf_steps: int = 0,
        iaf_hidden: Sizes = (320,),
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_whole(latent_dim=latent_dim, num_samples=num_samples)
        check_whole(low=0, iaf_steps=iaf_steps, beta_warmup=beta_warmup)
        check_seed(seed=seed)
        self.latent_dim, self.seed = int(latent_dim), int(seed)
        self.image_shape = as_sizes("image_shape", image_shape)
        self.hidden_dim, self.activation = as_sizes("hidden_dim", hidden_dim), activation
        self.likelihood_name, self.kl = likelihood, kl
        self.bound, self.num_samples = bound, int(num_samples)
        self.beta, self.beta_warmup = _as_weight(beta), int(beta_warmup)
        self.iaf_steps, self.iaf_hidden = int(iaf_steps), as_sizes("iaf_hidden", iaf_hidden)
        self._check_options()
        self._make_networks(encoder, decoder)
        self._make_prior(prior)
        self.trackers = {k: keras.metrics.Mean(k) for k in ("loss", "reconstruction", "kl")}
        self.built = True
        # For tf.train.Checkpoint, which looks into no lists: neither Keras 3's nor a subclass'.
        weights = {f"weight_{i}": weight.value for i, weight in enumerate(self.weights)}
        self.for_checkpoints = tf.train.Checkpoint(**weights)

    def _check_options(self) -> None:
        """Raise where an option is not allowed, or does not go with another."""
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape={self.image_shape}: give (height, width, channels)")
        check_choice("likelihood", self.likelihood_name, LIKELIHOODS)
        check_choice("kl", self.kl, ("monte_carlo", "analytic"))
        if self.iaf_steps and self.kl == "analytic":
            raise ValueError(
                "kl='analytic' with iaf_steps > 0: a flow's KL has no closed form, "
                "use kl='monte_carlo'"
            )
        check_choice("bound", self.bound, BOUNDS)
        if self.bound == "elbo" and self.num_samples > 1:
            raise ValueError(
                f"num_samples={self.num_samples} with bound='elbo', which takes one draw: "
                "use bound='iwae' or 'dreg'"
            )
        if self.bound != "elbo" and self.kl == "analytic":
            raise ValueError(
                f"bound={self.bound!r} with kl='analytic': importance weights take the KL of each "
                "draw, use kl='monte_carlo'"
            )
        if self.bound == "dreg" and self.iaf_steps:
            raise ValueError(
                "bound='dreg' with iaf_steps > 0: it is for Gaussian posteriors, use bound='iwae'"
            )

    def _make_networks(
        self, encoder: str | keras.layers.Layer, decoder: str | keras.layers.Layer
    ) -> None:
        """Build encoder, flow and decoder, and check what they return.

        Each is called once, by `encode` and `decode`, which a subclass may have overridden: a
        subclassed model that was never called saves a file without weights.
        """
        self.network_names: dict[str, str | None] = {}
        for_flow = {"context_dim": CONTEXT_DIM} if self.iaf_steps else {}
        self.encoder = self._network(
            "encoder", encoder, ENCODERS, self.hidden_dim, self.latent_dim, **for_flow
        )
        *codes, context = self.encode(tf.zeros((1, *self.image_shape)))
        _check_shapes("encoder", codes, (self.latent_dim,))
        if self.iaf_steps and context is None:
            raise ValueError(
                f"iaf_steps={self.iaf_steps} needs an encoder that returns (z_mean, z_log_var, "
                "context), for example one with context_dim > 0"
            )
        self.flow = None
        if self.iaf_steps:
            context_dim = context.shape[-1]
            self.flow = flows.IAF(self.latent_dim, self.iaf_steps, self.iaf_hidden, context_dim)
            self.flow.name = "flow"
        self.decoder = self._network(
            "decoder", decoder, DECODERS, self.hidden_dim[::-1], self.image_shape
        )
        outputs = self.decode(tf.zeros((1, self.latent_dim)))
        _check_shapes("decoder", tf.nest.flatten(outputs), self.image_shape)
        _check_likelihood(self.likelihood_name, is_pair=not tf.is_tensor(outputs))

    def _make_prior(self, prior: str | priors.Prior) -> None:
        """Take the prior that was given, or build the one of that name."""
        is_name = not isinstance(prior, priors.Prior)
        if is_name:
            check_choice("prior", prior, priors.PRIORS)
        self.network_names["prior"] = prior if is_name else None
        sizes = (self.latent_dim, self.image_shape)
        self.prior_layer = priors.PRIORS[prior](*sizes) if is_name else prior
        if is_name:
            self.prior_layer.name = "prior"
        made_for = (self.prior_layer.latent_dim, self.prior_layer.image_shape)
        if made_for != sizes:
            raise ValueError(
                f"the prior is for latent_dim={made_for[0]} and image_shape={made_for[1]}, the "
                f"model has {sizes[0]} and {sizes[1]}: give both the same"
            )
        if self.kl == "analytic" and not isinstance(self.prior_layer, priors.StandardNormal):
            raise ValueError(
                f"kl='analytic' with prior={prior!r}: the KL has a closed form for the standard "
                "normal prior alone, use kl='monte_carlo'"
            )

    def _network(
        self,
        role: str,
        choice: str | keras.layers.Layer,
        registry: dict,
        hidden_dim: tuple[int, ...],
        output_shape: Sizes,
        **context: int,
    ) -> keras.layers.Layer:
        """Return the network that was given, or build the one of that name."""
        if isinstance(choice, keras.layers.Layer):
            self.network_names[role] = None
            return choice
        check_choice(role, choice, registry)
        self.network_names[role] = choice
        network = registry[choice](hidden_dim, output_shape, activation=self.activation, **context)
        network.name = role  # for `summary`; a network of one's own keeps its name
        return network

    def encode(
        self, x: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Return ``(z_mean, z_log_var, context)``, the first two of shape (batch, latent).

        `context` (batch, context_dim) is what a flow takes; None from an encoder without it.
        """
        outputs = self.encoder(x, training=training)
        if not _is_tensors(outputs, at_least=2, at_most=3):
            raise ValueError(
                f"the encoder returns {_kind(outputs)}: it must return (z_mean, z_log_var), "
                "or (z_mean, z_log_var, context)"
            )
        z_mean, z_log_var, *context = _float32(outputs)
        return z_mean, z_log_var, context[0] if context else None

    def decode(self, z: tf.Tensor, training: bool = False) -> Outputs:
        """Return the decoder's outputs for z (batch, latent): logits, or (mean, log_var)."""
        outputs = self.decoder(z, training=training)
        if not tf.is_tensor(outputs) and not _is_tensors(outputs, at_least=2, at_most=2):
            raise ValueError(
                f"the decoder returns {_kind(outputs)}: it must return logits, one tensor, "
                "or (mean, log_var)"
            )
        return _float32(outputs)

    def posterior(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Return q(z|x), a distribution over (latent,) for each of the batch's images."""
        z_mean, z_log_var, context = self.encode(x, training=training)
        base = tfd.Independent(ReparameterisedNormal(z_mean, tf.exp(0.5 * z_log_var)), 1)
        return base if self.flow is None else flows.FlowPosterior(base, self.flow, context)

    def apply_flow(self, z: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Return what the flow makes of z (batch, latent); z itself where there is no flow."""
        return z if self.flow is None else self.flow(z, context)[0]

    def code(self, x: tf.Tensor) -> tf.Tensor:
        """Return the z that stands for each image, (batch, latent).

        The mean of q(z|x), or, with a flow, what the flow makes of the mean of its base.
        """
        z_mean, _, context = self.encode(x)
        return self.apply_flow(z_mean, context)

    def prior(self) -> tfd.Distribution:
        """Return p(z), a distribution over (latent,): N(0, I), or a learned one."""
        return self.prior_layer.distribution(self.posterior)

    def likelihood(self, z: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Return p(x|z), a distribution over (height, width, channels) for each z (..., latent)."""
        if z.shape[-1] != self.latent_dim:
            raise ValueError(f"z of shape {z.shape}: the last dimension must be {self.latent_dim}")
        outputs = self.decode(tf.reshape(z, (-1, self.latent_dim)), training=training)
        shape = tf.concat([tf.shape(z)[:-1], self.image_shape], axis=0)
        outputs = tf.nest.map_structure(lambda output: tf.reshape(output, shape), outputs)
        return LIKELIHOODS[self.likelihood_name].distribution(outputs)

    def elbo_terms(
        self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ``(log_px_z, kl)`` of one posterior draw per image, each of shape (batch,)."""
        q = self.posterior(x, training=training)
        z, log_qz_x = q.experimental_sample_and_log_prob(seed=seed)  # (batch, latent), (batch,)
        log_px_z = self.likelihood(z, training=training).log_prob(x)
        if self.kl == "analytic":
            z_log_var = 2.0 * tf.math.log(q.stddev())
            return log_px_z, priors.kl_to_standard_normal(q.mean(), z_log_var)
        return log_px_z, log_qz_x - self.prior().log_prob(z)

    def bound_terms(
        self,
        x: tf.Tensor,
        *,
        seed: tf.Tensor,
        training: bool = False,
        tape: tf.GradientTape | None = None,
    ) -> Terms:
        """Return the parts of the bound that is trained, `num_samples` draws per image.

        The `tape` of a training step watches the draws that DReG cuts off from the encoder.
        """
        if self.bound == "elbo":
            return Terms(*self.elbo_terms(x, seed=seed, training=training))
        q = self.posterior(x, training=training)
        if self.bound == "iwae":
            z, log_qz_x = q.experimental_sample_and_log_prob(self.num_samples, seed=seed)
            log_px_z = self.likelihood(z, training=training).log_prob(x)
            return Terms(log_px_z, log_qz_x - self.prior().log_prob(z))  # (k, batch) each
        drawn = q.sample(self.num_samples, seed=seed)  # (k, batch, latent)
        z = tf.stop_gradient(drawn)
        if tape is not None:
            tape.watch(z)
        # Only the draws lead back to the encoder.
        fixed = tfd.Normal(tf.stop_gradient(q.mean()), tf.stop_gradient(q.stddev()))
        log_qz_x = tf.reduce_sum(fixed.log_prob(z), axis=-1)
        log_px_z = self.likelihood(z, training=training).log_prob(x)
        return Terms(log_px_z, log_qz_x - self.prior().log_prob(z), drawn, z)

    def bound_of(self, terms: Terms, beta: tf.Tensor | float) -> tf.Tensor:
        """Return the bound of each image, shape (batch,), with the KL weighted by `beta`."""
        log_w = terms.log_px_z - beta * terms.kl
        return log_w if self.bound == "elbo" else bounds.importance_bound(log_w)

    def elbo(self, x: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
        """Evidence lower bound of each image, in nats, shape (batch,).

        ``log p(x|z) + log p(z) - log q(z|x)``, or with the closed-form KL
        (Kingma & Welling 2013, eq. 2 and 3).
        """
        if _has_values(x):
            self.check_images(x)
        log_px_z, kl = self.elbo_terms(x, seed=seed)
        return log_px_z - kl

    def fit(self, x: object = None, *args: object, **kwargs: object) -> keras.callbacks.History:
        """Train as Keras does, once the first images are seen to be what the likelihood takes."""
        self._check_first(x)
        self._check_first(kwargs.get("validation_data"))
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x: object = None, *args: object, **kwargs: object) -> dict | list | float:
        """Return the losses as Keras does, once the first images are checked."""
        if not kwargs.get("_use_cached_eval_dataset"):  # `fit` has checked its validation data
            self._check_first(x)
        return super().evaluate(x, *args, **kwargs)

    def _check_first(self, batches: object) -> None:
        """Check the first images of an array, of (x, y) or of a tf.data.Dataset; nothing else.

        The compiled steps check nothing, so that checks cost no time. A generator is not looked
        at: what it gave would be lost.
        """
        if isinstance(batches, tf.data.Dataset):
            batches = next(iter(batches.take(1)))
        x, *_ = keras.utils.unpack_x_y_sample_weight(batches)
        if _has_values(x):
            self.check_images(x[:256])

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One gradient step on the mean loss of the whole batch (Keras calls it from `fit`).

        Every replica calls it with its share of the batch, and all take the same step. Built in
        lesson 09.
        """
        x, *_ = keras.utils.unpack_x_y_sample_weight(data)
        # Under "mixed_float16" Keras puts a wrapper around it, which in Keras 3.8 does not count.
        counting = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        # Where gradients are accumulated, `iterations` counts groups of batches.
        step = tf.cast(counting._iterations, tf.int32)
        with tf.GradientTape(persistent=self.bound == "dreg") as tape:
            terms = self.bound_terms(x, seed=self.step_seed(step), training=True, tape=tape)
            loss = -tf.reduce_mean(self.bound_of(terms, self.beta_at(step)))
            # Keras sums gradients over the replicas and scales only losses of its own.
            replicas = tf.distribute.get_replica_context().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss / replicas)
        gradients = self._gradients(tape, scaled, terms, self.beta_at(step))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._track(terms)

    def _gradients(
        self, tape: tf.GradientTape, loss: tf.Tensor, terms: Terms, beta: tf.Tensor | float
    ) -> list[tf.Tensor]:
        """Return the gradient of a loss for each trainable variable."""
        if self.bound != "dreg":
            return tape.gradient(loss, self.trainable_variables)
        log_w = terms.log_px_z - beta * terms.kl
        return bounds.doubly_reparameterised(
            tape, loss, log_w, terms.drawn, terms.z, self.trainable_variables, beta
        )

    def beta_at(self, step: tf.Tensor) -> tf.Tensor | float:
        """Weight of the KL at a training step, counted from 0: it rises over `beta_warmup`."""
        if not self.beta_warmup:
            return self.beta
        return self.beta * tf.minimum(1.0, tf.cast(step + 1, tf.float32) / self.beta_warmup)

    def step_seed(self, step: tf.Tensor, *, testing: bool = False) -> tf.Tensor:
        """Seed of a step's draws, a function of (seed, replica, step) alone.

        A resumed training draws what it would have drawn, no two replicas draw the same, and
        validation does not repeat the draws of training. Built in lesson 09.
        """
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        purpose = "validate" if testing else "train"
        return data.noise_seed(self.seed, replica, step, purpose)

    def test_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """Loss of a batch; its noise depends on seed, replica and the batch's place alone."""
        x, *_ = keras.utils.unpack_x_y_sample_weight(data)
        seen = tf.cast(self.trackers["loss"].count, tf.int32)
        return self._track(self.bound_terms(x, seed=self.step_seed(seen, testing=True)))

    def _track(self, terms: Terms) -> dict[str, tf.Tensor]:
        # Per-example values, so that a ragged last batch weighs as much as it holds.
        self.trackers["loss"].update_state(-self.bound_of(terms, self.beta))
        self.trackers["reconstruction"].update_state(-terms.log_px_z)
        self.trackers["kl"].update_state(terms.kl)
        # Shape (1,): with several workers Keras averages over the first axis.
        return {name: tracker.result()[None] for name, tracker in self.trackers.items()}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    def export(
        self, filepath: str | Path, format: str = "tf_saved_model", **kwargs: object
    ) -> None:
        """Export for serving, where neither Keras nor this course is installed.

        Parameters
        ----------
        filepath : str or Path
            A folder, for TensorFlow's format. ``tf.saved_model.load(filepath)`` has three functions
            of float32 batches: ``serve(x)``, the reconstructions of images, ``encode(x)``, their
            codes (n, latent), and ``decode(z)``, the mean images of codes.
        format : str
            Another of Keras' formats holds ``serve`` alone.
        **kwargs
            For Keras: ``verbose=False`` prints nothing.
        """
        image = keras.layers.InputSpec(shape=(None, *self.image_shape), dtype="float32")
        if format != "tf_saved_model":
            super().export(filepath, format=format, **{"input_signature": [image]} | kwargs)
            return
        code = keras.layers.InputSpec(shape=(None, self.latent_dim), dtype="float32")
        archive = keras.export.ExportArchive()
        archive.track(self)
        archive.add_endpoint("serve", self.call, input_signature=[image])
        archive.add_endpoint("encode", self.code, input_signature=[image])
        archive.add_endpoint("decode", self._mean_image, input_signature=[code])
        archive.write_out(filepath, **kwargs)

    def _mean_image(self, z: tf.Tensor) -> tf.Tensor:
        """Return the mean of p(x|z) for codes z (batch, latent)."""
        return self.likelihood(z).mean()

    def get_config(self) -> dict:
        config = {
            "latent_dim": self.latent_dim,
            "image_shape": list(self.image_shape),
            "encoder": self.network_names["encoder"] or self.encoder,
            "decoder": self.network_names["decoder"] or self.decoder,
            "likelihood": self.likelihood_name,
            "hidden_dim": list(self.hidden_dim),
            "activation": self.activation,
            "prior": self.network_names["prior"] or self.prior_layer,
            "kl": self.kl,
            "bound": self.bound,
            "num_samples": self.num_samples,
            "beta": self.beta,
            "beta_warmup": self.beta_warmup,
            "iaf_steps": self.iaf_steps,
            "iaf_hidden": list(self.iaf_hidden),
            "seed": self.seed,
            "name": self.name,
        }
        return keras.saving.serialize_keras_object(config)

    @classmethod
    def from_config(cls, config: dict) -> "VAE":
        return cls(**keras.saving.deserialize_keras_object(config))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the reconstructions of images."""
        return self._mean_image(self.code(x))

    def reconstruct(self, x: tf.Tensor) -> tf.Tensor:
        """Mean of p(x|z) at the code of each image, shape (batch, height, width, channels)."""
        if _has_values(x):
            check_unit_interval(x)
        return self.call(x)

    def sample(self, n: int, *, seed: int, draw: bool = False) -> tf.Tensor:
        """Return n images from the prior: the mean of p(x|z), or with `draw` a draw from it."""
        check_whole(n=n)
        check_seed(seed=seed)
        p = self.likelihood(self.prior().sample(n, seed=(seed, 0)))
        return p.sample(seed=(seed, 1)) if draw else p.mean()

    def check_images(self, x: np.ndarray) -> None:
        """Raise unless `x` (not symbolic) is a batch of images that this likelihood can score."""
        shape = np.shape(x)
        if len(shape) != 4 or shape[1:] != self.image_shape or not shape[0]:
            wanted = ", ".join(str(size) for size in self.image_shape)
            raise ValueError(f"images of shape {shape}: give (n, {wanted}), n at least 1")
        LIKELIHOODS[self.likelihood_name].check(x)

    def check_weights(self) -> None:
        """Raise a ValueError that names the first weight that holds NaN or infinity."""
        for weight in self.weights:
            if not np.isfinite(np.asarray(weight)).all():
                raise ValueError(f"weight {weight.path!r} holds NaN or infinity: train again")


def _float32(outputs: Outputs) -> Outputs:
    """A mixed-precision policy ends here: losses and densities want all 24 bits."""
    return tf.nest.map_structure(lambda output: tf.cast(output, tf.float32), outputs)


def _has_values(x: object) -> bool:
    """Whether x is an array or a tensor with values: inside a tf.function it has none yet."""
    return isinstance(x, np.ndarray) or (tf.is_tensor(x) and hasattr(x, "numpy"))


def _as_weight(beta: float) -> float:
    """Return the weight of the KL as a float; raise unless it is a finite number, 0 or above."""
    if not isinstance(beta, int | float | np.number) or not 0.0 <= beta < float("inf"):
        raise ValueError(f"beta={beta!r}: give a finite number, 0 or above")
    return float(beta)


def _is_tensors(outputs: object, at_least: int, at_most: int) -> bool:
    """Whether a network returned a tuple or a list of so many tensors."""
    if not isinstance(outputs, tuple | list) or not at_least <= len(outputs) <= at_most:
        return False
    return all(tf.is_tensor(output) for output in outputs)


def _kind(outputs: object) -> str:
    """Say what a network returned."""
    if tf.is_tensor(outputs):
        return "one tensor"
    if isinstance(outputs, tuple | list):
        return f"a {type(outputs).__name__} of {', '.join(_kind(output) for output in outputs)}"
    return f"a {type(outputs).__name__}"


def _check_shapes(role: str, outputs: list[tf.Tensor], wanted: tuple[int, ...]) -> None:
    """Raise unless what a network returned for one example has the wanted shape."""
    shapes = [tuple(output.shape) for output in outputs]
    if any(shape != (1, *wanted) for shape in shapes):
        raise ValueError(f"the {role} returns shapes {shapes} for one example: give {(1, *wanted)}")


def _check_likelihood(likelihood: str, *, is_pair: bool) -> None:
    """Raise unless a decoder that returns a pair, or logits, is what the likelihood needs."""
    if LIKELIHOODS[likelihood].needs_log_var != is_pair:
        fitting = [x.name for x in LIKELIHOODS.values() if x.needs_log_var == is_pair]
        raise ValueError(
            f"likelihood={likelihood!r} does not fit the decoder, which returns "
            f"{'(mean, log_var)' if is_pair else 'logits'}: choose one of {', '.join(fitting)}, "
            "or another decoder"
        )
