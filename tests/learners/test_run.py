"""What every learner must do: run, stop, be saved and resumed bit for bit, show its progress, call back."""

import json

import gymnasium
import numpy as np
import pytest

from mpcrl_course.closed_loop import run
from mpcrl_course.dp import FiniteMDP, sampler
from mpcrl_course.envs import Filtered, LinearEpisodes, LinearPlant, Race, Scaled, linear
from mpcrl_course.envs.network import LinearNetwork
from mpcrl_course.envs.pendulum import NOMINAL, Pendulum
from mpcrl_course.envs.random_pendulum import RandomMass
from mpcrl_course.learners.behaviour import epsilon_greedy, exponential, perturbed_cost
from mpcrl_course.learners.blended import BlendedIteration
from mpcrl_course.learners.blended_target import BlendedDDPG
from mpcrl_course.learners.constrained import PrimalDual
from mpcrl_course.learners.cross_entropy import CrossEntropy
from mpcrl_course.learners.ddpg import DDPG
from mpcrl_course.learners.distributed import DistributedQLearning
from mpcrl_course.learners.fitted_q import FittedQ, logged
from mpcrl_course.learners.guided import Demonstrated, Guided, transitions
from mpcrl_course.learners.imitation import DAgger, hanging
from mpcrl_course.learners.latent import LatentLearning, LatentModel
from mpcrl_course.learners.layered import LayerLearning
from mpcrl_course.learners.local_critic import LocalCritic, LocalIteration
from mpcrl_course.learners.log import load_state, saved_log
from mpcrl_course.learners.perturbation import Perturbation
from mpcrl_course.learners.policy_gradient import PolicyGradient
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.learners.run import Learner
from mpcrl_course.learners.tabular import TabularQLearning
from mpcrl_course.learners.team import TeamIteration
from mpcrl_course.learners.terminal_value import TerminalValue
from mpcrl_course.learners.through_time import ThroughTime
from mpcrl_course.learners.tuning import CrossEntropySearch, SurrogateSearch, Tuner
from mpcrl_course.network import ADMM, Central, line, mixing_matrix
from mpcrl_course.policies import Clip, RaceSafety, energy_rule
from mpcrl_course.policies.comparison import CommonGuess
from mpcrl_course.policies.hierarchical import TunedCartPole, weights_of
from mpcrl_course.policies.parameterised import LINEAR_LOWER, LINEAR_UPPER, linear_theta
from mpcrl_course.problems.cartpole import cartpole_mpc
from mpcrl_course.problems.linear import convex, layer_mpc, linear_mpc, terminal_mpc, value_features
from mpcrl_course.problems.network import network_mpc
from mpcrl_course.problems.quadratic import biased
from mpcrl_course.problems.team import LinearTeam


class RandomStart(LinearPlant):
    """Draws its start too: resuming must not spend a random number on it."""

    def reset(self, **options):
        super().reset(**options)
        self.x = self.np_random.uniform([0.0, -0.1], [0.5, 0.1])
        return self.x.copy(), {}


CART = cartpole_mpc(horizon=8)
GUESS = CommonGuess(CART)
MPC10, ONE_STAGE, NET, LINE = linear_mpc(), terminal_mpc(), network_mpc(), mixing_matrix(3, line(3), 0.25)
EXPLORE = perturbed_cost(exponential(0.7, 0.99), 0.5)
FRESH = {"act": "after", "order": 1, "fresh": True, "replay": (10, 3, 0)}
LAYER = layer_mpc(5)
PHI = {"lower": [-0.3] * 3, "upper": [0.3] * 3, "warm_up": 20, "actor_after": 30, "batch": 8, "actor_batch": 4}
SMALL = {"warm_up": 30, "batch": 8, "width": 16}
PROCESS = np.random.default_rng(0).dirichlet(np.ones(4), (4, 2))


LOGGED = logged(run(lambda y: -y @ [[0.3], [1.0]], linear.NOMINAL, np.full((3, 2), 0.1), linear.NOMINAL.draw(0, 3, 20)))


