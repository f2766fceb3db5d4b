"""What a variational autoencoder is trained on: likelihoods, the ELBO and its weights."""

from .balanced_kl import balanced_kl
from .bernoulli import BernoulliLikelihood
from .categorical import CategoricalLikelihood
from .discretized_logistic import DiscretizedLogisticLikelihood, DiscretizedLogisticMixtureLikelihood
from .gaussian import GaussianLikelihood
from .likelihood import Likelihood
from .objective import Objective, Terms
from .objective_registry import OBJECTIVES, make_objective
from .objectives import beta_vae_loss, bits_per_dim, elbo
from .registry import LIKELIHOODS, make_likelihood
from .schedules import SCHEDULES, CyclicalSchedule, LinearSchedule, Schedule, SigmoidSchedule, make_schedule

__all__ = [
    "LIKELIHOODS",
    "OBJECTIVES",
    "SCHEDULES",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "CyclicalSchedule",
    "DiscretizedLogisticLikelihood",
    "DiscretizedLogisticMixtureLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "LinearSchedule",
    "Objective",
    "Schedule",
    "SigmoidSchedule",
    "Terms",
    "balanced_kl",
    "beta_vae_loss",
    "bits_per_dim",
    "elbo",
    "make_likelihood",
    "make_objective",
    "make_schedule",
]
