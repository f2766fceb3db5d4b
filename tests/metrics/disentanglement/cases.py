"""Codes of which it is known how disentangled they are."""

import numpy as np


def factors(count=1500, sizes=(4, 4, 4, 4, 4), seed=0):
    generator = np.random.default_rng(seed)
    return np.stack([generator.integers(0, size, count) for size in sizes], 1)


def grid(*sizes):
    """Every combination once, the last changing fastest."""
    return np.indices(sizes).reshape(len(sizes), -1).T


def identity(v):
    return v.astype(np.float64)


def zeros(v):
    return np.zeros(v.shape)


def duplicated(v):
    return np.concatenate([v, v], 1).astype(np.float64)


def permuted(v):
    """The factors of each row in random order: all of it is there, and no code stands for anything."""
    generator = np.random.default_rng(1)
    return generator.permuted(v.astype(np.float64), axis=1)


def rotated(v):
    """Each code is a mixture of all factors."""
    generator = np.random.default_rng(1)
    return v @ np.linalg.qr(generator.normal(size=(v.shape[1],) * 2))[0]
