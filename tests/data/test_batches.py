"""Batches: every image once an epoch, an order that depends on seed and step alone."""

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from aevae_fast.data import ImageTensor, TrainingBatches, collate_images, evaluation_batches, spread


def numbered(count):
    return ImageTensor(torch.arange(count).float().div(1000).reshape(count, 1, 1, 1))


def numbers(batch):
    return batch.flatten().mul(1000).round().int().tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**40), st.integers(0, 30))
def test_a_stream_taken_up_at_any_step_goes_on_as_if_never_left(count, batch_size, seed, step):
    batch_size = min(batch_size, count)
    whole = [numbers(batch) for batch in islice(TrainingBatches(numbered(count), batch_size, seed), step + 5)]
    later = TrainingBatches(numbered(count), batch_size, seed)
    later.load_state_dict({"step": step})
    assert [numbers(batch) for batch in islice(later, 5)] == whole[step:]
    assert later.state_dict() == {"step": step + 5}


def test_every_epoch_shows_every_image_once_in_a_new_order():
    batches = TrainingBatches(numbered(12), 4, seed=1)
    assert batches.steps_per_epoch == 3
    epochs = [[number for batch in islice(batches, 3) for number in numbers(batch)] for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] != numbers(next(iter(TrainingBatches(numbered(12), 12, seed=2))))


def test_the_global_random_generator_is_left_alone():
    before = torch.get_rng_state()
    next(iter(TrainingBatches(numbered(12), 4)))
    next(iter(evaluation_batches(numbered(12), 4)))
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_are_left_out():
    labelled = TensorDataset(torch.rand(5, 1, 2, 2), torch.arange(5))
    assert next(iter(TrainingBatches(labelled, 3))).shape == (3, 1, 2, 2)
    assert [len(batch) for batch in evaluation_batches(labelled, 3)] == [3, 2]
    assert len(spread(labelled, 2)) == 2


def test_spread_reaches_over_the_whole_set():
    chosen = spread(numbered(100), 4)
    assert [numbers(chosen[number]) for number in range(4)] == [[0], [25], [50], [75]]
    assert len(spread(numbered(3), 10)) == 3


def test_bytes_become_fractions():
    images = ImageTensor(torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8))
    torch.testing.assert_close(images[0], torch.tensor([[[0.0, 1.0, 0.2]]]))


def test_errors_name_what_came():
    with pytest.raises(ValueError, match=r"batch_size: expected 1 to 5.*got 6"):
        TrainingBatches(numbered(5), 6)
    with pytest.raises(ValueError, match="empty data set"):
        TrainingBatches([], 1)
    with pytest.raises(ValueError, match="empty data set"):
        evaluation_batches([], 1)
    with pytest.raises(ValueError, match=r"images: .*non-empty.*\[0, 1, 2, 2\]"):
        ImageTensor(torch.zeros(0, 1, 2, 2))
    with pytest.raises(ValueError, match=r"images: .*\[0, 1\], got \[-1, 2\]"):
        ImageTensor(torch.tensor([-1.0, 2.0]).reshape(2, 1, 1, 1))
    with pytest.raises(ValueError, match=r"one shape.*\(1, 2, 2\), \(1, 3, 3\)"):
        collate_images([torch.rand(1, 2, 2), torch.rand(1, 3, 3)])
    with pytest.raises(TypeError, match=r"tensors.*got str"):
        collate_images(["picture"])
    with pytest.raises(ValueError, match=r"\[C, H, W\].*\[28, 28\]"):
        collate_images([torch.rand(28, 28)])
