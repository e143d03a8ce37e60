"""The noise of gradients and the cost of steps, on synthetic gradients and costs that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import scaling

SMALL, LARGE = 4, 64
VARIANCES = np.array([1.0, 4.0, 9.0, 0.5, 0.5])  # the diagonal of Σ
MEAN = np.array([0.3, -0.2, 0.1, 0.0, 0.2])


def squared_lengths(rng, repeats, small=SMALL, large=LARGE, mean=MEAN):
    """|g|² of batches of Gaussian gradients: means of small batches, and of all in a large one."""
    count = large // small
    shape = (repeats, count, len(mean))
    small_means = mean + rng.normal(size=shape) * np.sqrt(VARIANCES / small)
    large_means = small_means.mean(axis=1)
    return (small_means**2).sum(axis=2).mean(axis=1), (large_means**2).sum(axis=1)


def mean_of_ratios(small, large, small_batch, large_batch):
    """The mistake: divide first, and average then."""
    traces = (small - large) / (1 / small_batch - 1 / large_batch)
    signals = (large_batch * large - small_batch * small) / (large_batch - small_batch)
    return float(np.mean(traces / signals))


def relative_error(scale):
    return abs(scale / (VARIANCES.sum() / np.sum(MEAN**2)) - 1)


def test_the_noise_scale_of_gaussian_gradients():
    lengths = squared_lengths(np.random.default_rng(0), repeats=20_000)
    found = scaling.noise_scale(*lengths, SMALL, LARGE)
    assert found.trace == pytest.approx(VARIANCES.sum(), rel=0.01)
    assert found.signal == pytest.approx(np.sum(MEAN**2), rel=0.05)
    assert found.scale == found.trace / found.signal
    assert relative_error(found.scale) < 0.05
    assert relative_error(mean_of_ratios(*lengths, SMALL, LARGE)) > 0.2


def test_both_parts_are_unbiased_however_few_the_repeats():
    """Their means over many measurements of two repeats each, within four standard errors."""
    rng = np.random.default_rng(1)
    mean = np.full(5, 2.0)  # a strong signal, so that no measurement is refused
    found = np.array(
        [
            scaling.noise_scale(*squared_lengths(rng, 2, mean=mean), SMALL, LARGE)[2:]
            for _ in range(4000)
        ]
    )
    off = found.mean(axis=0) - [VARIANCES.sum(), np.sum(mean**2)]
    assert np.all(np.abs(off) < 4 * found.std(axis=0) / np.sqrt(len(found)))


def test_the_error_of_the_noise_scale_is_how_far_measurements_scatter():
    rng, mean = np.random.default_rng(2), np.full(5, 1.0)
    found = [
        scaling.noise_scale(*squared_lengths(rng, 30, mean=mean), SMALL, LARGE) for _ in range(400)
    ]
    told = np.mean([one.error for one in found])
    assert told == pytest.approx(np.std([one.scale for one in found]), rel=0.15)


@pytest.mark.parametrize(
    ("small", "large", "sizes", "message"),
    [
        ([1.0], [1.0], (4, 64), "two at least"),
        ([1.0, 2.0], [1.0], (4, 64), r"shapes \(2,\) and \(1,\)"),
        ([1.0, 2.0], [1.0, 1.0], (64, 64), "large_batch must be at least 65"),
        ([8.0, 8.0], [0.1, 0.1], (4, 64), "take more repeats, or larger batches"),
    ],
)
def test_what_gives_no_noise_scale_is_refused(small, large, sizes, message):
    with pytest.raises(ValueError, match=message):
        scaling.noise_scale(small, large, *sizes)


def test_steps_to_a_loss_lie_between_the_epochs_around_it():
    losses = [150.0, 120.0, 110.0, 112.0]
    assert scaling.steps_to_target(losses, 10, 115.0) == 25.0
    assert scaling.steps_to_target(losses, 10, 120.0) == 20.0
    assert scaling.steps_to_target(losses, 10, 160.0) == 10.0  # after the first epoch, or before
    assert np.isnan(scaling.steps_to_target(losses, 10, 109.0))


@given(st.floats(10, 1e5), st.floats(1, 1e5))
def test_the_law_of_the_steps_is_found_again(s_min, noise):
    batches = np.array([64, 256, 1024, 4096])
    found = scaling.fit_steps(batches, s_min * (1 + noise / batches))
    assert found == pytest.approx((s_min, noise), rel=1e-5)


def costs():
    """Operations and bytes of the steps of 1 to 3 processes, two batches, two sizes."""
    cases = [
        (weights, batch, processes)
        for weights in (400_000, 1_400_000)
        for batch in (256, 1024)
        for processes in (1, 2, 3)
    ]
    operations = np.array([6.0 * weights * batch for weights, batch, _ in cases])
    sent = np.array([p * scaling.ring_bytes(weights, p) for weights, _, p in cases])
    return operations, sent


@given(st.floats(0, 0.1), st.floats(1e9, 1e15), st.floats(1e7, 1e12))
def test_the_cost_of_a_step_is_found_again(fixed, speed, bandwidth):
    operations, sent = costs()
    told = scaling.StepCost(fixed, 1 / speed, 1 / bandwidth)
    found = scaling.fit_step_cost(operations, sent, told.seconds(operations, sent))
    np.testing.assert_allclose(
        found.seconds(operations, sent), told.seconds(operations, sent), rtol=1e-6
    )


def test_each_part_of_a_cost_is_found_again_and_none_is_negative():
    operations, sent = costs()
    told = scaling.StepCost(0.01, 1e-11, 2e-9)
    found = scaling.fit_step_cost(operations, sent, told.seconds(operations, sent))
    assert found == pytest.approx(told, rel=1e-6)
    falling = told.seconds(operations, 0) * (1 - 1e-9 * sent)  # as if sending saved time
    assert min(scaling.fit_step_cost(operations, sent, falling)) == 0.0


def test_a_ring_sends_what_it_should():
    assert scaling.ring_bytes(1_000_000, 1) == 0
    assert scaling.ring_bytes(1_000_000, 2) == 4e6
    assert scaling.ring_bytes(1_000_000, 100) == pytest.approx(7.92e6)


def test_a_tree_is_for_small_messages_and_a_ring_for_large_ones():
    link = dict(bandwidth=1e10, latency=5e-6)
    assert scaling.tree_seconds(1_000, 64, **link) < scaling.ring_seconds(1_000, 64, **link) / 5
    assert scaling.tree_seconds(10**8, 64, **link) > scaling.ring_seconds(10**8, 64, **link) * 5
    assert scaling.tree_seconds(1, 100, 1e30, 1.0) == pytest.approx(14)  # 7 hops up, 7 down
    assert scaling.ring_seconds(1, 100, 1e30, 1.0) == pytest.approx(198)
    assert scaling.ring_seconds(10, 1, **link) == scaling.tree_seconds(10, 1, **link) == 0
