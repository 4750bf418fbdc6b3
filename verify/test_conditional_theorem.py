"""The conditional form of Theorem 1, against integrals of densities and other arguments."""

import numpy as np
import scipy.integrate
import scipy.stats
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import verify

PREFIXES = ("conditional-",)


def divergence(mean, other):
    """The Jensen-Shannon divergence of two normal densities of variance 1, by quadrature."""
    p, q = scipy.stats.norm(mean), scipy.stats.norm(other)

    def half(one):
        def integrand(x):
            return one.pdf(x) * (one.logpdf(x) - np.logaddexp(p.logpdf(x), q.logpdf(x)))

        return scipy.integrate.quad(integrand, -14, 14, points=[mean, other], epsabs=1e-12)[0]

    return np.log(2) + (half(p) + half(q)) / 2


def test_a_generator_that_ignores_c_by_quadrature():
    """c is 0 or 1 and x ~ N(±2, 1); G draws from N(m, 1) whatever c is."""
    cells = np.linspace(-12, 12, 4001)
    width = cells[1] - cells[0]

    def normalised(mean):
        mass = scipy.stats.norm.pdf(cells, mean)
        return mass / mass.sum() / width

    for share, mean in ((0.5, 0.0), (0.5, 2.0), (0.2, 1.0)):
        of_c = np.array([1 - share, share])
        data = of_c[:, None] * np.stack([normalised(-2), normalised(2)])
        model = of_c[:, None] * np.stack([normalised(mean)] * 2)
        by_hand = sum(p * divergence(c, mean) for p, c in zip(of_c, (-2, 2), strict=True))
        found = verify.virtual_criterion(data, model, cell_volume=width)
        np.testing.assert_allclose(found, -np.log(4) + 2 * by_hand, atol=1e-8)
        # Where only the labels are wrong the marginals agree, so a D without c would see nothing.
        assert verify.virtual_criterion(data, data[::-1], cell_volume=width) > found


def test_without_c_labels_may_be_shuffled_unseen():
    rng = np.random.default_rng(0)
    data = rng.dirichlet(np.ones(12)).reshape(3, 4)
    shuffled = data.sum(axis=1, keepdims=True) * data.sum(axis=0) / data.sum()
    assert verify.suboptimality(data.sum(axis=0), shuffled.sum(axis=0)) < 1e-25
    assert verify.suboptimality(data, shuffled) > 0.01
