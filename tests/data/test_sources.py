"""The sources of images: real values, fixed splits, clear errors."""

import pytest
import torch
from PIL import Image

from aevae_fast.data import (
    ImageTensor,
    digits,
    folder,
    labels_of,
    load_images,
    mnist,
    photos,
    random_split,
    spread,
    stratified_split,
)


def everything(dataset):
    return torch.stack([dataset[number] for number in range(len(dataset))])


@pytest.mark.parametrize(
    ("source", "shape", "train", "held_out"),
    [
        pytest.param(mnist, (1, 28, 28), 4500, 500, id="mnist"),
        pytest.param(digits, (1, 8, 8), 1617, 180, id="digits"),
        pytest.param(photos, (3, 32, 32), 6100, 104, id="photos"),
        pytest.param(lambda: photos(256), (3, 256, 256), 748, 2, id="photos-256"),
    ],
)
def test_sources(source, shape, train, held_out):
    images = source()
    assert images.image_shape == shape
    assert (len(images.train), len(images.held_out)) == (train, held_out)
    sample = everything(images.held_out)
    assert sample.dtype == torch.float32
    assert 0 <= sample.min() < 0.2
    assert 0.8 < sample.max() <= 1


def test_mnist_holds_out_the_same_fifty_of_each_class():
    assert torch.equal(mnist().held_out.images, mnist().held_out.images)
    labels = torch.arange(10).repeat_interleave(500)
    train, held_out = stratified_split(labels, 50)
    assert labels[held_out].bincount().tolist() == [50] * 10
    assert torch.cat([train, held_out]).sort().values.tolist() == list(range(5000))


@pytest.mark.parametrize(("source", "per_class"), [(mnist, 50), (digits, 18)])
def test_labels_stay_with_their_images(source, per_class):
    """Images of one label lie closer to their own label's mean than to the next one's."""
    images = source()
    labels = labels_of(images.held_out)
    assert labels.dtype == torch.int64
    assert labels.bincount().tolist() == [per_class] * 10
    assert len(labels_of(images.train)) == len(images.train)
    centers = torch.stack([images.train.images[labels_of(images.train) == label].mean(0) for label in range(10)])
    apart = torch.cdist(images.held_out.images.flatten(1), centers.flatten(1))
    assert (apart.argmin(1) == labels).float().mean() > 0.7  # a shuffle would leave a tenth
    assert (
        labels_of(spread(images.held_out, 3)).tolist() == labels[[0, len(labels) // 3, 2 * len(labels) // 3]].tolist()
    )


@pytest.mark.parametrize("size", [8, 32, 130, 256])
def test_no_held_out_patch_touches_a_training_patch(size):
    images = photos(size)
    width = images.train.photos[0].shape[2]
    assert all(left + size <= width for _, _, left in images.train.corners)
    assert width + images.held_out.photos[0].shape[2] == 640


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "below").mkdir()
    for number in range(12):
        colour = (20 * number, 0, 255 - 20 * number)
        Image.new("RGB", (50 + number, 40), colour).save(tmp_path / ("below" if number % 2 else "") / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_folder(pictures):
    images = folder(pictures, image_size=16)
    assert images.image_shape == (3, 16, 16)
    assert (len(images.train), len(images.held_out)) == (11, 1)
    both = torch.cat([everything(images.train), everything(images.held_out)])
    reds = sorted(round(float(image[0].mean()) * 255) for image in both)
    assert reds == [20 * number for number in range(12)]
    assert labels_of(images.train) is None
    assert labels_of(spread(images.train, 2)) is None
    assert folder(pictures, image_size=16, channels=1).image_shape == (1, 16, 16)


def test_large_folders_are_decoded_when_needed(pictures, monkeypatch):
    in_memory = everything(folder(pictures, image_size=16).train)
    monkeypatch.setattr("aevae_fast.data.image_folder._IN_MEMORY_BYTES", 0)
    assert torch.equal(everything(folder(pictures, image_size=16).train), in_memory)


def test_folder_errors(pictures, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        folder(pictures / "nowhere")
    with pytest.raises(ValueError, match=r"at least 2 image files.*got 0"):
        folder(tmp_path_factory.mktemp("empty"))
    with pytest.raises(ValueError, match=r"channels: .*got 2"):
        folder(pictures, channels=2)
    with pytest.raises(ValueError, match=r"image_size: .*got 0"):
        folder(pictures, image_size=0)
    (pictures / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(ValueError, match=r"broken.png: expected a readable image"):
        folder(pictures)


def test_by_name(pictures):
    assert load_images("digits").name == "digits"
    assert load_images("photos", 64).image_shape == (3, 64, 64)
    assert load_images(str(pictures)).image_shape == (3, 64, 64)
    with pytest.raises(ValueError, match=r"data: expected mnist, digits, photos, sprites, a folder.*'nothing'"):
        load_images("nothing")
    with pytest.raises(ValueError, match=r"image_size: expected 28.*got 32"):
        load_images("mnist", 32)
    with pytest.raises(ValueError, match=r"image_size: .*got 512"):
        load_images("photos", 512)


def test_splits_need_enough():
    with pytest.raises(ValueError, match=r"at least 2 images.*got 1"):
        random_split(1)
    with pytest.raises(ValueError, match=r"more than 2 items of class 1, got 2"):
        stratified_split(torch.tensor([0, 0, 0, 1, 1]), 2)
    with pytest.raises(ValueError, match=r"labels: .*\[2\], got \[3\]"):
        ImageTensor(torch.rand(2, 1, 4, 4), torch.arange(3))
    assert sorted(index for part in random_split(2) for index in part) == [0, 1]