LOW, HIGH = (linear_theta(MPC10, z) for z in (LINEAR_LOWER, LINEAR_UPPER))


def trial(z, rng):
    return float((z - rng.random()) @ [1.0, 2.0])


def fast(s):
    return max(0.0, abs(s[2]) - 1.0)


def table(rng):
    return TabularQLearning(sampler(FiniteMDP(PROCESS, np.arange(8.0).reshape(4, 2), 0.9), rng), 4, 2, 0.9, rng,
                            episode=7, ahead=40)  # fmt: skip


def latent(rng):
    """Learn from a log that is the same for every seed."""
    s, a = np.random.default_rng(0).normal(size=(13, 6, 2)), np.random.default_rng(1).uniform(-1, 1, (12, 6, 1))
    return LatentLearning(LatentModel(2, [-1.0], [1.0], rng, n=3, width=8), s, a, a[..., 0] ** 2, rng, batch=8)


LEARNERS = {
    "Q": lambda rng: QLearning(MPC10, LinearPlant(), rng),
    "Q, replay, exploration": lambda rng: QLearning(MPC10, LinearPlant(), rng, replay=(30, 6, 2), behaviour=EXPLORE),
    "Q, exact Hessian": lambda rng: QLearning(
        MPC10, LinearPlant(), rng, hessian="exact", replay=(10, 3, 1), behaviour=epsilon_greedy(0.2, -1, 1)
    ),
    "Q, after, fresh": lambda rng: QLearning(MPC10, LinearPlant(), rng, step_size=1e-5, **FRESH),
    "Q, failing steps": lambda rng: QLearning(MPC10, LinearPlant(), rng, step_size=1e-3, **FRESH),
    "Q, episodes": lambda rng: QLearning(MPC10, RandomStart(steps=40), rng),
    "DDPG": lambda rng: DDPG(Pendulum(steps=40), rng, **SMALL),
    "DDPG, short memory": lambda rng: DDPG(Pendulum(steps=40), rng, memory=70, **SMALL),
    "DDPG, random masses": lambda rng: DDPG(RandomMass(identify=True, steps=40), rng, **SMALL),
    "primal-dual": lambda rng: PrimalDual(Pendulum(steps=40), rng, fast, budget=0.1, **SMALL),
    "distributed": lambda rng: DistributedQLearning(
        ADMM(NET, iterations=20), LinearNetwork(), rng, P=LINE, replay=(8, 5, 2), behaviour=perturbed_cost(0.5, 0.3)
    ),
    "centralised, episodes": lambda rng: DistributedQLearning(
        Central(NET), LinearNetwork(steps=30), rng, order=1, step_size=1e-7, every=2
    ),
    "tabular": table,
    "cross-entropy": lambda rng: CrossEntropy(
        lambda z, rng: (z - rng.random()) @ [1.0, 2.0], [0.0] * 2, [1.0] * 2, rng
    ),
    "DDPG of phi": lambda rng: DDPG(
        TunedCartPole(CART, weights_of, [-1, -1], [1, 1], starts=[[0.1, 0.2, 0, 0]], first=GUESS, steps=17),
        rng,
        **SMALL,
    ),
    "DAgger": lambda rng: DAgger(
        energy_rule, NOMINAL, hanging, rng, n=2, steps=5, beta=exponential(1.0, 0.8), mirror=True, fit_steps=5, width=8
    ),
    "demonstrated": lambda rng: Demonstrated(
        Pendulum(steps=40), rng, transitions(Pendulum(), energy_rule, 30, np.random.default_rng(0)), offline=5, **SMALL
    ),
    "guided": lambda rng: Guided(Pendulum(steps=17), rng, energy_rule, recent=40, batch=8, width=16),
    "latent": latent,
    "local critic": lambda rng: LocalCritic(MPC10, LinearPlant(), rng, every=25),
    "local critic, episodes": lambda rng: LocalCritic(MPC10, RandomStart(steps=40), rng, every=35),
    "local critic, LQR": lambda rng: LocalIteration(*biased(1.0), rng, rule="Gauss-Newton", M=40),
    "blended": lambda rng: BlendedIteration(*biased(1.0), rng, beta=exponential(1.0, 0.998), M=lambda j: 200 + 20 * j),
    "blended, lengths": lambda rng: BlendedIteration(*biased(1.0), rng, beta=0.8, M=100, lengths=5),
    "team": lambda rng: TeamIteration(LinearTeam(), rng, M=300),
    "DDPG, blended target": lambda rng: BlendedDDPG(
        LinearEpisodes(), rng, MPC10, beta=exponential(0.7, 0.99), state=lambda s: s / 4.0, huber=1.0, **SMALL
    ),
    "perturbed": lambda rng: Perturbation(lambda z, rng: (z - rng.random()) @ [1.0, 2.0], [0.0] * 2, [1.0] * 2, rng),
    "policy gradient": lambda rng: PolicyGradient(MPC10, RandomStart(steps=25), rng, length=25),
    "layer": lambda rng: LayerLearning(LAYER, RandomStart(steps=30), rng, **PHI),
    "phi as action": lambda rng: LayerLearning(LAYER, RandomStart(steps=30), rng, through=False, **PHI),
    "terminal value": lambda rng: TerminalValue(ONE_STAGE, RandomStart(steps=30), rng, value_features, convex),
    "through time": lambda rng: ThroughTime(MPC10, LinearPlant(steps=25), rng, linear.slopes, length=25),
    "search at random": lambda rng: Tuner(trial, [0.0] * 2, [1.0] * 2, rng),
    "cross-entropy, one by one": lambda rng: CrossEntropySearch(trial, [0.0] * 2, [1.0] * 2, rng),
    "surrogate": lambda rng: SurrogateSearch(trial, [0.0] * 2, [1.0] * 2, rng, candidates=100),
    "fitted Q": lambda rng: FittedQ(MPC10, LOGGED, rng, batch=20, step_size=0.1, lower=LOW, upper=HIGH),
    "Q, filtered": lambda rng: QLearning(MPC10, Filtered(LinearPlant(steps=40), Clip(), "raw", 0.5), rng),
    "DDPG, filtered": lambda rng: DDPG(Scaled(Filtered(Race(steps=25), RaceSafety())), rng, **SMALL),
}
STEPS = {"surrogate": 20, "fitted Q": 20, "distributed": 20, "DAgger": 20, "centralised, episodes": 50}


