"""What a variational autoencoder is trained on: likelihoods, the ELBO and its weights, other objectives."""

from .balanced_kl import balanced_kl
from .bernoulli import BernoulliLikelihood
from .beta_tcvae import BetaTCVAEObjective
from .categorical import CategoricalLikelihood
from .dip_vae import DIPVAEObjective, dip_penalties
from .discretized_logistic import DiscretizedLogisticLikelihood, DiscretizedLogisticMixtureLikelihood
from .gaussian import GaussianLikelihood
from .iwae import iwae_bound
from .likelihood import Likelihood
from .mmd import maximum_mean_discrepancy
from .mmd_vae import InfoVAEObjective, WAEObjective
from .objective import Objective, Terms
from .objective_registry import OBJECTIVES, make_objective
from .objectives import beta_vae_loss, bits_per_dim, elbo
from .registry import LIKELIHOODS, make_likelihood
from .schedules import SCHEDULES, CyclicalSchedule, LinearSchedule, Schedule, SigmoidSchedule, make_schedule
from .spectral import multi_resolution_stft_loss
from .total_correlation import TotalCorrelationTerms, total_correlation_terms

__all__ = [
    "LIKELIHOODS",
    "OBJECTIVES",
    "SCHEDULES",
    "BernoulliLikelihood",
    "BetaTCVAEObjective",
    "CategoricalLikelihood",
    "CyclicalSchedule",
    "DIPVAEObjective",
    "DiscretizedLogisticLikelihood",
    "DiscretizedLogisticMixtureLikelihood",
    "GaussianLikelihood",
    "InfoVAEObjective",
    "Likelihood",
    "LinearSchedule",
    "Objective",
    "Schedule",
    "SigmoidSchedule",
    "Terms",
    "TotalCorrelationTerms",
    "WAEObjective",
    "balanced_kl",
    "beta_vae_loss",
    "bits_per_dim",
    "dip_penalties",
    "elbo",
    "iwae_bound",
    "make_likelihood",
    "make_objective",
    "make_schedule",
    "maximum_mean_discrepancy",
    "multi_resolution_stft_loss",
    "total_correlation_terms",
]
