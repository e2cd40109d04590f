"""The network: derivatives against finite differences and CasADi, Adam and the soft update by hand, save and load."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mlp import MLP, Adam, soft_update


def network(activation="tanh", bounded=False, dtype=np.float64, sizes=(3, 2), width=7, seed=0):
    bounds = {"lower": [-2.0, 0.5], "upper": [1.0, 4.0]} if bounded else {}
    net = MLP(*sizes, np.random.default_rng(seed), width=width, activation=activation, dtype=dtype, **bounds)
    net.theta[:] = np.random.default_rng(seed + 1).normal(0, 0.6, net.theta.size)  # nothing small or zero
    return net


CASES = [(a, b) for a in ("relu", "tanh") for b in (False, True)]


@pytest.mark.parametrize(("activation", "bounded"), CASES)
def test_forward_is_the_formula(activation, bounded):
    net, rng = network(activation, bounded), np.random.default_rng(5)
    f = np.tanh if activation == "tanh" else (lambda z: np.maximum(z, 0))
    x = rng.normal(size=(6, 3))
    (A1, b1), (A2, b2), (A3, b3) = ((W[:-1], W[-1]) for W in (net.W1, net.W2, net.W3))
    expected = f(f(x @ A1 + b1) @ A2 + b2) @ A3 + b3
    if bounded:
        expected = np.array([-0.5, 2.25]) + np.array([1.5, 1.75]) * np.tanh(expected)
    np.testing.assert_allclose(net(x), expected, rtol=1e-13)
    np.testing.assert_allclose(net.forward(x)[0], expected, rtol=1e-13)
    np.testing.assert_array_equal(net.forward(x[:, :1], x[:, 1:])[0], net.forward(x)[0])
    np.testing.assert_allclose(net(x[0]), expected[0], rtol=1e-13)
    np.testing.assert_allclose(net(x.reshape(2, 3, 3)), expected.reshape(2, 3, 2), rtol=1e-13)


@pytest.mark.parametrize(("activation", "bounded"), CASES)
def test_backward_against_finite_differences(activation, bounded):
    net, rng, h = network(activation, bounded), np.random.default_rng(6), 1e-6
    x, dy = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    before = x.copy(), dy.copy()
    gradient, dx = net.backward(net.forward(x)[1], dy)

    def number(x):
        return float((dy * net(x)).sum())

    for i in range(net.theta.size):
        old = net.theta[i]
        net.theta[i] = old + h
        up = number(x)
        net.theta[i] = old - h
        down = number(x)
        net.theta[i] = old
        assert gradient[i] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-7)
    for i in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[i] = h
        assert dx[i] == pytest.approx((number(x + step) - number(x - step)) / (2 * h), rel=1e-6, abs=1e-7)
    np.testing.assert_array_equal(before[0], x)  # inputs are left alone
    np.testing.assert_array_equal(before[1], dy)


@pytest.mark.parametrize(("activation", "bounded"), CASES)
@pytest.mark.parametrize("symbol", [ca.SX, ca.MX])
def test_expression_and_its_derivatives_are_those_of_casadi(activation, bounded, symbol):
    net, rng = network(activation, bounded), np.random.default_rng(7)
    x, theta, dy = symbol.sym("x", 3), symbol.sym("theta", net.theta.size), rng.normal(size=(1, 2))
    y = net.expression(x, theta)
    number = ca.dot(ca.DM(dy.T), y)
    function = ca.Function("f", [x, theta], [y, ca.gradient(number, theta), ca.gradient(number, x)])
    fixed = ca.Function("g", [x], [net.expression(x)])
    for s in rng.normal(size=(4, 1, 3)):
        value, tape = net.forward(s)
        gradient, dx = net.backward(tape, dy)
        for ours, theirs in zip((value, gradient, dx), function(s[0], net.theta)):
            np.testing.assert_allclose(ours.ravel(), np.array(theirs).ravel(), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(np.array(fixed(s[0])).ravel(), value.ravel(), rtol=1e-13)


def test_parts_of_backward_are_the_same_alone():
    net, rng = network(bounded=True), np.random.default_rng(8)
    _, tape = net.forward(rng.normal(size=(4, 3)))
    dy = rng.normal(size=(4, 2))
    gradient, dx = net.backward(tape, dy)
    np.testing.assert_array_equal(net.backward(tape, dy, inputs=False)[0], gradient)
    np.testing.assert_array_equal(net.backward(tape, dy, weights=False)[1], dx)
    assert net.backward(tape, dy, inputs=False)[1] is None and net.backward(tape, dy, weights=False)[0] is None


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_memory_is_used_again_but_never_while_a_tape_needs_it(activation):
    net, rng = network(activation), np.random.default_rng(4)
    batches, dy = [rng.normal(size=(n, 3)) for n in (5, 5, 2, 5)], rng.normal(size=(5, 2))
    alone = [net.copy().backward(net.copy().forward(x)[1], dy[: len(x)]) for x in batches]
    kept = [net.forward(x)[1] for x in batches]  # all alive at once
    for tape, x, expected in zip(kept, batches, alone):
        for ours, theirs in zip(net.backward(tape, dy[: len(x)]), expected):
            np.testing.assert_array_equal(ours, theirs)
    memory = {id(tape.layers) for tape in kept}
    assert len(memory) == 4
    del tape, kept
    again = net.forward(batches[0])[1]
    assert id(again.layers) in memory
    for ours, theirs in zip(net.backward(again, dy), alone[0]):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("activation", "bounded"), CASES)
def test_the_jacobian_against_finite_differences(activation, bounded):
    net, x, h = network(activation, bounded), np.random.default_rng(8).normal(size=(4, 3)), 1e-6
    y, J = net.jacobian(x)
    np.testing.assert_array_equal(y, net.forward(x)[0])
    assert J.shape == (4, 2, 3)
    for j, e in enumerate(np.eye(3) * h):
        np.testing.assert_allclose(J[:, :, j], (net(x + e) - net(x - e)) / (2.0 * h), atol=1e-8)


def test_a_wrong_number_of_inputs_is_named():
    net = network()
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(5, 1\).*\(batch, 3\)"):
        net.forward(np.zeros((5, 3)), np.zeros((5, 1)))
    with pytest.raises(ValueError, match=r"\(5, 2\).*\(batch, 3\)"):
        net.forward(np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"\(3,\).*\(batch, 3\)"):
        net.forward(np.zeros(3))
    assert np.isfinite(net.forward(np.zeros((5, 3)))[0]).all()


def test_single_precision_agrees_with_double():
    double, single = network(bounded=True), network(bounded=True, dtype=np.float32)
    x = np.random.default_rng(9).normal(size=(64, 3))
    assert single(x).dtype == np.float32
    np.testing.assert_allclose(single(x), double(x), rtol=1e-4, atol=1e-5)
    gradients = [net.backward(net.forward(x.astype(net.theta.dtype))[1], np.ones((64, 2), net.theta.dtype))
                 for net in (single, double)]  # fmt: skip
    assert gradients[0][0].dtype == gradients[0][1].dtype == np.float32
    np.testing.assert_allclose(gradients[0][0], gradients[1][0], rtol=1e-3, atol=1e-3)


def test_bounds_are_kept():
    net = network(bounded=True)
    y = net(1e3 * np.random.default_rng(1).normal(size=(500, 3)))
    assert (y >= [-2, 0.5]).all() and (y <= [1, 4]).all() and y.std(0).min() > 0.1


def test_weights_are_views_and_a_copy_is_its_own():
    net = network()
    other, x = net.copy(), np.ones(3)
    y = net(x)
    net.theta[:] = 0
    assert (net.W2 == 0).all() and (net(x) == 0).all()
    np.testing.assert_array_equal(other(x), y)


@pytest.mark.parametrize(("activation", "bounded"), CASES)
def test_save_and_load(tmp_path, activation, bounded):
    for dtype in (np.float32, np.float64):
        net, x = network(activation, bounded, dtype), np.random.default_rng(2).normal(size=(9, 3))
        net.save(tmp_path / "net")
        again = MLP.load(tmp_path / "net")
        np.testing.assert_array_equal(again(x), net(x))
        assert again.theta.dtype == dtype


def test_adam_is_its_definition():
    rng = np.random.default_rng(3)
    theta, adam, mean, square = rng.normal(size=5), Adam(5, 0.02, np.float64), np.zeros(5), np.zeros(5)
    expected = theta.copy()
    for k in range(1, 30):
        g = rng.normal(size=5)
        adam.descend(theta, g)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        expected -= 0.02 * (mean / (1 - 0.9**k)) / (np.sqrt(square / (1 - 0.999**k)) + 1e-8)
        np.testing.assert_allclose(theta, expected, rtol=1e-12)


def test_adam_descends():
    theta, adam = np.array([3.0, -2.0]), Adam(2, 0.05, np.float64)
    for _ in range(1000):
        adam.descend(theta, 2 * theta * [1, 100])
    assert np.abs(theta).max() < 1e-3


def test_soft_update():
    target, theta = np.array([1.0, 2.0]), np.array([3.0, -2.0])
    soft_update(target, theta, 0.25)
    np.testing.assert_allclose(target, [1.5, 1.0])
    np.testing.assert_array_equal(theta, [3.0, -2.0])
    soft_update(target, theta, 1.0)
    np.testing.assert_allclose(target, theta)


def test_it_fits_a_function():
    """Regression by Adam: the parts work together."""
    rng = np.random.default_rng(4)
    net = MLP(1, 1, rng, width=32, activation="tanh")
    adam, x = Adam(net.theta.size, 3e-3), np.linspace(-2, 2, 64, dtype=np.float32)[:, None]
    for _ in range(1500):
        y, tape = net.forward(x)
        adam.descend(net.theta, net.backward(tape, (y - np.sin(2 * x)) / 64, inputs=False)[0])
    assert np.abs(net(x) - np.sin(2 * x)).max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [({"activation": "cos"}, "cos"), ({"lower": -1}, "both bounds"), ({"lower": 1, "upper": 1}, "lower < upper"),
     ({"lower": 0, "upper": np.inf}, "finite")],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(3, 1, np.random.default_rng(0), **options)
