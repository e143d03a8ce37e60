"""Images in shards: every image once, in an order that repeats, and shards that do not do."""

import collections
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import course
from helpers import cluster, shards

IMAGES = np.random.default_rng(0).integers(0, 256, (21, 3, 2, 1), dtype=np.uint8)
READER = course.ROOT / "tools" / "studies" / "reader.py"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of four shards: of six, five, five and five images."""
    folder = tmp_path_factory.mktemp("shards")
    shards.write_shards(IMAGES, folder, 4)
    return folder


def indices(dataset):
    return [int(index) for index, _ in dataset]


# --- One process ---------------------------------------------------------------------------------


def test_the_images_of_a_file_are_those_of_its_number(tmp_path):
    paths = shards.write_shards(IMAGES, tmp_path / "new", 4)
    assert [path.name for path in paths] == [f"images-0000{k}-of-00004.tfrecord" for k in range(4)]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir()), "nothing unfinished is left"
    assert [shards.count_records(path) for path in paths] == [6, 5, 5, 5]
    for k, path in enumerate(paths):
        records = tf.data.TFRecordDataset(path).as_numpy_iterator()
        found = [tf.train.Example.FromString(record).features.feature for record in records]
        assert [each["index"].int64_list.value[0] for each in found] == list(range(k, 21, 4))


@pytest.mark.parametrize("policy", ["file", "data"])
def test_every_image_is_read_once_with_its_index(written, policy):
    pairs = list(shards.read_shards(written, policy=policy, seed=3).as_numpy_iterator())
    assert sorted(index for index, _ in pairs) == list(range(21))
    for index, image in pairs:
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, IMAGES[index])


def test_shapes_are_known_before_anything_is_read(written):
    index, image = shards.read_shards(written).element_spec
    assert (index.shape, index.dtype) == ((), tf.int64)
    assert (image.shape, image.dtype) == ((3, 2, 1), tf.uint8)


def test_the_order_depends_on_seed_and_epoch_alone(written):
    orders = {
        (seed, epoch): indices(shards.read_shards(written, seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    for (seed, epoch), order in orders.items():
        assert indices(shards.read_shards(written, seed=seed, epoch=epoch)) == order
    assert len({tuple(order) for order in orders.values()}) == 4


def test_records_are_shuffled_in_blocks(written, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK", 8)
    order = indices(shards.read_shards(written))
    assert [sorted(order[k : k + 8]) for k in (0, 8)] == [[*range(8)], [*range(8, 16)]]
    assert len({tuple(np.argsort(order[k : k + 8])) for k in (0, 8)}) == 2, "each in its own way"


def test_no_seed_of_tensorflow_changes_the_order(written):
    order = indices(shards.read_shards(written))
    keras.utils.set_random_seed(9)
    assert indices(shards.read_shards(written)) == order


def test_a_shard_is_looked_through_once_and_again_when_it_is_cut_short(tmp_path, monkeypatch):
    paths, opened = shards.write_shards(IMAGES, tmp_path, 3), []

    def noted(path, mode):
        opened.append(path)
        return open(path, mode)

    monkeypatch.setattr(shards, "open", noted, raising=False)
    for epoch in range(3):
        assert len(indices(shards.read_shards(tmp_path, epoch=epoch))) == 21
    assert opened == paths
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    for epoch in (3, 4):
        with pytest.raises(ValueError, match=r"images-00001-of-00003\.tfrecord is cut short"):
            shards.read_shards(tmp_path, epoch=epoch)
    assert opened == [*paths, paths[1], paths[1]]


# --- Several workers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(written, tmp_path_factory):
    """What each of two workers saw, by policy and epoch: a list of batches of indices."""
    settings = {"shards": str(written), "batch_size": 6, "epochs": 2, "seed": 3}
    workers = cluster.rehearse(READER, settings, tmp_path_factory.mktemp("reader"))
    return {policy: [worker[policy]["epochs"] for worker in workers] for policy in ("file", "data")}


def flat(batches):
    return [index for batch in batches for index in batch]


@pytest.mark.parametrize("policy", ["file", "data"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_two_workers_see_each_image_once_an_epoch(seen, policy, epoch):
    counts = collections.Counter(flat(flat(worker[epoch] for worker in seen[policy])))
    assert counts == dict.fromkeys(range(21), 1)
    assert max(len(batch) for worker in seen[policy] for batch in worker[epoch]) == 3


def test_under_file_a_worker_reads_files_of_its_own(seen):
    for epoch in range(2):
        one, other = ({index % 4 for index in flat(worker[epoch])} for worker in seen["file"])
        assert len(one) == len(other) == 2 and not one & other


def together(workers, epoch):
    """The indices of each batch of all workers together."""
    return [sorted(flat(shares)) for shares in zip(*(w[epoch] for w in workers), strict=True)]


@pytest.mark.parametrize(("policy", "same"), [("data", True), ("file", False)])
def test_batches_are_those_of_one_process_under_data_alone(written, seen, policy, same):
    for epoch in range(2):
        alone = shards.read_shards(written, policy=policy, seed=3, epoch=epoch).batch(6)
        whole = [sorted(index.tolist()) for index, _ in alone.as_numpy_iterator()]
        assert (together(seen[policy], epoch) == whole) is same


# --- Shards that do not do -----------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path):
    """A folder of three shards, to be broken."""
    shards.write_shards(IMAGES, tmp_path, 3)
    return tmp_path


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no shards: write them with shards\.write_shards"):
        shards.read_shards(tmp_path)
    with pytest.raises(ValueError, match="holds no shards"):
        shards.read_shards(tmp_path / "none")


def test_a_missing_shard_is_noticed(broken):
    (broken / "images-00001-of-00003.tfrecord").unlink()
    with pytest.raises(ValueError, match="holds 2 shards of a set of 3"):
        shards.read_shards(broken)


def test_two_sets_in_one_folder_are_noticed(broken):
    with pytest.raises(ValueError, match="holds shards already: name an empty folder"):
        shards.write_shards(IMAGES, broken, 3)
    for path in shards.write_shards(IMAGES, broken / "others", 2):
        shutil.copy(path, broken)
    with pytest.raises(ValueError, match="holds 5 shards of a set of 2 and 3"):
        shards.read_shards(broken)


@pytest.mark.parametrize("left", [-1, -30, 5, 20])
def test_a_shard_that_is_cut_short_is_named_before_training(broken, left):
    path = broken / "images-00002-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"images-00002-of-00003\.tfrecord is cut short"):
        shards.read_shards(broken)


def test_an_empty_shard_is_named(broken):
    (broken / "images-00000-of-00003.tfrecord").write_bytes(b"")
    with pytest.raises(ValueError, match=r"images-00000-of-00003\.tfrecord is empty"):
        shards.read_shards(broken)


def test_fewer_files_than_workers_are_refused(broken):
    with pytest.raises(ValueError, match="4 workers cannot share 3 files: write at least 4 shards"):
        shards.read_shards(broken, workers=4)
    assert len(indices(shards.read_shards(broken, workers=4, policy="data"))) == 21


@pytest.mark.parametrize(
    ("images", "count", "message"),
    [
        (IMAGES, 22, "21 images do not fill 22 shards"),
        (IMAGES, 0, "shards"),
        (IMAGES / 255.0, 2, "uint8"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, images, count, message):
    with pytest.raises((ValueError, TypeError), match=message):
        shards.write_shards(images, tmp_path, count)
    assert list(tmp_path.iterdir()) == []


def test_a_policy_that_there_is_not_is_refused(written):
    with pytest.raises(ValueError, match="policy"):
        shards.read_shards(written, policy="auto")