def make(name, seed=3):
    return LEARNERS[name](np.random.default_rng(seed))


def everything(learner):
    """Return all that a learner has, by name: log, parts, and what is kept beside them."""
    found = {f"{part} {name}": a for part, thing in learner.parts.items() for name, a in thing.arrays().items()}
    found |= {name: np.asarray(getattr(learner, name)) for name in learner.kept}
    del found["log seconds"]
    return found


def assert_same(one, other):
    ours, theirs = everything(one), everything(other)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


@pytest.mark.parametrize("name", LEARNERS)
def test_resumed_and_interrupted_runs_are_the_whole_one_bit_for_bit(tmp_path, name):
    """Resumed from its middle, from its end, and from where an interruption left it, by a learner of another seed."""
    n = STEPS.get(name, 120)
    whole = make(name).run(n, progress=False)
    half = make(name).run(n // 2, save=tmp_path / "half", progress=False)
    resumed = make(name, 99).run(n, save=tmp_path / "half", resume=True, progress=False)
    assert_same(whole, resumed)
    assert resumed.log.seconds > half.log.seconds and resumed.k == whole.k
    assert_same(whole, make(name, 98).run(n, save=tmp_path / "half", resume=True, progress=False))

    def interrupt(k, learner):
        if k == n - 5:
            raise KeyboardInterrupt

    cut = make(name).run(n, save=tmp_path / "cut", save_every=n // 4, progress=False, on_step=interrupt)
    assert cut.k == n - 4 and f"interrupted after {n - 4} steps" in cut.log.stopped and "interrupted" in str(cut.log)
    assert load_state(tmp_path / "cut")[1]["k"] == 3 * (n // 4)
    resumed = make(name, 97).run(n, save=tmp_path / "cut", resume=True, progress=False)
    assert_same(whole, resumed)
    assert resumed.log.stopped == whole.log.stopped
    cut.run(n, progress=False)  # or simply go on: no whole step was lost
    assert_same(whole, cut)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_seed_gives_the_same_run_and_a_step_is_a_step(name):
    one, seen = make(name), []
    other = make(name).run(12, progress=False, on_step=lambda k, learner: seen.append((k, learner.k)))
    for _ in range(12):
        one.step()
    assert_same(one, other)
    assert seen == [(k, k + 1) for k in range(12)]
    assert other.run(12, progress=False) is other and other.k == 12  # nothing more to do
    different = make(name, 4).run(12, progress=False)
    assert any(not np.array_equal(a, everything(different)[n], equal_nan=True) for n, a in everything(other).items())


def test_progress_is_shown_and_can_be_left_out(capfd):
    make("Q").run(5)
    assert "Q-learning: 100%" in capfd.readouterr().err
    make("Q").run(5, progress=False)
    assert capfd.readouterr().err == ""


def test_what_cannot_be_resumed_is_named(tmp_path):
    path = tmp_path / "run"
    make("Q").run(20, save=path, progress=False)
    with pytest.raises(ValueError, match="20 steps already, more than the 10"):
        make("Q").run(10, save=path, resume=True)
    with pytest.raises(FileNotFoundError, match="nothing"):
        make("Q").run(10, save=tmp_path / "nothing", resume=True)
    with pytest.raises(ValueError, match="resume needs `save`"):
        make("Q").run(10, resume=True)
    with pytest.raises(ValueError, match=r"another learner's.*theta has shape \(16,\), not \(19,\)"):
        QLearning(linear_mpc(learn_weights=True), LinearPlant(), np.random.default_rng(0)).run(
            30, save=path, resume=True
        )
    state = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    for text in (json.dumps({n: v for n, v in state.items() if n != "format"}), '{"k": 1'):
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="another version of the course|damaged"):
            make("Q").run(30, save=path, resume=True)
    (tmp_path / "run.json").write_text(json.dumps(state), encoding="utf-8")
    (tmp_path / state["arrays"]).write_bytes(b"PK half a file")
    with pytest.raises(ValueError, match="damaged: delete both"):
        make("Q").run(30, save=path, resume=True)


def test_a_saved_log_is_read_without_its_learner(tmp_path):
    log = make("Q").run(20, save=tmp_path / "run", progress=False).log
    read = saved_log(tmp_path / "run")
    assert read.steps == 20 and read.theta.shape == (21, 16) and str(read) == str(log)
    for name in ("x", "u", "cost", "td", "theta", "failed"):
        np.testing.assert_array_equal(getattr(read, name), getattr(log, name))


def test_a_wrapper_cannot_be_saved_and_the_generator_must_be_one(tmp_path):
    class Pass(gymnasium.Wrapper):
        pass

    learner = QLearning(MPC10, Pass(LinearPlant()), np.random.default_rng(0))
    assert learner.run(3, progress=False).k == 3
    with pytest.raises(ValueError, match="needs the plant itself"):
        learner.run(6, save=tmp_path / "run")
    for rng in (0, None, np.random.RandomState(0)):
        with pytest.raises(TypeError, match="rng must be a generator"):
            QLearning(MPC10, LinearPlant(), rng)


def test_so_many_failed_steps_in_a_row_end_a_run():
    class Failing(Learner):
        def step(self):
            self.log.add(td=np.nan if self.k > 10 else 0.0)
            if self.k > 10:
                self.stop_if_hopeless(RuntimeError("a test"))

    learner = Failing(LinearPlant(), np.random.default_rng(0)).run(1000, progress=False)
    assert learner.k == 11 + 200 and learner.log.stopped == "200 steps failed in a row, the last with: a test"
