"""Data sets of somebody's own arrays and pictures."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import data, training

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 6, 5), dtype=np.uint8)  # each image differs from the others
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
BINARY = GREY > 127


def all_images(dataset):
    """Images of all three splits together, sorted: what the data set holds, whatever the split."""
    splits = (dataset.train, dataset.validation, dataset.test)
    images = np.concatenate([split.images for split in splits])
    return images[np.lexsort(images.reshape(len(images), -1).T)]


def assert_holds(dataset, images):
    images = images.reshape(len(images), 6, 5, -1)
    order = np.lexsort(images.reshape(len(images), -1).T)
    np.testing.assert_array_equal(all_images(dataset), images[order])


# --- Images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (COLOUR, COLOUR),
        (GREY.astype(np.int64), GREY),
        (GREY / 255, GREY),
        (np.float32(COLOUR) / 255, COLOUR),
        (np.float16(GREY / 255), GREY),
        (GREY / 255 + 5e-7, GREY),  # a little above 1, as rounding leaves it
        (GREY.astype(np.uint16) * 257, GREY),
        (BINARY, 255 * BINARY),
        (BINARY.astype(float), 255 * BINARY),
        (np.asfortranarray(GREY), GREY),
        (tf.constant(GREY), GREY),
        (np.zeros((20, 6, 5), np.uint8), np.zeros((20, 6, 5))),
    ],
)
def test_what_people_have_becomes_the_same_data_set(x, expected):
    before = np.array(x)
    dataset = data.from_arrays(x)
    assert_holds(dataset, expected)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.image_shape == (6, 5, 3 if x.ndim == 4 and x.shape[-1] == 3 else 1)
    np.testing.assert_array_equal(x, before)
    assert dataset.display_name == dataset.name == "own images" and not dataset.official
    assert dataset.class_names == ("no label",) and not dataset.train.labels.any()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (BINARY.astype(np.uint8), r"x is uint8 from 0 to 1: write x == 1 .*or x / 255"),
        (BINARY.astype(np.int64), r"x is int64 from 0 to 1: write x == 1"),
        (GREY.astype(float), r"x is float64 from 0 to 255, not from 0 to 1: write x / 255"),
        (GREY / 127.5 - 1, r"from -1 to 1, .*write .*\(x \+ 1\) / 2 if black is -1"),
        (GREY / 255 / 255, r"to 0.00392: all but black; write x \* 255"),
        (np.where(BINARY, np.nan, 0.5), r"NaN or infinity at \d+ places"),
        (GREY.astype(np.uint16), r"x is uint16 from 0 to 255: write x / white .*4095"),
        (GREY.astype(np.uint16) * 16, r"x is uint16 from 0 to 4080: write x / white"),
        (GREY.astype(np.int32) * 16, r"x is int32 from 0 to 4080: write x / white"),
        (GREY.astype(np.int16) - 99, r"x is int16 from -99 to 156: write \(x - black\)"),
        (GREY.reshape(20, 30), r"shape \(20, 30\): give \(n, h, w\).*x.reshape\(-1, 28, 28\)"),
        (GREY[:0], r"shape \(0, 6, 5\)"),
        (COLOUR[0], r"shape \(6, 5, 3\).*looks like one picture"),
        (np.moveaxis(COLOUR, -1, 1), r"shape \(20, 3, 6, 5\).*np.moveaxis\(x, 1, -1\)"),
    ],
)
def test_what_can_be_read_in_two_ways_says_what_to_write(x, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.from_arrays(x)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160


def test_what_the_messages_say_works():
    uint8, twelve_bits = BINARY.astype(np.uint8), GREY.astype(np.uint16) * 16
    assert_holds(data.from_arrays(uint8 == 1), 255 * uint8)
    assert_holds(data.from_arrays(uint8 / 255 * 100), 100 * uint8)
    assert_holds(data.from_arrays(twelve_bits / 4080), GREY)
    assert_holds(data.from_arrays((GREY / 127.5 - 1 + 1) / 2), GREY)
    assert_holds(data.from_arrays(np.moveaxis(np.moveaxis(COLOUR, -1, 1), 1, -1)), COLOUR)
    pipeline = tf.data.Dataset.from_tensor_slices(GREY)
    assert_holds(data.from_arrays(np.stack(list(pipeline.as_numpy_iterator()))), GREY)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (tf.data.Dataset.from_tensor_slices(GREY), "x is a tf.data pipeline: .*as_numpy_iterator"),
        (list(GREY), r"x is a list: give an array .*np.stack\(x\)"),
        ("digits/", "x is a str: give an array .*from_folder"),
        (np.full((3, 2, 2), "a"), "x is <U1: give booleans, whole numbers or floats"),
    ],
)
def test_what_is_no_array_says_what_to_give(x, message):
    with pytest.raises(TypeError, match=message):
        data.from_arrays(x)


# --- Labels ---------------------------------------------------------------------------------------

ANIMALS = ["cat", "dog", "bee", "dog"] * 5


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.arange(20) % 3, ("0", "1", "2")),
        (np.uint8(np.arange(20) % 3), ("0", "1", "2")),
        (np.arange(20)[:, None] % 3, ("0", "1", "2")),
        (list(np.arange(20) % 2 * 7 - 3), ("-3", "4")),
        (np.arange(20) % 2 == 1, ("False", "True")),
        (ANIMALS, ("bee", "cat", "dog")),
        (np.array(ANIMALS), ("bee", "cat", "dog")),
        (np.array(ANIMALS, object), ("bee", "cat", "dog")),
        (np.array(ANIMALS, "S"), ("bee", "cat", "dog")),
        (tf.constant(np.arange(20) % 3), ("0", "1", "2")),
    ],
)
def test_labels_of_any_kind_stay_with_their_images(y, names):
    dataset = data.from_arrays(GREY, y)
    assert dataset.class_names == names and dataset.train.labels.dtype == np.uint8
    wanted = [v.decode() if isinstance(v, bytes) else str(v) for v in np.asarray(y).ravel()]
    meant = {image.tobytes(): name for image, name in zip(GREY, wanted, strict=True)}
    for split in (dataset.train, dataset.validation, dataset.test):
        found = [names[label] for label in split.labels]
        assert found == [meant[image.tobytes()] for image in split.images]


def test_class_names_name_whole_numbers_and_order_strings():
    names = ("plane", "car", "bird")
    dataset = data.from_arrays(GREY, np.arange(20) % 2, class_names=names)
    assert dataset.class_names == names and set(dataset.train.labels) == {0, 1}
    dataset = data.from_arrays(GREY, ANIMALS, class_names=["dog", "cat", "bee"])
    assert np.bincount(
        np.concatenate([dataset.train.labels, dataset.validation.labels, dataset.test.labels])
    ).tolist() == [10, 5, 5]


def test_more_than_256_classes_keep_their_numbers():
    x = RNG.integers(0, 256, (600, 2, 2), dtype=np.uint8)
    dataset = data.from_arrays(x, np.arange(600))
    assert len(dataset.class_names) == 600 and dataset.train.labels.max() > 255


@pytest.mark.parametrize(
    ("y", "names", "error", "message"),
    [
        (np.arange(19), None, ValueError, r"y has shape \(19,\): give one label for .* 20 images"),
        (np.eye(20), None, ValueError, r"y has shape \(20, 20\).*np.argmax\(y, axis=1\)"),
        (np.arange(20) / 2, None, TypeError, r"y is float64: give whole .*y.astype\(int\)"),
        (np.arange(20) % 3, ["a", "b"], ValueError, r"y holds \['2'\], .*\('a', 'b'\) do not name"),
        (ANIMALS, ["dog", "cat"], ValueError, r"y holds \['bee'\], which class_names"),
    ],
)
def test_other_labels_are_refused_in_one_sentence(y, names, error, message):
    with pytest.raises(error, match=message) as caught:
        data.from_arrays(GREY, y, class_names=names)
    assert len(str(caught.value)) < 160


# --- Splits ---------------------------------------------------------------------------------------


def test_splits_are_repeatable_disjoint_and_as_large_as_asked_for():
    def split(**options):
        return data.from_arrays(GREY, **options)

    first, second, other = split(), split(), split(seed=1)
    assert [len(s) for s in (first.train, first.validation, first.test)] == [16, 2, 2]
    np.testing.assert_array_equal(first.test.images, second.test.images)
    assert not np.array_equal(first.test.images, other.test.images)
    assert not np.array_equal(first.train.images, GREY[:16, :, :, None])
    assert_holds(other, GREY)
    larger = split(validation_fraction=0.25, test_fraction=0.5, name="mine")
    assert [len(s) for s in (larger.train, larger.validation, larger.test)] == [5, 5, 10]
    assert larger.display_name == "mine"
    tiny = data.from_arrays(GREY[:3])
    assert [len(s) for s in (tiny.train, tiny.validation, tiny.test)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 1.0}, "test_fraction must be .*below 1, got 1.0"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "20 images leave none to train with"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_splits_that_leave_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(GREY, **options)


def test_own_images_train():
    from helpers.vae import VAE

    dataset = data.from_arrays(BINARY)
    model = VAE(2, dataset.image_shape, hidden_dim=4)
    settings = dict(epochs=1, batch_size=8, protocol="threshold", seed=0, verbose=0)
    history = training.fit(model, dataset.train.images, **settings)
    assert np.isfinite(history["loss"]).all()


# --- Folders --------------------------------------------------------------------------------------


def picture(path, colour=(200, 100, 50), size=(40, 30), mode="RGB", **options):
    """Write a picture of one colour, (width, height) in size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **options)


