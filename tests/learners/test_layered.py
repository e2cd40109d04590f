"""The MPC as a layer: the same MPC as ever, one gradient through network, QP and critic, the constant twin, gusts."""

import numpy as np
import pytest

from mpcrl_course import places
from mpcrl_course.closed_loop import run
from mpcrl_course.envs import GustyParameters, LinearPlant, linear
from mpcrl_course.learners.layered import LayeredActor, LayerLearning, blind, scaled
from mpcrl_course.problems.linear import layer_mpc, linear_mpc

LAYER, PLAIN = layer_mpc(), linear_mpc()
THETA, LIMIT = LAYER.parameters.initial(), np.full(3, 0.3)
OF_PHI = [1, 5, 6]  # x_lb1, b_1 and b_2 in theta


def actor(seed=0, **options):
    rng = np.random.default_rng(seed)
    return LayeredActor(LAYER, THETA, 2, -LIMIT, LIMIT, rng, dtype=np.float64, width=4, **options)


def batch_of(n=12, seed=3):
    rng = np.random.default_rng(seed)
    return rng.uniform([-0.1, -0.6], [0.6, 0.5], (n, 2)), rng.uniform(-0.3, 0.3, (n, 3))


def test_phi_in_the_state_is_phi_in_theta():
    s, phi = batch_of(60)
    agent, differ = actor(), 0
    u, slope = agent.slopes(s, phi)
    np.testing.assert_allclose(agent.actions(s, phi), u, atol=1e-7)
    for i in range(60):
        theta = THETA.copy()
        theta[OF_PHI] += phi[i]
        plan = PLAIN.policy(theta, s[i])
        np.testing.assert_allclose(u[i], plan.u0, atol=1e-7)
        assert LAYER.V(THETA, np.r_[s[i], phi[i]]).value == pytest.approx(plan.value, abs=1e-7)
        if plan.strict:
            np.testing.assert_allclose(slope[i], plan.policy_jacobian()[:, OF_PHI], atol=1e-6)
            differ += bool(np.abs(slope[i]).max() > 0.1)
    assert differ > 20


def test_the_actor_s_gradient_is_that_of_the_mean_of_q():
    """Differences through everything: of the mean of Q(s, pi(s; phi_w(s))) along random directions of w."""
    for through in (True, False):
        agent, (s, _) = actor(1, through=through), batch_of(30)

        def mean(agent=agent, s=s):
            phi = agent.phi(s)
            a = agent.actions(s, phi) if agent.through else phi
            return float(agent.critic(np.hstack([scaled(s), a])).mean())

        gradient, idle = agent.actor_gradient(s)
        assert (idle > 0.0) == through or idle == 0.0
        rng, h, own = np.random.default_rng(2), 1e-6, agent.actor.theta.copy()
        for _ in range(5):
            e = rng.standard_normal(own.size)
            values = []
            for sign in (1.0, -1.0):
                agent.actor.theta[:] = own + sign * h * e
                values.append(mean())
            agent.actor.theta[:] = own
            assert gradient @ e == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-3, abs=1e-7)


def test_the_critic_s_step_by_hand():
    """A target with the slow copies, cut off at a TD error of one, and nothing after a terminal state."""
    agent, (s, _), rng = actor(2), batch_of(6), np.random.default_rng(0)
    ahead, a = s + 0.05, rng.uniform(-1, 1, (6, 1))
    cost, terminated = rng.uniform(0, 3, (6, 1)), np.array([[0.0], [1.0]] * 3)
    q = lambda network, s, a: network(np.hstack([scaled(s), a]))  # noqa: E731
    after = agent.actions(ahead, agent.target_actor(scaled(ahead)))
    y = cost + 0.9 * (1.0 - terminated) * q(agent.target_critic, ahead, after)
    own, h, expected = agent.critic.theta.copy(), 1e-6, []

    def huber():
        td = np.abs(y - q(agent.critic, s, a))
        return np.where(td < 1.0, 0.5 * td**2, td - 0.5).mean()

    for i in range(0, own.size, 97):
        values = []
        for sign in (1.0, -1.0):
            agent.critic.theta[:] = own
            agent.critic.theta[i] += sign * h
            values.append(huber())
        expected.append((values[0] - values[1]) / (2 * h))
    agent.critic.theta[:] = own
    seen = {}
    agent.critic_adam.descend = lambda theta, gradient: seen.update(gradient=gradient)
    columns = {"s": s, "a": a, "cost": cost, "s_next": ahead, "terminated": terminated}
    td = agent.update_critic(type("Batch", (), columns))
    np.testing.assert_allclose(seen["gradient"][::97], expected, atol=1e-7)
    assert td == pytest.approx(np.abs(y - q(agent.critic, s, a)).mean())


