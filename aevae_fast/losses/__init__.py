"""What a variational autoencoder is trained on: likelihoods, the ELBO and its weights."""

from .bernoulli import BernoulliLikelihood
from .categorical import CategoricalLikelihood
from .discretized_logistic import DiscretizedLogisticLikelihood, DiscretizedLogisticMixtureLikelihood
from .gaussian import GaussianLikelihood
from .likelihood import Likelihood
from .registry import LIKELIHOODS, make_likelihood

__all__ = [
    "LIKELIHOODS",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "DiscretizedLogisticLikelihood",
    "DiscretizedLogisticMixtureLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "make_likelihood",
]
