"""Checks of arguments: what passes, and one refusal of each kind."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.course import checks

BYTES = np.full((2, 4, 4, 1), 200, np.uint8)


def test_what_is_right_passes():
    checks.check_choice("kind", "b", ("a", "b"))
    checks.check_choice("kind", "b", {"a": 1, "b": 2})
    checks.check_whole(n=1, m=np.int64(7))
    checks.check_whole(low=0, n=0)
    checks.check_seed(seed=2**31 - 1, other=np.uint8(0))
    checks.check_positive(rate=1e-3, norm=np.float32(5), whole=2)
    checks.check_fraction(warmup=0, momentum=0.999)
    assert checks.as_uint8_images(BYTES) is BYTES


@pytest.mark.parametrize(
    ("value", "sizes"), [(500, (500,)), ((500,), (500,)), ([3, np.int64(4)], (3, 4))]
)
def test_one_size_says_the_same_as_a_tuple_of_one(value, sizes):
    found = checks.as_sizes("hidden", value)
    assert found == sizes and all(type(size) is int for size in found)


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (lambda: checks.check_choice("kind", "c", "ab"), ValueError, "kind .*'a', 'b', got 'c'"),
        (lambda: checks.check_choice("kind", ["a"], {"a": 1}), ValueError, r"got \['a'\]"),
        (lambda: checks.check_whole(n=0), ValueError, "n must be at least 1, got 0"),
        (lambda: checks.check_whole(n=2.0), TypeError, "n must be a whole number, got 2.0"),
        (lambda: checks.check_whole(n=True), TypeError, "n must be a whole number, got True"),
        (lambda: checks.check_seed(seed=-1), ValueError, "seed must be at least 0, got -1"),
        (lambda: checks.check_seed(seed=2**31), ValueError, "seed must be below .*, got 214748"),
        (lambda: checks.check_positive(r=float("nan")), ValueError, "r must be finite .*, got nan"),
        (lambda: checks.check_positive(r=float("inf")), ValueError, "r must be finite .*, got inf"),
        (lambda: checks.check_positive(r=0), ValueError, "above 0, got 0"),
        (lambda: checks.check_positive(r="1"), TypeError, "r must be a number, got '1'"),
        (lambda: checks.check_fraction(w=1), ValueError, "w must be .*below 1, got 1"),
        (lambda: checks.check_fraction(w=-0.1), ValueError, "w must be at least 0 .*, got -0.1"),
        (lambda: checks.as_sizes("hidden", (4, 0)), ValueError, "hidden must be at least 1, got 0"),
        (lambda: checks.as_sizes("hidden", ()), ValueError, "hidden must hold at least one size"),
        (lambda: checks.as_sizes("hidden", "ab"), TypeError, "hidden must be a whole .*'ab'"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(check, error, message):
    with pytest.raises(error, match=message):
        check()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (BYTES / 255, r"uint8 \(n, h, w, c\).*got float64 \(2, 4, 4, 1\); helpers.data.from_arr"),
        (BYTES[..., 0], r"got uint8 \(2, 4, 4\)"),
        (BYTES[:0], r"not empty, got uint8 \(0, 4, 4, 1\)"),
        (BYTES // 200, "hold only 0 and 1, but white is 255: give 255 \\* images"),
    ],
)
def test_other_images_are_refused_with_a_way_to_convert_them(images, message):
    with pytest.raises(ValueError, match=message):
        checks.as_uint8_images(images)


def test_black_images_are_images():
    assert not checks.as_uint8_images(0 * BYTES).any()


def test_arrays_and_long_values_are_shown_in_short():
    assert checks.shown(np.zeros((60_000, 28), "i8")) == "int64 (60000, 28)"
    assert checks.shown(tf.zeros((2, 3))) == "float32 (2, 3)"
    assert checks.shown("x") == "'x'"
    assert len(checks.shown("x" * 1000)) == 80