def test_the_constant_twin_has_one_phi():
    agent, (s, _) = actor(4, sees=blind), batch_of()
    phi = agent.phi(s)
    np.testing.assert_array_equal(phi, np.tile(phi[0], (len(s), 1)))
    agent.actor_adam.rate = 0.1
    agent.actor_adam.descend(agent.actor.theta, agent.actor_gradient(s)[0])
    moved = agent.phi(s)
    assert (moved != phi).all() and (moved == moved[0]).all()


def test_a_layer_learns():
    """From 94 to below 15 in 1200 steps of one seed; the learned seeds of a lecture are longer."""
    plant, noise = linear.NOMINAL, linear.NOMINAL.draw(5, 20, 100)
    learner = LayerLearning(LAYER, LinearPlant(steps=100), np.random.default_rng(0), -LIMIT, LIMIT)
    starts = np.tile(linear.START, (20, 1))
    first = run(lambda y: learner.agent.actions(y, np.zeros((20, 3))), plant, starts, noise).cost.sum(axis=0).mean()
    learner.run(1200, progress=False)
    last = run(learner.agent.policy, plant, starts, noise).cost.sum(axis=0).mean()
    assert first > 85.0 and last < 15.0


def test_gusts_by_hand():
    plant = GustyParameters()
    x, u = np.array([[0.3, 0.1, 0.0], [0.3, 0.1, 1.0]]), np.array([[0.2], [0.2]])
    calm = linear.dynamics(x[0, :2], u[0])
    ahead, cost, _ = plant.step(x, u, linear.GustNoise(np.array([0.5, 0.5]), np.array([0.5, 0.01])))
    np.testing.assert_allclose(ahead, [[*calm, 0.0], [calm[0] - 0.1, calm[1], 0.0]])
    np.testing.assert_allclose(cost, linear.stage_cost(x[:, :2], u))
    share = (
        run(lambda y: 0.0 * y[:, :1], plant, np.tile([0.0, 0.0, 0.0], (400, 1)), plant.draw(0, 400, 60))
        .x[-1, :, 2]
        .mean()
    )
    assert share == pytest.approx(0.5, abs=0.08)
    with pytest.raises(ValueError, match="widths are two"):
        GustyParameters(widths=(0.1,))


def test_shipped_layers_are_what_they_are_said_to_cost():
    """Of data/make_07.py: the last actor of a seed with a phi of s, and of one without."""
    plant, noise, starts = linear.NOMINAL, linear.NOMINAL.draw(5, 40, 100), np.tile(linear.START, (40, 1))
    with places.data("learned_07.npz") as file:
        for name, sees in (("layer", scaled), ("constant", blind)):
            agent = LayeredActor(LAYER, THETA, 2, -LIMIT, LIMIT, np.random.default_rng(0), sees=sees)
            agent.target_actor.theta[:] = file[f"{name} learned"][0]
            cost = run(agent.policy, plant, starts, noise).cost.sum(axis=0).mean()
            assert cost == pytest.approx(file[f"{name} cost"][0, -1], rel=1e-3)
        one, per_z = file["gusts one cost"], file["gusts per z cost"]
        medians = {name: np.median(file[f"{name} cost"][:, -1]) for name in ("layer", "constant", "phi as action")}
    # on this plant phi(s) has nothing to gain from a constant one, and the gradient through the MPC something
    assert abs(medians["layer"] - medians["constant"]) < 1.0 and medians["layer"] < medians["phi as action"]
    assert per_z.max() < one.min()  # in gusts that are seen there is: by search
