"""The paper's caveat to Proposition 2: critical points in a generator's parameters."""

import numpy as np
import scipy.optimize
import scipy.stats
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

import advnets.verify.claims.section_4_2_caveat as caveat
from advnets.verify import CLAIMS, run_claim, virtual_criterion

PREFIXES = ("caveat-",)


def test_the_closed_derivative_is_that_of_the_criterion():
    volume = caveat.GRID.cell_volume
    p_data = caveat.GRID.normalised(caveat.network_density(np.array(caveat.BEST)))

    def criterion(theta):
        p_g = caveat.GRID.normalised(caveat.network_density(theta))
        return virtual_criterion(p_data, p_g, volume)

    theta = np.array([1.1, -0.6])
    p_g = caveat.GRID.normalised(caveat.network_density(theta))
    exact = caveat.derivative_along(p_data, p_g, caveat.network_moves(theta))
    numerical = scipy.optimize.approx_fprime(theta, criterion, 1e-6)
    np.testing.assert_allclose(exact, numerical, rtol=1e-4)


def test_a_minimiser_without_derivatives_finds_the_local_minimum_too():
    x = np.linspace(-7, 7, 1401)
    shares = np.array([0.7, 0.3])

    def density(places):
        p = shares @ scipy.stats.norm.pdf(x, np.asarray(places)[:, None], caveat.WIDTH)
        return p / p.sum()

    p_data = density([-caveat.APART, caveat.APART])
    found = scipy.optimize.minimize(
        lambda places: virtual_criterion(p_data, density(places)),
        [caveat.APART + 0.3, -caveat.APART - 0.3],
        method="Nelder-Mead",
    )
    worst = run_claim(CLAIMS["caveat-local-minimum"]).finding.worst
    np.testing.assert_allclose(found.x, worst["places"], atol=1e-3)
    assert found.fun + np.log(4) > 0.1
