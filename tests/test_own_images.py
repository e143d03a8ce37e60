"""Images that people bring: each kind is read, looked at and given advice, or told what to do."""

import numpy as np
import pytest
from PIL import Image

from helpers import data, likelihoods, networks, training
from helpers.course.tables import Table
from helpers.likelihoods import LIKELIHOODS, Likelihood
from helpers.vae import VAE

RNG = np.random.default_rng(0)
LETTERS = RNG.integers(0, 2, (40, 8, 9), dtype=np.uint8)  # 0 and 1


def photos(n, height, width, seed=0):
    """Smooth pictures in colour, each differs from the others: uint8 (n, height, width, 3)."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (n, 3, 3, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height))) for c in corners])


def clothes(n, seed=0):
    """Grey pictures like those of Fashion-MNIST, half of whose pixels are black: (n, 28, 28)."""
    x = photos(n, 28, 28, seed)[..., 0].copy()
    x[:, :, :7] = x[:, :, 21:] = 0
    return x


def write(folder, pictures, name="{:02d}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / name.format(i))
    return folder


def best(facts):
    """The likelihood and the protocol that fit best."""
    (row,) = [row for row in likelihoods.table(facts).rows if row.fits == "best"]
    return row.likelihood, row.protocol


def trains(dataset, **options):
    """Whether a small model of the advice for a data set trains, scores and samples."""
    likelihood, protocol = best(data.describe(dataset))
    needs = LIKELIHOODS[likelihood].needs_log_var
    pair = networks.table(dataset.image_shape, 2, needs_log_var=needs).rows[1]
    names = dict(encoder=pair.encoder, decoder=pair.decoder, hidden_dim=(2, 3))
    vae = VAE(2, dataset.image_shape, likelihood=likelihood, activation="relu", **names)
    x = data.prepare(dataset.validation.images, protocol)
    settings = dict(epochs=1, batch_size=8, protocol=protocol, seed=0, verbose=0)
    history = training.fit(vae, dataset.train.images, validation=x, **settings)
    assert vae.sample(2, seed=1).shape == (2, *dataset.image_shape)
    return bool(np.isfinite(history["val_loss"]).all())


# --- What people have -----------------------------------------------------------------------------


def test_arrays_like_fashion_mnist():
    dataset = data.from_arrays(clothes(100), np.arange(100) % 10, class_names=list("abcdefghij"))
    facts = data.describe(dataset)
    assert facts.kind == "grey" and facts.image_shape == (28, 28, 1)
    assert facts.sizes == {"train": 80, "validation": 10, "test": 10}
    assert set(facts.class_sizes.values()) == {10}
    assert best(facts) == ("discretised_logistic", "grey")
    assert trains(dataset)


def test_colour_photographs_of_mixed_sizes(tmp_path):
    write(tmp_path / "cats", photos(12, 70, 90, 1), "{:02d}.jpg")
    write(tmp_path / "dogs", photos(12, 150, 64, 2))
    sizes = data.picture_sizes(tmp_path)
    assert sizes.tolist() == [[70, 90]] * 12 + [[150, 64]] * 12
    dataset = data.from_folder(tmp_path, 64)
    facts = data.describe(dataset)
    assert facts.kind == "colour" and facts.image_shape == (64, 64, 3)
    assert best(facts) == ("discretised_logistic", "grey")
    assert trains(dataset)


def test_sizes_are_those_of_pictures_that_were_turned_and_broken_ones_have_none(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.new("L", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("L", (30, 20)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    assert data.picture_sizes(tmp_path).tolist() == [[30, 20], [20, 30]]


def test_16_bit_grey(tmp_path):
    full = clothes(12).astype(np.uint16) * 257
    folder = write(tmp_path / "full", full)
    dataset = data.from_folder(folder, 28, channels=1)
    found = np.concatenate([dataset.train.images, dataset.validation.images, dataset.test.images])
    assert {image.tobytes() for image in found} == {image.tobytes() for image in clothes(12)}
    assert trains(data.from_arrays(full))
    dark = write(tmp_path / "dark", full // 16)  # 12 bits in a file of 16
    with pytest.raises(ValueError, match=r"00.png has 16 bits .*from_arrays\(x / white\), .*4095"):
        data.from_folder(dark, 28, channels=1)
    dataset = data.from_arrays((full // 16) / 4095)
    assert dataset.train.images.max() > 200


def test_binary_masks(tmp_path):
    white = write(tmp_path / "white", 255 * LETTERS)
    dataset = data.from_folder(white, (8, 9), channels=1)
    facts = data.describe(dataset)
    assert facts.kind == "binary" and facts.share_binary == 1 and facts.levels == 2
    assert best(facts) == ("bernoulli", "threshold")
    assert trains(dataset)
    labels = write(tmp_path / "labels", LETTERS)
    with pytest.raises(ValueError, match=r"labels hold only 0 and 1.*from_arrays\(x == 1\)"):
        data.from_folder(labels, (8, 9), channels=1)
    assert data.describe(data.from_arrays(LETTERS == 1)).kind == "binary"


def test_a_class_of_few_images_is_said_and_trains():
    dataset = data.from_arrays(photos(60, 16, 17), ["cat"] * 58 + ["bee"] * 2)
    facts = data.describe(dataset)
    assert facts.class_sizes == {"bee": 2, "cat": 58}
    (note,) = facts.notes
    held = {split for split in ("validation", "test") if 0 in getattr(dataset, split).labels}
    assert note.startswith(f"class 'bee' has {2 - len(held)} training images, none for ")
    assert trains(dataset)


def test_a_folder_with_a_broken_file_says_what_to_do(tmp_path):
    folder = write(tmp_path, photos(10, 16, 16))
    (folder / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(data.DatasetInvalid, match=r"1 of 11 .*: broken.png. .*skip_unreadable=T"):
        data.from_folder(folder, 16)
    assert len(data.from_folder(folder, 16, skip_unreadable=True).train) == 8


# --- Copies ---------------------------------------------------------------------------------------


def with_copies():
    """Twenty images, of which image 0 comes ten times."""
    x = photos(20, 6, 5)
    return np.concatenate([x, np.repeat(x[:1], 9, axis=0)])


def test_copies_between_splits_are_found_said_and_taken_out(capsys):
    labels = [*range(20), *[0] * 9]
    parts = dict(validation_fraction=0.3, test_fraction=0.3)
    dataset = data.from_arrays(with_copies(), labels, **parts)
    said = capsys.readouterr().out
    first = with_copies()[0]
    held = {name: getattr(dataset, name).images for name in ("validation", "test")}
    of_first = {name: int((x == first).all(axis=(1, 2, 3)).sum()) for name, x in held.items()}
    assert (dataset.train.images == first).all(axis=(1, 2, 3)).any() and min(of_first.values())
    assert said.startswith(f"Note: {of_first['validation']} of 9 validation images and ")
    assert said.endswith("data.without_copies(dataset) takes them out.\n")
    facts = data.describe(dataset)
    assert facts.copies == of_first
    assert [note.split(" stand")[0] for note in facts.notes[:2]] == [
        f"{count} of 9 {name} images" for name, count in of_first.items()
    ]
    clean = data.without_copies(dataset)
    assert data.describe(clean).copies == {"validation": 0, "test": 0}
    assert len(clean.validation) == 9 - of_first["validation"]
    assert len(clean.train) == len(dataset.train) and clean.name == dataset.name
    meant = {image.tobytes(): label for label, image in enumerate(with_copies()[:20])}
    for split in (clean.validation, clean.test):
        found = [meant[image.tobytes()] for image in split.images]
        assert found == split.labels.tolist() and 0 not in found


def test_a_copy_in_validation_alone_counts_for_the_test():
    x = photos(3, 6, 5)
    order = data.fixed_order(3, 0)  # train, validation, test
    x[order[2]] = x[order[1]]
    dataset = data.from_arrays(x)
    assert data.describe(dataset).copies == {"validation": 0, "test": 1}
    with pytest.raises(ValueError, match="all 1 test images stand in an earlier split too"):
        data.without_copies(dataset)


def test_without_copies_nothing_is_said(capsys):
    dataset = data.from_arrays(photos(20, 6, 5))
    assert capsys.readouterr().out == ""
    assert len(data.without_copies(dataset).test) == len(dataset.test)


# --- Facts ----------------------------------------------------------------------------------------


def test_facts_say_what_the_pixels_are():
    x = np.zeros((30, 4, 5), np.uint8)
    x[:, 0, :] = RNG.integers(0, 3, (30, 5)) * 40  # 0, 40 and 80
    x[7] = 0
    facts = data.describe(data.from_arrays(x, name="dim"))
    assert (facts.low, facts.high, facts.levels, facts.kind) == (0, 80, 3, "grey")
    assert facts.share_binary == pytest.approx((x == 0).mean())
    text = " ".join(facts.notes)
    assert "only 3 of 256 levels" in text and "brighter than 80" in text and "blank" in text
    assert str(facts).startswith("dim\n") and "train 24, validation 3, test 3" in str(facts)
    assert "| classes | no label 30 |" in facts._repr_markdown_()


def test_colour_that_is_grey_is_seen():
    grey = clothes(20)[..., None].repeat(3, axis=-1)
    assert any("channels are equal" in note for note in data.describe(data.from_arrays(grey)).notes)
    colour = data.describe(data.from_arrays(photos(20, 28, 28)))
    assert not any("channels are equal" in note for note in colour.notes)


def test_arrays_are_not_described_before_they_are_split():
    with pytest.raises(TypeError, match=r"dataset is a ndarray: .*data.from_arrays\(x\)"):
        data.describe(photos(5, 8, 8))


# --- The example ----------------------------------------------------------------------------------


def test_the_example_folder_is_written_once_and_read(tmp_path, capsys):
    folder = data.write_example_folder(tmp_path / "pictures")
    assert set(map(tuple, data.picture_sizes(folder))) == {(20, 20)}
    dataset = data.from_folder(folder, 20)
    assert dataset.class_names == ("flower", "temple") and len(dataset.train) > 1000
    assert data.describe(dataset).copies == {"validation": 0, "test": 0}
    (folder / "temple" / "000_000.png").unlink()
    assert data.write_example_folder(folder) == folder
    assert not (folder / "temple" / "000_000.png").exists()


def test_an_example_that_is_interrupted_is_not_there_and_is_written_anew(tmp_path, monkeypatch):
    folder, saved = tmp_path / "new" / "pictures", []
    save = Image.Image.save

    def interrupted(picture, path):
        save(picture, path)
        saved.append(path)
        assert not folder.exists(), "a process that is killed now leaves no half of it"
        if len(saved) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Image.Image, "save", interrupted)
        data.write_example_folder(folder)
    assert len(saved) == 3 and list(folder.parent.iterdir()) == []
    data.write_example_folder(folder)
    assert len(data.picture_sizes(folder)) == 1_344
    assert list(folder.parent.iterdir()) == [folder]


# --- Advice ---------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_pair_of_the_registry(monkeypatch):
    def pairs():
        return {(row.likelihood, row.protocol) for row in likelihoods.table().rows}

    known = {(each.name, p) for each in LIKELIHOODS.values() for p in each.protocols}
    assert pairs() == known
    flat = Likelihood("flat", likelihoods.gaussian, ("dequantised",), True, None, True)
    monkeypatch.setitem(LIKELIHOODS, "flat", flat)
    assert pairs() == known | {("flat", "dequantised")}
    rows = {(row.likelihood, row.protocol): row for row in likelihoods.table().rows}
    assert rows["flat", "dequantised"].number.startswith("bits/dim, of a density")
    assert rows["flat", "dequantised"].decoder_returns == "(mean, log_var)"
    assert rows["bernoulli", "dynamic"].number.startswith("nats, of the probability")
    assert rows["grey_bernoulli", "grey"].number.startswith("nats, of no probability")


def ink(n):
    """Strokes, four of five of whose pixels are black or white."""
    x = clothes(n)
    x[:, :, 7:10] = 255
    x[:, :14] = 0
    return x


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (photos(30, 16, 16), ("discretised_logistic", "grey")),
        (clothes(30), ("discretised_logistic", "grey")),
        (ink(30), ("bernoulli", "dynamic")),
        (LETTERS == 1, ("bernoulli", "threshold")),
    ],
)
def test_one_pair_fits_best_and_every_row_says_why(x, expected):
    facts = data.describe(data.from_arrays(x))
    rows = likelihoods.table(facts).rows
    assert (rows[0].likelihood, rows[0].protocol) == expected == best(facts)
    assert [row.fits for row in rows] == sorted(
        (row.fits for row in rows), key=("best", "yes", "no").index
    )
    assert all(row.why for row in rows)
    verdicts = {(row.likelihood, row.protocol): row.fits for row in rows}
    assert verdicts["grey_bernoulli", "grey"] == "no"
    assert verdicts["bernoulli", "static"] == ("no" if facts.kind == "colour" else "yes")
    assert verdicts["gaussian", "dequantised"] == ("no" if facts.kind == "binary" else "yes")


def test_the_networks_of_the_table_are_built_as_it_says():
    for needs in (False, True):
        for row in networks.table((17, 30, 3), 5, needs_log_var=needs).rows:
            names = dict(encoder=row.encoder, decoder=row.decoder, hidden_dim=row.hidden_dim)
            likelihood = "gaussian" if needs else "grey_bernoulli"
            vae = VAE(5, (17, 30, 3), likelihood=likelihood, **names)
            assert vae.count_params() == row.weights


def test_tables_show_themselves():
    table = Table(likelihoods.table().rows[:2])
    lines = str(table).splitlines()
    assert len(lines) == 3 and lines[0].split("  ")[0] == "images"
    markdown = table._repr_markdown_().splitlines()
    assert markdown[0].startswith("| images | protocol | a pixel becomes |")
    assert markdown[1].count("---") == markdown[0].count("|") - 1
    weights = networks.table((28, 28, 1)).rows[0]
    assert f"| {weights.weights:,} |" in Table([weights])._repr_markdown_()
