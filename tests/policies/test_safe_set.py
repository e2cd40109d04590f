"""The robust invariant set of the linear plant: its rows, a grid that knows nothing of them, what its filter keeps."""

import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.envs.around import Filtered
from mpcrl_course.envs.linear import LOWER, START, UPPER, A, B, LinearParameters, LinearPlant, Noise
from mpcrl_course.learners.behaviour import noisy
from mpcrl_course.learners.local_critic import LocalCritic
from mpcrl_course.learners.policy_gradient import PolicyGradient
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.policies.filters import Filter
from mpcrl_course.policies.receding import Receding
from mpcrl_course.policies.safe_set import (
    Clip,
    Polytope,
    area,
    contains,
    predecessors,
    robust_invariant_set,
    vertices,
    without_idle_rows,
)
from mpcrl_course.problems.linear import linear_mpc

S, W = robust_invariant_set(), 0.1
PLANT = LinearParameters()


def inside(n, rng):
    found = rng.uniform(LOWER, UPPER, (20 * n, 2))
    return found[contains(S, found)][:n]


def worst(rng, steps, n):
    """Half of the disturbances are the largest or none: at the corners is where sets fail."""
    e = rng.uniform(-W, 0.0, (steps, n))
    return Noise(np.where(rng.random((steps, n)) < 0.5, rng.choice([-W, 0.0], (steps, n)), e))


def test_it_has_13_rows_and_the_area_that_was_measured():
    assert len(S.h) == 13 and area(S) == pytest.approx(1.3494, abs=5e-5)
    np.testing.assert_allclose(np.linalg.norm(S.H, axis=1), 1.0)
    assert contains(S, START) and area(robust_invariant_set(w=0.3)) == pytest.approx(0.84, abs=5e-3)
    with pytest.raises(ValueError, match="empty"):
        robust_invariant_set(w=0.4)


def test_from_each_state_in_it_an_input_keeps_the_next_one_in_it_and_from_just_outside_none_does():
    u = np.linspace(-1.0, 1.0, 4001)[:, None]

    def kept(x):
        ahead = x @ A.T + u * B
        return any((contains(S, ahead, 1e-4) & contains(S, ahead - [W, 0.0], 1e-4)).tolist())

    corners, middle = vertices(S), vertices(S).mean(axis=0)
    assert all(kept(x) for x in [*corners, *inside(100, np.random.default_rng(0))])
    edges = 0.5 * (corners + np.roll(corners, -1, axis=0))
    beyond = middle + 1.02 * (edges - middle)
    within = ((beyond >= LOWER) & (beyond <= UPPER)).all(axis=1)
    assert within.sum() >= 5 and not any(kept(x) for x in beyond[within])


def test_its_area_is_that_of_a_game_on_a_grid():
    """Cells that some input keeps among cells, for both extreme disturbances; the rest is struck out, and again."""
    n = 121
    x1, x2 = np.linspace(0.0, 1.0, n), np.linspace(-1.0, 1.0, n)
    x, u = np.stack(np.meshgrid(x1, x2, indexing="ij"), axis=-1), np.linspace(-1.0, 1.0, 81)
    ahead = (x @ A.T)[:, :, None] + u[:, None] * B
    alive = np.ones((n, n), dtype=bool)
    for _ in range(40):
        stays = np.ones(ahead.shape[:3], dtype=bool)
        for e in (-W, 0.0):
            i, j = np.round((ahead[..., 0] + e) * (n - 1)), np.round((ahead[..., 1] + 1.0) / 2.0 * (n - 1))
            within = (i >= 0) & (i < n) & (j >= 0) & (j < n)
            stays &= within & alive[np.clip(i, 0, n - 1).astype(int), np.clip(j, 0, n - 1).astype(int)]
        alive &= stays.any(axis=2)
    assert 2.0 * alive.mean() == pytest.approx(area(S), rel=0.03)


@pytest.mark.parametrize("policy", ["random", "lowest", "highest"])
def test_20000_steps_of_whatever_policy_violate_nothing(policy):
    rng = np.random.default_rng(0)
    wish = {"random": lambda y: rng.uniform(-1, 1, (len(y), 1)), "lowest": lambda y: np.full((len(y), 1), -1.0)}
    wish["highest"] = lambda y: -wish["lowest"](y)
    starts = inside(100, np.random.default_rng(1))
    found = run(Filter(wish[policy], Clip(S)), PLANT, starts, worst(rng, 200, 100))
    assert ((found.x >= LOWER - 1e-9) & (found.x <= UPPER + 1e-9)).all()
    assert "outside" not in found.status and "clipped" in found.status
    np.testing.assert_array_equal(found.x[0], starts)


def test_a_clip_is_the_least_change():
    clip, rng = Clip(S), np.random.default_rng(3)
    y, u = inside(200, rng), rng.uniform(-1.0, 1.0, (200, 1))
    grid = np.linspace(-1.0, 1.0, 20_001)
    acting = clip(y, u)
    for x, wanted, a, word in zip(y, u[:, 0], acting[:, 0], clip.status):
        ahead = x @ A.T + grid[:, None] * B
        safe = grid[contains(S, ahead, 1e-9) & contains(S, ahead - [W, 0.0], 1e-9)]
        assert abs(a - wanted) == pytest.approx(np.abs(safe - wanted).min(), abs=2e-4)
        assert (word == "passed") == (abs(a - wanted) < 1e-8)
    assert set(clip.status) == {"passed", "clipped"}
    low, high = clip.interval([START])
    assert low[0] == pytest.approx(0.584, abs=5e-4) and high[0] == 1.0


