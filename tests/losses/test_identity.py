"""log p(x) - KL(q ‖ p(z | x)) = ELBO where all three are known: x = W·z + b + noise, everything Gaussian."""

import torch
from torch.distributions import MultivariateNormal, kl_divergence

from aevae_fast import FullCovarianceGaussianLatent
from aevae_fast.losses import GaussianLikelihood, elbo

D, X, SIGMA = 3, 5, 0.7


def test_the_elbo_misses_the_likelihood_by_the_divergence_from_the_true_posterior() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        weight, bias, x = torch.randn(X, D), torch.randn(X), torch.randn(4, X)
        noise = SIGMA**2 * torch.eye(X)
        evidence = MultivariateNormal(bias, weight @ weight.T + noise).log_prob(x)
        covariance = torch.linalg.inv(torch.eye(D) + weight.T @ weight / SIGMA**2)
        mean = (x - bias) @ weight @ covariance / SIGMA**2
        entries = torch.linalg.cholesky(covariance)
        row, column = torch.tril_indices(D, D, -1)
        exact = torch.cat([entries.diagonal().log(), entries[row, column]]).expand(4, -1)
        for name, spread in (("the true posterior", 0.0), ("another", 0.5)):
            q_mean, cholesky = mean + spread * torch.randn(4, D), exact + spread * torch.randn(exact.shape)
            _, kl = FullCovarianceGaussianLatent(reduction="latent").eval()(q_mean, cholesky)
            lower = torch.diag_embed(cholesky[:, :D].exp())
            lower[:, row, column] = cholesky[:, D:]
            # Under q the expected squared error is that of the mean, and the trace of q's covariance seen through W.
            at_mean = GaussianLikelihood(SIGMA).log_prob(q_mean @ weight.T + bias, x)
            expected = at_mean - (weight @ lower).square().sum((1, 2)) / (2 * SIGMA**2)
            posterior = MultivariateNormal(mean, covariance)
            gap = kl_divergence(MultivariateNormal(q_mean, scale_tril=lower), posterior)
            torch.testing.assert_close(elbo(expected, kl), evidence - gap, rtol=1e-10, atol=1e-10, msg=name)
            assert (gap.abs() < 1e-9).all() if spread == 0 else (gap > 0.01).all()
    finally:
        torch.set_default_dtype(torch.float32)
