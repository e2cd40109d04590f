"""Average consensus: matrices, their rate, the mean, lost messages."""

import numpy as np
import pytest

from mpcrl_course.network import average, laplacian, line, mixing_matrix, rate, ring, star

GRAPHS = {"line": line, "ring": ring, "star": star}
RNG = np.random.default_rng(0)


def test_published_line_of_three():
    """P = I - Laplacian / 4: eigenvalues 1, 3/4, 1/4."""
    P = mixing_matrix(3, line(3), 0.25)
    np.testing.assert_array_equal(P, [[0.75, 0.25, 0], [0.25, 0.5, 0.25], [0, 0.25, 0.75]])
    assert rate(P) == pytest.approx(0.75, abs=1e-14)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_rates_in_closed_form(n):
    """Of I - step * Laplacian, from the Laplacian's known eigenvalues; Metropolis weights on a ring are step 1/3."""
    k = np.arange(1, n)
    known = {"line": 2 - 2 * np.cos(np.pi * k / n), "ring": 2 - 2 * np.cos(2 * np.pi * k / n), "star": [1.0, n]}
    for name, eigenvalues in known.items():
        step = 1 / laplacian(n, GRAPHS[name](n)).max()
        P = mixing_matrix(n, GRAPHS[name](n), 0.6 * step)
        assert rate(P) == pytest.approx(np.abs(1 - 0.6 * step * np.array(eigenvalues)).max(), abs=1e-13)
    np.testing.assert_allclose(mixing_matrix(n, ring(n)), mixing_matrix(n, ring(n), 1 / 3), atol=1e-15)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("n", [3, 5, 10])
def test_metropolis_weights_average_at_their_rate(name, n):
    edges = GRAPHS[name](n)
    P = mixing_matrix(n, edges)
    assert (P >= 0).all() and np.abs(P.sum(0) - 1).max() < 1e-15
    assert (P[np.ix_(range(n), range(n))] > 0).sum() <= 2 * len(edges) + n
    values = RNG.standard_normal((n, 2, 3))
    start = np.linalg.norm((values - values.mean(0)).reshape(n, -1))
    for rounds in (0, 1, 7, 40):
        estimates, messages = average(P, values, rounds)
        np.testing.assert_allclose(estimates.mean(0), values.mean(0), atol=1e-13)
        assert np.linalg.norm((estimates - values.mean(0)).reshape(n, -1)) <= rate(P) ** rounds * start + 1e-13
        assert messages == rounds * 2 * len(edges)
    # and it is attained: an eigenvector of the second eigenvalue shrinks by exactly the rate
    eigenvalues, E = np.linalg.eigh(P)
    second = E[:, np.argsort(np.abs(eigenvalues))[-2]]
    np.testing.assert_allclose(np.abs(average(P, second, 20).estimates), rate(P) ** 20 * np.abs(second), atol=1e-13)


def test_a_hundred_rounds_on_the_line_are_exact():
    values = np.array([[1.0], [5.0], [-2.0]])
    estimates = average(mixing_matrix(3, line(3), 0.25), values, 100).estimates
    np.testing.assert_allclose(estimates, 4 / 3, atol=1e-11)
    assert 0.75**100 * np.abs(values - 4 / 3).max() < 1e-11


def test_messages_lost_both_ways_only_slow_consensus_down():
    P, values = mixing_matrix(5, ring(5)), RNG.standard_normal((5, 4))
    lost = [(t, i, j) for t in range(6) for i, j in ((1, 2), (2, 1), (4, 0), (0, 4)) if (t + i * j) % 3]
    assert len(lost) == 16
    whole, some = average(P, values, 12), average(P, values, 12, lost)
    np.testing.assert_allclose(some.estimates.mean(0), values.mean(0), atol=1e-14)
    assert some.messages == whole.messages - len(lost)
    error = [np.abs(estimates - values.mean(0)).max() for estimates in (whole.estimates, some.estimates)]
    assert error[1] > 1.5 * error[0]
    np.testing.assert_allclose(average(P, values, 200, lost).estimates, values.mean(0) * np.ones((5, 1)), atol=1e-12)


def test_a_message_lost_one_way_moves_the_mean_by_a_known_amount():
    P, values = mixing_matrix(3, line(3), 0.25), np.array([1.0, 5.0, -2.0])
    before = average(P, values, 4).estimates
    moved = average(P, values, 200, [(4, 0, 1)]).estimates  # agent 1 does not hear agent 0 in round 4
    expected = values.mean() + P[1, 0] * (before[1] - before[0]) / 3
    np.testing.assert_allclose(moved, expected, atol=1e-13)
    assert abs(expected - values.mean()) > 1e-2


@pytest.mark.parametrize(("n", "edges", "step"), [(2, line(2), 1.0), (4, ring(4), 0.5), (10, ring(10), 0.5)])
def test_camps_that_exchange_their_values_are_refused(n, edges, step):
    """Two agents and even rings at the largest step: I - step * Laplacian has the eigenvalue -1, and never averages."""
    P, camps = np.eye(n) - step * laplacian(n, edges), (-1.0) ** np.arange(n)
    np.testing.assert_allclose(average(P, camps, 7).estimates, -camps, atol=1e-15)
    with pytest.raises(ValueError, match="exchange their values for ever"):
        mixing_matrix(n, edges, step)
    values = RNG.standard_normal(n)
    for damped in (mixing_matrix(n, edges, 0.9 * step), mixing_matrix(n, edges)):
        assert rate(damped) < 1.0
        np.testing.assert_allclose(average(damped, values, 2000).estimates, values.mean(), atol=1e-12)


def test_the_largest_step_will_do_where_there_are_no_such_camps():
    """An odd ring, a longer line, a star: not two camps, or not equally many neighbours."""
    for n, edges in ((5, ring(5)), (4, line(4)), (4, star(4))):
        assert rate(mixing_matrix(n, edges, 1.0 / laplacian(n, edges).max())) < 1.0


def test_what_is_no_consensus():
    for step in (0.0, -0.1, 0.51, np.nan):
        with pytest.raises(ValueError, match=r"step must (lie in \(0, 1 / 2\]|be a finite number)"):
            mixing_matrix(3, line(3), step)
    with pytest.raises(ValueError, match="disconnected"):
        mixing_matrix(3, [(0, 1)])
    P = mixing_matrix(3, line(3))
    for wrong in ([[0.5, 0.5], [0.4, 0.6]], [[1.5, -0.5], [-0.5, 1.5]], 0.5 * np.eye(2)):
        with pytest.raises(ValueError, match="symmetric, has no negative entry"):
            average(wrong, np.zeros(2), 3)
    with pytest.raises(ValueError, match=r"square, but this has shape \(2, 3\)"):
        rate(P[:2])
    with pytest.raises(ValueError, match=r"shape \(2, 4\), but there are 3 agents"):
        average(P, np.zeros((2, 4)), 3)
    with pytest.raises(ValueError, match="values of agent 2 are not finite"):
        average(P, [0.0, np.nan, 1.0], 3)
    with pytest.raises(ValueError, match="no message goes from agent 0 to agent 2"):
        average(P, np.zeros(3), 3, [(1, 0, 2)])