def test_outside_of_the_set_the_middle_of_nothing_acts():
    clip = Clip(S)
    assert abs(clip([[-0.5, -0.9], [0.3, 0.1]], [[0.0], [0.0]])).max() <= 1.0
    assert clip.status[0] == "outside" and clip.status[1] != "outside"


def test_predecessors_by_hand():
    """x+ = x + u + e in one dimension: |x| <= 1 is reached from -2 + w <= x <= 2, the disturbance being one-sided."""
    found = without_idle_rows(*predecessors(Polytope(np.array([[1.0], [-1.0]]), np.ones(2)), [[1.0]], [1.0], 0.25))
    assert sorted((found.h * found.H[:, 0]).tolist()) == pytest.approx([-1.75, 2.0])


def test_idle_rows_go_and_an_empty_set_is_named():
    H, h = (
        np.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 1.0], [1.0, 0.0]]),
        np.array([2.0, 0, 1, 0, 3, 1]),
    )
    found = without_idle_rows(H, h)
    assert len(found.h) == 4 and area(found) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="empty"):
        without_idle_rows([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0.0, -1.0, 1.0, 1.0])


def test_what_the_filter_does_for_the_initial_controller_and_for_one_with_a_back_off():
    """0.92 becomes 0.047, of which two inputs in three are the filter's; the one with a back-off is left alone."""
    mpc, noise = linear_mpc(), PLANT.draw(0, 3, 400)
    good = mpc.parameters.pack(mpc.parameters.initial(), A=A, B=B, b=[-0.05, 0.0], x_lb=[0.05, 0.0])
    means = {}
    for name, theta in (("initial", mpc.parameters.initial()), ("back-off", good)):
        for change in (None, Clip(S)):
            controller = Receding(mpc, theta)
            found = run(Filter(controller, change) if change else controller, PLANT, [START] * 3, noise)
            means[name, change is not None] = found.cost.mean()
            share = (found.status == "clipped").mean()
        assert share == pytest.approx({"initial": 0.67, "back-off": 0.0}[name], abs=0.05)
    assert means["initial", False] == pytest.approx(0.92, abs=0.1)
    assert means["initial", True] == pytest.approx(0.047, abs=0.005)
    assert means["back-off", True] == pytest.approx(means["back-off", False], rel=1e-9)
    assert means["back-off", True] == pytest.approx(0.031, abs=0.003)


@pytest.mark.parametrize("store", ["applied", "raw"])
def test_learning_behind_the_filter_violates_nothing_and_leans_on_it(store):
    def learn(env):
        rng = np.random.default_rng(1)
        return QLearning(linear_mpc(), env, rng).run(2500, progress=False)

    free, safe = learn(LinearPlant()), learn(Filtered(LinearPlant(), Clip(S), store))
    assert (free.log.x[:, 0] < -1e-9).sum() > 150 and not (safe.log.x[:, 0] < -1e-9).any()
    assert safe.log.cost.mean() < 0.5 * free.log.cost.mean()
    noise = PLANT.draw(5, 1, 500)
    with_it, without = (
        run(controller, PLANT, [START], noise).cost.mean()
        for policy in [Receding(linear_mpc(), safe.theta)]
        for controller in (Filter(policy, Clip(S)), policy)
    )
    assert with_it < 0.09 and without > 3.0 * with_it


@pytest.mark.parametrize("store", ["applied", "raw"])
@pytest.mark.parametrize("make", [LocalCritic, PolicyGradient], ids=["local critic", "policy gradient"])
def test_explorers_behind_the_filter_violate_nothing_and_store_what_they_are_told_to(make, store):
    def learn(change):
        env = Filtered(LinearPlant(steps=100), change, store)
        return make(linear_mpc(), env, np.random.default_rng(1)).run(300, progress=False).log

    free, safe = learn(lambda y, u: u), learn(Clip(S))
    assert (free.x[:, 0] < -1e-9).sum() > 20 and not (safe.x[:, 0] < -1e-9).any()
    clipped = np.array([Clip(S)(s[None], u[None])[0] for s, u in zip(safe.x, safe.u, strict=True)])
    assert (np.abs(clipped - safe.u).max() < 1e-12) == (store == "applied")


def test_clipped_noise_has_a_bias_at_an_active_limit_and_perturbed_costs_need_not():
    behave, rng = noisy(0.3, -1.0, 1.0), np.random.default_rng(0)

    class Greedy:
        u0 = np.array([1.0])

    a = np.array([behave(k, Greedy, None, rng)[0] for k in range(4000)])
    assert a.max() == 1.0 and a.mean() - 1.0 == pytest.approx(-0.3 / np.sqrt(2.0 * np.pi), abs=0.01)
    Greedy.u0 = np.array([0.0])
    assert np.mean([behave(k, Greedy, None, rng)[0] for k in range(4000)]) == pytest.approx(0.0, abs=0.02)
