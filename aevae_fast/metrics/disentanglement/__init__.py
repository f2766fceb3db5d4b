"""Does each code stand for one factor? Measures on plain arrays: codes `[N, D]` and factors `[N, F]`.

Definitions and defaults are those of disentanglement_lib (Locatello et al. 2019, arXiv:1811.12359), which draws afresh
from the data for each measure; here rows of given arrays are drawn.
"""

from .beta_vae import BetaVAEScore, beta_vae_score
from .dci import DCI, dci
from .factor_vae import FactorVAEScore, factor_vae_score
from .mig import MutualInformationGap, mutual_information_gap, mutual_information_gap_posterior
from .modularity import ModularityExplicitness, modularity_explicitness
from .sap import SAP, sap

__all__ = [
    "DCI",
    "SAP",
    "BetaVAEScore",
    "FactorVAEScore",
    "ModularityExplicitness",
    "MutualInformationGap",
    "beta_vae_score",
    "dci",
    "factor_vae_score",
    "modularity_explicitness",
    "mutual_information_gap",
    "mutual_information_gap_posterior",
    "sap",
]