@pytest.fixture
def zoo(tmp_path):
    """Two classes of pictures of mixed kinds, sizes and modes, among other files."""
    folder = tmp_path / "zoo"
    for i in range(4):
        picture(folder / "cats" / f"{i}.png", (10 * i, 0, 0), size=(20 + i, 50))
        picture(folder / "dogs" / "deeper" / f"{i}.JPG", (0, 100 + 10 * i, 0), size=(90, 40))
    picture(folder / "dogs" / "grey.gif", (200, 200, 200), mode="L")
    picture(folder / "dogs" / "palette.png", (0, 250, 0), mode="P")
    picture(folder / "dogs" / "print.jpg", (0, 240, 0), mode="CMYK")
    picture(folder / "dogs" / ".hidden.png")
    picture(folder / ".ipynb_checkpoints" / "0.png")
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("no picture")
    (folder / "cats" / "notes.txt").write_text("no picture")
    return folder


def test_folders_are_classes(zoo):
    dataset = data.from_folder(zoo, 16, validation_fraction=0.2, test_fraction=0.2)
    assert dataset.name == dataset.display_name == "zoo" and dataset.class_names == ("cats", "dogs")
    assert dataset.image_shape == (16, 16, 3)
    splits = (dataset.train, dataset.validation, dataset.test)
    assert [len(split) for split in splits] == [7, 2, 2]
    for split in splits:
        for image, label in zip(split.images, split.labels, strict=True):
            red, green, _blue = image.reshape(-1, 3).mean(axis=0)
            assert ("cats", "dogs")[label] == ("dogs" if green > 50 else "cats"), (red, green)
    again = data.from_folder(str(zoo), (16, 16), validation_fraction=0.2, test_fraction=0.2)
    np.testing.assert_array_equal(again.train.images, dataset.train.images)


