"""What every policy must do as a controller of n plants at once; what is its own has a file of its own."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import rowwise, run
from mpcrl_course.envs.cartpole import CartPoleParameters
from mpcrl_course.envs.home import HomeParameters
from mpcrl_course.envs.linear import LinearParameters
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.envs.pendulum import NOMINAL, PendulumParameters, dynamics, observation, stage_cost
from mpcrl_course.envs.race import CAR
from mpcrl_course.learners.latent import LatentModel
from mpcrl_course.network import ADMM
from mpcrl_course.policies.active_set import PredictedSet
from mpcrl_course.policies.communication import Alone
from mpcrl_course.policies.filters import Filter, barrier_filter, predictive_filter
from mpcrl_course.policies.hierarchical import Hierarchical, gate
from mpcrl_course.policies.horizon import VaryingHorizon
from mpcrl_course.policies.house import Programmed, Switched, Thermostat, by_tariff, proportional
from mpcrl_course.policies.identifying import IdentifyingPolicy
from mpcrl_course.policies.integrated import feature_mlp, integrated_mpc
from mpcrl_course.policies.network_scenario import NetworkScenarios, additive
from mpcrl_course.policies.observer import AngleOnly
from mpcrl_course.policies.on_demand import OnDemand, departed
from mpcrl_course.policies.parallel import BlendedValue, Parallel
from mpcrl_course.policies.race_filter import RaceSafety, race_barrier
from mpcrl_course.policies.receding import Receding
from mpcrl_course.policies.reference_generator import ReferenceGenerator, tracker
from mpcrl_course.policies.safe_set import Clip
from mpcrl_course.policies.sampling import MPPI
from mpcrl_course.policies.scenario import mass_scenarios, push_scenarios
from mpcrl_course.problems.cartpole import cartpole_mpc
from mpcrl_course.problems.home_program import HomeProgram
from mpcrl_course.problems.linear import linear_mpc
from mpcrl_course.problems.network import network_mpc
from mpcrl_course.problems.pendulum import pendulum_mpc
from mpcrl_course.problems.race import race_mpc

LINEAR, NETWORK, NET = LinearParameters(), LinearNetwork().parameters, network_mpc()
BOUNDED = np.eye(30)[0]  # of ten inputs and twenty rows, u_0 on its upper bound
LATE = PendulumParameters(delay=2, process_noise=0.2, measurement_noise=0.01)


def swing(x):
    return 2.0 * np.tanh(-12.0 * np.sin(x[..., :1]) - 2.0 * x[..., 1:2])


def swerve(x):
    return np.stack([4.0 - 0.2 * x[:, 3], 0.35 * np.sin(3.0 * x[:, 0])], axis=-1)


def latent_sampling():
    m = LatentModel(3, [-2.0], [2.0], np.random.default_rng(0), width=8, dtype=np.float64)
    return MPPI(m.dynamics, m.cost, -2.0, 2.0, horizon=4, encode=lambda x: m.encode(observation(x)),
                prior=m.policy, terminal=m.value, gamma=m.gamma)  # fmt: skip


def network_scenarios():
    enter = np.kron(np.eye(3), [[1.0], [0.0]])
    plan = NetworkScenarios(NET, additive(enter), [[-0.1] * 3, [0.0] * 3])
    return rowwise(lambda s: plan.policy(NET.parameters.initial(), s))


#: By name: what makes it, and the plant on which it is tried.
POLICIES = {
    "linear MPC": (lambda: Receding(linear_mpc()), LINEAR),
    "pendulum MPC": (lambda: Receding(pendulum_mpc(horizon=20)), NOMINAL),
    "pendulum MPC, late": (lambda: Receding(pendulum_mpc(horizon=20), delay=2), LATE),
    "integrated": (
        lambda: Receding(integrated_mpc(feature_mlp(np.random.default_rng(0), width=4), horizon=8)),
        CartPoleParameters(),
    ),
    "parallel": (
        lambda: Parallel(Receding(cartpole_mpc(horizon=8)), lambda y, u: np.tanh(y[:, 2:3] - u), 0.5),
        CartPoleParameters(),
    ),
    "blended value": (
        lambda: BlendedValue(linear_mpc(5), lambda s, a: np.abs(a[:, 0] - s[:, 1]), [[-0.1], [0.1]]),
        LINEAR,
    ),
    "hierarchical": (lambda: Hierarchical(cartpole_mpc(horizon=8), gate()), CartPoleParameters()),
    "on demand": (lambda: OnDemand(pendulum_mpc(horizon=20), departed(0.05, [1.0, 2.0])), LATE),
    "varying horizon": (
        lambda: VaryingHorizon([pendulum_mpc(horizon=N) for N in (5, 20)], lambda s, plan: int(s[1] > 0.0), delay=2),
        LATE,
    ),
    "predicted set": (lambda: PredictedSet(linear_mpc(), lambda s: np.where(s[1] > 0.0, BOUNDED, 0)), LINEAR),
    "sampling": (lambda: MPPI(dynamics, stage_cost, -2.0, 2.0, horizon=5, prior=swing), NOMINAL),
    "sampling in a latent space": (latent_sampling, NOMINAL),
    "network MPC": (lambda: Receding(ADMM(NET, iterations=20)), NETWORK),
    "network scenarios": (network_scenarios, NETWORK),
    "agents alone": (lambda: Alone(NETWORK), NETWORK),
    "one number a link": (lambda: Alone(NETWORK, told=True), NETWORK),
    "mass scenarios": (lambda: mass_scenarios((0.8, 1.2), horizon=20), NOMINAL),
    "barrier filter": (lambda: barrier_filter(swing, 6.0), NOMINAL),
    "predictive filter": (lambda: predictive_filter(Receding(pendulum_mpc(horizon=20)), 6.0), NOMINAL),
    "reference generator": (lambda: ReferenceGenerator(race_mpc(horizon=15), every=3, tracker=tracker()), CAR),
    "clip": (lambda: Filter(Receding(linear_mpc()), Clip()), LINEAR),
    "race filter": (lambda: Filter(swerve, RaceSafety()), CAR),
    "race barrier": (lambda: race_barrier(swerve), CAR),
    "observer": (lambda: AngleOnly(swing), LATE),
    "observer of an MPC": (lambda: AngleOnly(Receding(pendulum_mpc(horizon=20))), NOMINAL),
    "differences": (lambda: AngleOnly(swing, None), LATE),
    "thermostat": (Thermostat, HomeParameters()),
    "proportional": (proportional, HomeParameters()),
    "by tariff": (by_tariff, HomeParameters()),
    "house by a program": (lambda: Programmed(HomeProgram(horizon=8, decided=3, run_time=2), 2), HomeParameters()),
    "house, switched": (lambda: Switched(by_tariff(), run_time=3), HomeParameters()),
    "push scenarios": (push_scenarios, LINEAR),
    "identifying": (lambda: IdentifyingPolicy(lambda s: 2.0 * swing(s[:, 1:]) * s[:, 3:]), NOMINAL),
}
every = pytest.mark.parametrize(("make", "plant"), POLICIES.values(), ids=POLICIES)


def starts(plant, n=3):
    return np.random.default_rng(1).uniform(-0.3, 0.3, (n, plant.n_states))


@every
def test_inputs_are_a_row_a_plant_and_what_is_measured_stays_as_it_was(make, plant):
    policy, y = make(), starts(plant)
    kept, u = y.copy(), policy(y)
    assert isinstance(u, np.ndarray) and u.shape == (3, plant.n_inputs) and np.isfinite(u).all()
    np.testing.assert_array_equal(y, kept)
    if hasattr(policy, "status"):
        assert len(policy.status) == 3 and all(isinstance(word, str) for word in policy.status)
    for other in (1, 4):  # plants may be more or fewer than last time
        assert policy(starts(plant, other)).shape == (other, plant.n_inputs)


@every
def test_a_reset_forgets_all_and_each_plant_has_a_memory_of_its_own(make, plant):
    policy, x, noise = make(), starts(plant), plant.draw(2, 3, 7)  # odd: what alternates is seen
    together = run(policy, plant, x, noise)
    again = run(policy, plant, x, noise)  # `run` resets
    np.testing.assert_array_equal(together.u, again.u)
    for i in range(3):
        alone = run(policy, plant, x[i : i + 1], noise._make(part[:, i : i + 1] for part in noise))
        np.testing.assert_allclose(alone.u[:, 0], together.u[:, i], atol=1e-9)


@every
def test_what_is_measured_must_be_finite_and_have_its_shape(make, plant):
    spoilt = starts(plant)
    spoilt[1, 0] = np.nan
    for y in (spoilt, np.zeros((2, 3, plant.n_states)), np.zeros((3, plant.n_states + 7))):
        with pytest.raises(ValueError, match="finite|shape"):
            make()(y)


def test_what_is_said_of_decisions_comes_through_from_the_controller_behind():
    plan = Receding(pendulum_mpc(horizon=20))
    for around in (AngleOnly(plan), predictive_filter(plan, 6.0), AngleOnly(barrier_filter(plan, 6.0))):
        around(starts(NOMINAL))
        assert around.status == plan.status and len(plan.status) == 3 and all(plan.status)
        assert not hasattr(type(around)(swing, NOMINAL if isinstance(around, AngleOnly) else swing), "status")


def test_a_network_says_nothing_of_its_iterations_and_predicts_no_delay():
    policy = Receding(ADMM(NET, iterations=1))
    policy(starts(NETWORK))
    assert policy.status == ["", "", ""]
    for mpc, delay in ((ADMM(NET), 1), (linear_mpc(), -1), (linear_mpc(), 0.5)):
        with pytest.raises(ValueError, match="delay"):
            Receding(mpc, delay=delay)


def test_a_delay_of_any_length_is_predicted():
    """A loop that is late by 60 steps is the loop without delay, 60 free steps later."""
    mpc, late, x = pendulum_mpc(horizon=20), PendulumParameters(delay=60), np.array([[0.02, 0.0]])
    found = run(Receding(mpc, delay=60), late, x, late.draw(0, 1, 130))
    later = run(Receding(mpc), NOMINAL, found.x[60], NOMINAL.draw(0, 1, 70))
    np.testing.assert_allclose(found.u[60:], later.u, atol=1e-6)
