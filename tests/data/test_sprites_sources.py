"""Sprites as a source to train on, and the dSprites file."""

import numpy as np
import pytest
import torch

from aevae_fast.data import DSprites, FactorImages, Sprites, TrainingBatches, load_images


def archive(path, images=None, classes=None, **more):
    """A small file that is built as dSprites is: the metadata is pickled."""
    images = np.zeros((12, 64, 64), np.uint8) if images is None else images
    classes = np.stack([np.zeros(12), *np.indices((3, 2, 1, 1, 2)).reshape(5, -1)], 1) if classes is None else classes
    metadata = np.array({"title": "dSprites"}, dtype=object)
    np.savez(path, imgs=images, latents_classes=classes.astype(np.int64), metadata=metadata, **more)
    return path


def test_sprites_by_name():
    images = load_images("sprites")
    assert images.image_shape == (1, 32, 32)
    assert load_images("sprites", 16).image_shape == (1, 16, 16)
    assert len(images.held_out) == round((len(images.train) + len(images.held_out)) / 10)
    seen, unseen = ({tuple(row) for row in part.factors.tolist()} for part in (images.train, images.held_out))
    assert not seen & unseen
    assert len(seen) + len(unseen) == len(images.train) + len(images.held_out)


def test_factors_stay_with_their_images():
    grid = Sprites(("shape", "scale", "x"), image_size=16)
    part = FactorImages(grid, [5, 500, 70], grid.factors, grid.factor_names)
    assert torch.equal(part.factors, grid.factors[[5, 500, 70]])
    (both,) = part.__getitems__([2, 0])
    assert torch.equal(both, grid.render(part.factors[[2, 0]]))
    assert torch.equal(part[1], grid[500])
    assert next(iter(TrainingBatches(part, 3))).shape == (3, 1, 16, 16)


def test_the_dsprites_file(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (12, 64, 64), dtype=np.uint8)
    file = archive(tmp_path / "dsprites.npz", images)
    data = DSprites(file)
    assert data.factor_sizes == (3, 2, 1, 1, 2)
    assert data.factors[1].tolist() == [0, 0, 0, 0, 1]
    assert torch.equal(data[3], torch.from_numpy(images[3:4]).float())
    splits = load_images(str(file))
    assert (splits.name, splits.image_shape, len(splits.train), len(splits.held_out)) == (
        "dsprites",
        (1, 64, 64),
        11,
        1,
    )
    with pytest.raises(ValueError, match=r"image_size: expected 64.*got 32"):
        load_images(str(file), 32)


def test_nothing_is_unpickled(tmp_path):
    """A pickle in the place of the images is refused, not run."""
    file = tmp_path / "pickled.npz"
    np.savez(file, imgs=np.array([{"a": 1}], dtype=object), latents_classes=np.zeros((1, 6), np.int64))
    with pytest.raises(ValueError, match=r"pickled.npz: expected an archive.*allow_pickle=False"):
        DSprites(file)


def test_files_that_are_not_dsprites(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.npz is not there"):
        DSprites(tmp_path / "nowhere.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match=r"broken.npz: expected an archive"):
        DSprites(tmp_path / "broken.npz")
    np.savez(tmp_path / "other.npz", imgs=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"other.npz: expected an archive.*latents_classes"):
        DSprites(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"expected imgs \[N, H, W\] of uint8, 0 or 1, got float64"):
        DSprites(archive(tmp_path / "a.npz", np.zeros((12, 64, 64))))
    with pytest.raises(ValueError, match=r"expected latents_classes \[12, 6\] of integers, got int64 \[12, 5\]"):
        DSprites(archive(tmp_path / "b.npz", classes=np.zeros((12, 5))))
