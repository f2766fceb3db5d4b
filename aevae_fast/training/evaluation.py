"""Measuring a model over a data set."""

from torch import nn

from aevae_fast.data import ImageDataset

from .families import Evaluation, family_of


def evaluate(model: nn.Module, dataset: ImageDataset, batch_size: int = 256) -> Evaluation:
    """Send every image through the model and back, and measure what the model's family measures.

    Args:
        model: a model of `aevae_fast.models`, or one with its methods.
        dataset: images; moved to the model's device batch by batch.
        batch_size: images at a time.

    Raises:
        TypeError: the model is of no known family.
        ValueError: an empty data set, or images that do not fit the model.
        ArithmeticError: the model's weights or the images are so that what comes out is NaN or infinite.
    """
    return family_of(model).evaluate(model, dataset, batch_size)
