"""Section 5: the variance of the Parzen estimate, and its bias in high dimension."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets.verify.claims import parzen_estimate

PREFIXES = ("parzen-",)


@pytest.mark.parametrize("power", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [0.4, 1.0])
def test_the_moments_of_a_window_are_integrals(power, width):
    points = np.array([[0.3], [-1.2]])

    def moment(x):
        def integrand(s):
            return scipy.stats.norm.pdf(s) * scipy.stats.norm.pdf(x, s, width) ** power

        return scipy.integrate.quad(integrand, -10, 10, epsabs=1e-12)[0]

    one = [moment(x) for (x,) in points]
    assert parzen_estimate.window_moment(points, np.array([width]), power)[0] == pytest.approx(one)
    # In two dimensions windows and density are products.
    (both,) = parzen_estimate.window_moment(points.T, np.array([width]), power)
    assert both == pytest.approx(np.prod(one, keepdims=True))


def test_bias_grows_and_is_pictured():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    parzen_estimate.parzen_dimension.check(0).draw(figure)
    (axes,) = figure.axes
    assert (np.diff(axes.lines[0].get_ydata()) > 0).all()
