"""One loop for any learner: on every plant of the course, and with a learner that is none of the course's."""

import numpy as np
import pytest

from mpcrl_course.bring import EXAMPLES, OwnPlantEnv, interact, read
from tests.envs.test_plant import DRAWN, PLANTS


@pytest.mark.parametrize("make", (PLANTS | DRAWN).values(), ids=PLANTS | DRAWN)
def test_every_plant_is_run_and_every_step_is_told(make):
    env, told = make(steps=7), []
    env.action_space.seed(1)
    costs = interact(
        env, lambda s: env.action_space.sample(), lambda *step: told.append(step), 20, seed=3, progress=False
    )
    assert costs.shape == (20,) and np.isfinite(costs).all() and len(told) == 20
    ends = [k for k in range(19) if not np.array_equal(told[k][3], told[k + 1][0])]
    cut = [k for k in range(19) if (k + 1) % 7 == 0 or told[k][4]]
    assert set(ends) <= set(cut)  # elsewhere the next step begins where the last one ended
    assert [-step[2] for step in told] == costs.tolist()
    if not any(step[4] for step in told) and env.start is None:
        assert ends == [6, 13]  # an episode was cut off, and the next one starts somewhere else


def test_a_learner_of_one_s_own_learns():
    """Random search over a linear gain, which nobody here has written: it begins with one that is too weak."""
    plant, rng = read(EXAMPLES / "template.py"), np.random.default_rng(0)
    env, weak = OwnPlantEnv(plant, units=True, steps=20), np.array([0.3, 0.0])
    best, tried, seen = (np.inf, weak), [weak], []

    def learn(s, a, reward, s_next, terminated):
        nonlocal best
        seen.append(-reward)
        if len(seen) % 100 == 0:
            best = min(best, (sum(seen[-100:]), tried[-1]), key=lambda one: one[0])
            tried.append(best[1] + 0.5 * rng.standard_normal(2))

    interact(env, lambda s: [-tried[-1] @ s], learn, 5000, progress=False)

    def cost(K):
        return interact(env, lambda s: [float((-K @ s).item())], None, 400, seed=9, progress=False).mean()

    assert cost(best[1]) < 0.5 * cost(weak)
    assert cost(plant.regulator.K) < 1.05 * cost(best[1])  # nothing linear is much better than LQR


def test_what_is_none_is_named():
    env = OwnPlantEnv(read(EXAMPLES / "template.py"))
    for wrong in ({"env": 1}, {"act": 1}, {"learn": 1}, {"steps": -1}, {"seed": "a"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            interact(**{"env": env, "act": lambda s: [0.0], "learn": None, "steps": 1, "progress": False} | wrong)