def test_a_folder_without_classes(tmp_path):
    for i in range(5):
        picture(tmp_path / f"{i}.png", (50 * i,) * 3)
    dataset = data.from_folder(tmp_path, (8, 12), channels=1, name="tones")
    assert dataset.image_shape == (8, 12, 1) and dataset.name == "tones"
    assert dataset.class_names == ("no label",)
    assert [image.mean() for image in all_images(dataset)] == [0, 50, 100, 150, 200]


def read(path, size=8, channels=3):
    """Return what `from_folder` makes of one picture, by a folder that holds it three times."""
    from helpers.course import own_images

    return own_images._read_picture(path, size, size, channels)


def test_16_bits_are_not_clipped(tmp_path):
    levels = np.array([[0, 257 * 10, 257 * 200, 65535]], np.uint16).repeat(4, axis=0)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", 4, 1)[0, :, 0].tolist() == [0, 10, 200, 255]
    assert read(tmp_path / "a.png", 4, 3)[0, :, 2].tolist() == [0, 10, 200, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(tmp_path, mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    image.convert(mode).save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png")
    assert pixels[0, 0].tolist() == [0, 0, 0] and (pixels.reshape(-1, 3)[1:] == 255).all()


def test_one_bit_and_the_first_frame_of_an_animation(tmp_path):
    picture(tmp_path / "bit.png", (255, 255, 255), mode="1")
    assert (read(tmp_path / "bit.png", channels=1) == 255).all()
    frames = [Image.new("L", (8, 8), level) for level in (60, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert (read(tmp_path / "moving.gif", channels=1) == 60).all()


def test_pictures_are_turned_and_cut_around_their_middle(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255  # the middle third
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (read(tmp_path / "wide.png", 10) == 255).all()
    left_white = np.zeros((16, 16, 3), np.uint8)
    left_white[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees, left becomes top
    Image.fromarray(left_white).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels = read(tmp_path / "turned.jpg", 16)
    assert pixels[:6].min() > 240 and pixels[-6:].max() < 15


@pytest.fixture
def damaged(zoo):
    """The zoo with two pictures that cannot be read."""
    whole = (zoo / "cats" / "0.png").read_bytes()
    (zoo / "cats" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (zoo / "dogs" / "page.jpg").write_text("<html>not found</html>")
    return zoo


def test_unreadable_pictures_are_named_and_skipped_only_on_request(damaged, capsys):
    with pytest.raises(data.DatasetInvalid) as caught:
        data.from_folder(damaged, 8)
    message = "2 of 13 pictures cannot be read: cats/cut.png, dogs/page.jpg"
    assert message in str(caught.value) and "skip_unreadable=True" in str(caught.value)
    assert capsys.readouterr().out == ""
    dataset = data.from_folder(damaged, 8, skip_unreadable=True)
    assert capsys.readouterr().out == f"Note: {message}. They are left out.\n"
    labels = np.concatenate([dataset.train.labels, dataset.validation.labels, dataset.test.labels])
    assert np.bincount(labels).tolist() == [4, 7]
    assert (damaged / "dogs" / "page.jpg").read_text() == "<html>not found</html>"


def test_a_folder_of_unreadable_pictures_alone_cannot_be_skipped(tmp_path):
    (tmp_path / "a.png").write_text("")
    with pytest.raises(data.DatasetInvalid, match=r"1 of 1 pictures cannot be read: a.png"):
        data.from_folder(tmp_path, 8, skip_unreadable=True)


def _nothing(folder):
    (folder / "notes.txt").write_text("")


def _mixed(folder):
    picture(folder / "loose.png")
    picture(folder / "cats" / "1.png")


def _splits(folder):
    picture(folder / "train" / "cats" / "1.png")
    picture(folder / "Test" / "cats" / "1.png")


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (_nothing, r"holds no pictures \(.png, .jpg"),
        (_mixed, r"pictures beside folders of pictures: \['cats'\]"),
        (_splits, r"holds \['Test', 'train'\], no classes: give one of these folders"),
    ],
)
def test_other_folders_are_refused(tmp_path, fill, message):
    fill(tmp_path)
    with pytest.raises(ValueError, match=message):
        data.from_folder(tmp_path, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (8, 8, 3)}, r"size must be one number or \(height, width\), got \(8, 8, 3\)"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"size": 8, "channels": 4}, "channels must be one of 1, 3, got 4"),
    ],
)
def test_wrong_sizes_are_refused(zoo, options, message):
    with pytest.raises(ValueError, match=message):
        data.from_folder(zoo, **options)
