"""A learner is told what is wrong with its options, its plant or its saved run; none of it counts as a failed solve."""

import json

import numpy as np
import pytest

from mpcrl_course.envs import LinearNetwork, LinearPlant, Pendulum
from mpcrl_course.learners import (
    DDPG,
    ActorCritic,
    DistributedQLearning,
    LatentLearning,
    LatentModel,
    PrimalDual,
    QLearning,
    TabularQLearning,
    saved_log,
)
from mpcrl_course.learners.distributed import LocalLearner
from mpcrl_course.learners.log import load_state, save_state
from mpcrl_course.network import Central
from mpcrl_course.problems import linear_mpc, network_mpc

MPC1 = linear_mpc(horizon=1)
NET = Central(network_mpc(2, horizon=2))
PAIR = ((1,), (0,))
#: Every learner: (plant, generator, options) -> learner
LEARNERS = {
    "Q": lambda env, rng, **options: QLearning(MPC1, env or LinearPlant(), rng, **options),
    "distributed": lambda env, rng, **options: DistributedQLearning(NET, env or LinearNetwork(PAIR), rng, **options),
    "DDPG": lambda env, rng, **options: DDPG(env or Pendulum(), rng, width=4, batch=2, memory=9, warm_up=2, **options),
    "primal-dual": lambda env, rng, **options: PrimalDual(
        env or Pendulum(), rng, lambda s: 0.0, budget=0.1, width=4, batch=2, memory=9, warm_up=2, **options
    ),
    "tabular": lambda env, rng, **options: TabularQLearning(lambda s, a: (1.0, 0, False), 2, 2, 0.9, rng, **options),
    "latent": lambda env, rng, **options: LatentLearning(
        LatentModel(2, [-1.0], [1.0], rng, n=2, K=2, width=4, **options),
        np.ones((4, 3, 2)),
        np.ones((3, 3, 1)),
        np.ones((3, 3)),
        rng,
    ),
}
PLANTS = {"Q": LinearPlant, "distributed": lambda: LinearNetwork(PAIR), "DDPG": Pendulum, "primal-dual": Pendulum}


def make(name, env=None, rng=None, **options):
    return LEARNERS[name](env, np.random.default_rng(0) if rng is None else rng, **options)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("rng", [0, np.random.RandomState(0), "0", np.random])
def test_the_generator_must_be_one(name, rng):
    with pytest.raises(TypeError, match=r"rng must be a generator, such as numpy.random.default_rng\(0\)"):
        make(name, rng=rng)


NOT_NEGATIVE = [np.nan, np.inf, -1.0, 1j, "0.1", None, [0.1, 0.2]]


@pytest.mark.parametrize("bad", NOT_NEGATIVE)
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("Q", "step_size"),
        ("Q", "sigma"),
        ("distributed", "step_size"),
        ("distributed", "sigma"),
        ("DDPG", "noise"),
        ("DDPG", "actor_rate"),
        ("DDPG", "gamma"),
        ("primal-dual", "rate"),
        ("primal-dual", "critic_rate"),
        ("latent", "rate"),
        ("latent", "gamma"),
        ("tabular", "power"),
        ("tabular", "epsilon"),
    ],
)
def test_options_that_are_no_numbers_or_negative(name, option, bad):
    with pytest.raises(ValueError, match=f"^{option} must be a number"):
        make(name, **{option: bad})


@pytest.mark.parametrize("bad", NOT_NEGATIVE)
@pytest.mark.parametrize(("name", "option"), [("Q", "step_size"), ("distributed", "step_size"), ("DDPG", "noise")])
def test_schedules_are_asked_for_numbers_too(name, option, bad):
    """What a schedule says is looked at in the step that asks: no later, and as no failed solve."""
    learner = make(name, **{option: lambda k: bad if k == 3 else 0.01})
    with pytest.raises(ValueError, match=f"^{option} of step 3 must be a number"):
        learner.run(9, progress=False)
    assert learner.k == 3


@pytest.mark.parametrize("name", ["Q", "distributed"])
def test_bounds_that_cross_name_the_parameters(name):
    parameters = MPC1.parameters if name == "Q" else NET.parameters
    theta = parameters.initial()
    upper = theta + 1.0
    upper[1] = theta[1] - 2.0
    with pytest.raises(ValueError, match=f"lower is above upper in {parameters.names[1]}: "):
        make(name, lower=theta - 1.0, upper=upper)
    for side in ("lower", "upper"):
        with pytest.raises(ValueError, match=rf"{side} has shape \(3,\)"):
            make(name, **{side: np.zeros(3)})


def faulty(name, **wrong):
    """Return a plant of the learner `name` that in its fifth step says what is wrong."""

    class Faulty(type(PLANTS[name]())):
        def step(self, action):
            s, reward, *rest = super().step(action)
            if self.count == 5:
                s, reward = wrong.get("s", s), wrong.get("reward", reward)
                if callable(s):
                    s = s(PLANTS[name]().reset()[0])
            return s, reward, *rest

    return Faulty(PAIR) if name == "distributed" else Faulty()


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf, None, "1", 1j, [1.0, 2.0]])
def test_a_reward_that_is_no_number_is_named_with_its_step(name, reward):
    learner = make(name, faulty(name, reward=reward))
    with pytest.raises(ValueError, match="the plant's reward in step 4 must be a finite number"):
        learner.run(9, progress=False)
    assert learner.k == 4 and not np.isnan(learner.log.cost).any()


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.parametrize("wrong", ["nan", "inf", "shape", "None", "complex", "text"])
def test_an_observation_that_is_none_is_named_with_its_step(name, wrong):
    values = {"nan": lambda s: s * np.nan, "inf": lambda s: s / 0.0 + np.inf, "shape": lambda s: s[:-1]}
    values |= {"None": lambda s: [None] * len(s), "complex": lambda s: s + 1j, "text": lambda s: ["a"] * len(s)}
    learner = make(name, faulty(name, s=values[wrong]))
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match="in step 4 the plant shows no observation of shape"),
    ):
        learner.run(9, progress=False)
    assert learner.k == 4


@pytest.mark.parametrize("name", PLANTS)
def test_a_plant_that_uses_its_observation_again_teaches_the_same(name):
    class Reusing(type(PLANTS[name]())):
        """It returns one array all the time, and fills it anew."""

        def _look(self):
            seen, more = super()._look()
            if not hasattr(self, "memory"):
                self.memory = np.empty_like(seen)
            self.memory[:] = seen
            return self.memory, more

    plant = Reusing(PAIR) if name == "distributed" else Reusing()
    one, other = make(name), make(name, plant)
    for learner in (one, other):
        learner.run(30, progress=False)
    for series in ("x", "u", "cost", "td", "theta") if "theta" in one.log.arrays() else ("s", "a", "cost"):
        np.testing.assert_array_equal(getattr(one.log, series), getattr(other.log, series))
    assert np.ptp(one.log.cost) > 0.0


def test_costs_are_kept_as_they_are_also_if_the_first_is_a_whole_number():
    class Whole(LinearPlant):
        def step(self, action):
            s, reward, *rest = super().step(action)
            return s, -1 if self.count == 1 else reward, *rest

    log = make("Q", Whole()).run(5, progress=False).log
    assert log.cost[0] == 1.0 and 0.0 < log.cost[1] != round(log.cost[1])


def test_a_plant_without_costs_of_the_agents_is_named():
    class Silent(LinearNetwork):
        def _move(self, u):
            cost, ended, info = super()._move(u)
            return cost, ended, {"costs": info["costs"][:1]} if self.count == 2 else info

    with pytest.raises(ValueError, match=r"the plant's info\['costs'\] in step 2 has shape \(1,\), but needs \(2,\)"):
        make("distributed", Silent(PAIR)).run(5, progress=False)


# --- saved runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ['{"k": 20, "arr', "", "[1, 2]", '"text"', '{"k": 3}', '{"arrays": 3, "k": 2, "format": 2}', "\x00\xff"]
)
def test_an_index_that_is_truncated_or_foreign_is_named_by_whoever_meets_it(tmp_path, text):
    path = tmp_path / "run"
    make("Q").run(5, save=path, progress=False)
    index = tmp_path / "run.json"
    index.write_bytes(text.encode("latin-1"))
    what = f"{index} is damaged, or no saved run: delete it"
    for meets in (
        lambda: load_state(path),
        lambda: saved_log(path),
        lambda: make("Q").run(9, save=path, resume=True, progress=False),
        lambda: make("Q").run(9, save=path, progress=False),  # nor is it overwritten: it may be somebody's
        lambda: save_state(path, {}, {"k": 0}),
    ):
        with pytest.raises(ValueError) as error:
            meets()
        assert what in str(error.value) and error.value.__context__ is None
    assert index.read_bytes() == text.encode("latin-1")


def test_arrays_that_are_damaged_or_another_learners(tmp_path):
    path = tmp_path / "run"
    make("Q").run(5, save=path, progress=False)
    for name, options in (("distributed", {}), ("DDPG", {}), ("tabular", {})):
        with pytest.raises(ValueError, match="saved at .* is another learner's, or damaged"):
            make(name, **options).run(9, save=path, resume=True, progress=False)
    state = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    whole = (tmp_path / state["arrays"]).read_bytes()
    for part in (whole[: len(whole) // 2], whole[:-30] + b"x" * 30, b""):
        (tmp_path / state["arrays"]).write_bytes(part)
        with pytest.raises(ValueError, match="damaged: delete both"):
            saved_log(path)
    (tmp_path / state["arrays"]).write_bytes(whole)
    (tmp_path / "run.json").write_text(json.dumps(state | {"rng": {"bit_generator": "MT19937"}}), encoding="utf-8")
    with pytest.raises(ValueError, match="another learner's, or damaged"):
        make("Q").run(9, save=path, resume=True, progress=False)
    (tmp_path / "run.json").write_text(json.dumps(state | {"k": "five"}), encoding="utf-8")
    with pytest.raises(ValueError, match="damaged: delete both"):
        saved_log(path)
    (tmp_path / "run.json").write_text(json.dumps(state), encoding="utf-8")
    assert make("Q").run(9, save=path, resume=True, progress=False).k == 9


# --- what a plant or a reader's function says -------------------------------------------------------------


def answering(name, change):
    """Return a plant of the learner `name` whose third answer is changed."""

    class Changed(type(PLANTS[name]())):
        def step(self, action):
            answer = super().step(action)
            return change(answer) if self.count == 3 else answer

    return Changed(PAIR) if name == "distributed" else Changed()


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.parametrize("place", [2, 3])
@pytest.mark.parametrize("wrong", [None, "False", np.nan, np.array([True, False]), 2])
def test_whether_an_episode_ends_is_yes_or_no(name, place, wrong):
    plant = answering(name, lambda answer: (*answer[:place], wrong, *answer[place + 1 :]))
    what = ("terminated", "truncated")[place - 2]
    with pytest.raises(ValueError, match=f"the plant's {what} in step 2 must be True or False"):
        make(name, plant).run(5, progress=False)


@pytest.mark.parametrize("name", PLANTS)
def test_a_plant_that_is_none_is_named_at_its_start(name):
    for wrong in (None, {"x": 0.0}, (np.zeros(2),)):
        plant = answering(name, tuple)
        plant.reset = lambda wrong=wrong: wrong
        with pytest.raises(ValueError, match="the plant's reset returned .*, not an observation and a dict"):
            make(name, plant)
    plant = answering(name, tuple)
    plant.observation_space = None
    with pytest.raises(ValueError, match="the plant's observation_space must be of the type Box"):
        make(name, plant)


@pytest.mark.parametrize("info", [None, [1.0], "costs"])
def test_what_else_a_plant_tells_is_a_dict(info):
    plant = answering("distributed", lambda answer: (*answer[:4], info))
    with pytest.raises(ValueError, match="the plant's info in step 2 must be of the type dict"):
        make("distributed", plant).run(5, progress=False)


@pytest.mark.parametrize("name", ["Q", "distributed"])
@pytest.mark.parametrize("wrong", [None, [1.0, [2.0]], 1j, "a", np.zeros((3, 3)), [None], np.nan])
def test_a_gradient_of_ones_own_is_checked(name, wrong):
    with pytest.raises(ValueError, match="your gradient function returned"):
        make(name, gradient=lambda *q: wrong).run(5, progress=False)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("Q", "fresh"),
        ("distributed", "safeguard"),
        ("distributed", "alone"),
        ("distributed", "refuse"),
        ("DDPG", "mask_truncation"),
    ],
)
def test_flags_are_yes_or_no(name, flag):
    for wrong in (np.array([True, False]), None, "no", 2.0):
        with pytest.raises(ValueError, match=f"{flag} must be True or False"):
            make(name, **{flag: wrong})


@pytest.mark.parametrize("wrong", ["a", 1j, [0.0, 1.0], -1.0, None, np.nan])
def test_a_violation_is_a_number(wrong):
    learner = PrimalDual(Pendulum(), np.random.default_rng(0), lambda s: wrong, budget=0.1, width=4)
    with pytest.raises(ValueError, match="the violation in step 0 must be a number that is not negative"):
        learner.run(3, progress=False)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        (1.0, 0),
        (1.0, 0, False, {}),
        (np.nan, 0, False),
        ("1", 0, False),
        (1.0, 2, False),
        (1.0, -1, False),
        (1.0, 0.5, False),
        (1j, 0, False),
        (1.0, None, False),
        (1.0, 0, np.array([True, False])),
    ],
)
def test_a_transition_is_a_cost_a_state_and_an_end(wrong):
    learner = TabularQLearning(lambda s, a: wrong, 2, 2, 0.9, np.random.default_rng(0))
    with pytest.raises(ValueError, match="transition must return a finite cost, a state from 0 to 1"):
        learner.run(3, progress=False)
    for start in (2, -1, None, 0.5):
        with pytest.raises(ValueError, match="start"):
            make("tabular", start=lambda start=start: start)


def test_an_index_or_arrays_in_whose_place_is_something_else(tmp_path):
    path, index = tmp_path / "run", tmp_path / "run.json"
    make("Q").run(5, save=path, progress=False)
    state = json.loads(index.read_text(encoding="utf-8"))
    for wrong in ("../x", "/tmp/x", "a\0b", "", "x/y"):
        index.write_text(json.dumps(state | {"arrays": wrong}), encoding="utf-8")
        for meets in (lambda: saved_log(path), lambda: make("Q").run(9, save=path, progress=False)):
            with pytest.raises(ValueError, match="is damaged, or no saved run: delete it"):
                meets()
    index.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="is damaged, or no saved run: delete it"):
        saved_log(path)
    index.unlink()
    index.mkdir()
    with pytest.raises(ValueError, match="is damaged, or no saved run: delete it"):
        saved_log(path)
    index.rmdir()
    index.write_text(json.dumps(state), encoding="utf-8")
    with np.load(tmp_path / state["arrays"]) as file:
        arrays = dict(file)
    np.savez(tmp_path / state["arrays"], **arrays | {"replay rows": np.array(-3)})
    with pytest.raises(ValueError, match="another learner's, or damaged"):
        make("Q").run(9, save=path, resume=True, progress=False)


def saved(tmp_path, name):
    """Return the path of a saved run of the learner `name`, its index, and its arrays."""
    path = tmp_path / "run"
    make(name).run(5, save=path, progress=False)
    state = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    with np.load(tmp_path / state["arrays"]) as file:
        return path, state, dict(file)


def wrong_arrays(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """Return what an array of a saved run must not be."""
    if array.dtype.kind == "U":  # the generator's state
        return {"text": np.array("q"), "number": np.array(3.0)}
    wrong = {"text": np.full(array.shape, "q"), "complex": array + 1j, "another shape": np.ones((2, 3, 4, 5))}
    if not array.size:
        return {}
    if array.dtype.kind == "i" and not name.startswith("log "):
        wrong["a half"] = array + 0.5
    if array.ndim and not name.endswith((" coins", " block")):
        wrong["short"] = array[:-1]
    if array.dtype.kind == "f" and not name.startswith("log "):
        wrong["nan"] = np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array)
    return wrong


@pytest.mark.parametrize("name", LEARNERS)
def test_every_array_of_a_saved_run_is_what_it_must_be(tmp_path, name):
    path, state, arrays = saved(tmp_path, name)
    tried = 0
    for key, array in arrays.items():
        for what, wrong in wrong_arrays(key, array).items():
            np.savez(tmp_path / state["arrays"], **arrays | {key: wrong})
            with pytest.raises(ValueError) as error:
                make(name).run(9, save=path, resume=True, progress=False)
            assert f"the run saved at {path} is another learner's, or damaged: " in str(error.value), (key, what)
            words = ("its ", "the log's ", "the saved memory's ", "a plant's ")
            assert str(error.value).split("damaged: ")[1].startswith(words), str(error.value)  # none of NumPy's
            tried += 1
    assert tried > 20
    np.savez(tmp_path / state["arrays"], **arrays)
    assert make(name).run(9, save=path, resume=True, progress=False).k == 9


@pytest.mark.parametrize("name", LEARNERS)
def test_steps_and_rows_that_differ_are_named(tmp_path, name):
    path, state, arrays = saved(tmp_path, name)
    for k in (0, 3, 4, 6, 7):
        (tmp_path / "run.json").write_text(json.dumps(state | {"k": k}), encoding="utf-8")
        with pytest.raises(ValueError, match=f"its log has 5 rows, not {k}"):
            make(name).run(9, save=path, resume=True, progress=False)
        with pytest.raises(ValueError, match="has no log of a learner, or is damaged: "):
            saved_log(path)
    (tmp_path / "run.json").write_text(json.dumps(state), encoding="utf-8")
    assert saved_log(path).steps == 5
    if "replay rows" in arrays:
        np.savez(tmp_path / state["arrays"], **arrays | {"replay rows": np.array(len(arrays["replay s"]) - 1)})
        with pytest.raises(ValueError, match="the saved memory's s has shape"):
            make(name).run(9, save=path, resume=True, progress=False)
    if state["env"] is not None:
        plant = state["env"] | {"x": [0.0] * 7}
        np.savez(tmp_path / state["arrays"], **arrays)
        (tmp_path / "run.json").write_text(json.dumps(state | {"env": plant}), encoding="utf-8")
        with pytest.raises(ValueError, match=r"or damaged: a plant's x has shape \(7,\), but needs"):
            make(name).run(9, save=path, resume=True, progress=False)


@pytest.mark.parametrize("wrong", [{"Q": np.zeros((3, 2))}, {"visits": np.full((2, 2), -1)}, {"coins": np.full(9, 2)}])
def test_tables_of_another_process_are_named(tmp_path, wrong):
    path, state, arrays = saved(tmp_path, "tabular")
    np.savez(tmp_path / state["arrays"], **arrays | {f"tables {name}": array for name, array in wrong.items()})
    with pytest.raises(ValueError, match=r"its tables of shape .* are none of \(2, 2\) states and actions"):
        make("tabular").run(9, save=path, resume=True, progress=False)
    np.savez(tmp_path / state["arrays"], **arrays | {"s": np.array(2)})
    with pytest.raises(ValueError, match="is damaged: of 2 states it is in 2"):
        make("tabular").run(9, save=path, resume=True, progress=False)


def test_what_is_in_the_place_of_a_file_is_named_and_the_old_run_kept(tmp_path):
    path, state, _ = saved(tmp_path, "Q")
    (tmp_path / "run-8.npz").mkdir()
    for where, place in ((path, "run-8.npz"), (tmp_path / "run.json" / "x", "run.json")):
        with pytest.raises(
            OSError, match=f"a run cannot be saved at .*{place}.*: make room there, or save it elsewhere"
        ):
            make("Q").run(8, save=where, save_every=8, resume=where == path, progress=False)
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == state
    assert sorted(each.name for each in tmp_path.iterdir()) == ["run-5.npz", "run-8.npz", "run.json"]
    (tmp_path / "run-5.npz").unlink()
    with pytest.raises(FileNotFoundError, match="run.json names .*run-5.npz, but there is no such file"):
        make("Q").run(8, save=path, resume=True, progress=False)
    (tmp_path / "run-5.npz").mkdir()  # what is no file of ours is left alone
    assert make("Q").run(3, save=path, progress=False).k == 3 and (tmp_path / "run-5.npz").is_dir()
    for nowhere in ("/", "a\0b"):
        with pytest.raises(ValueError, match="a run is saved at a path with a name, not at"):
            make("Q").run(3, save=nowhere, progress=False)


@pytest.mark.parametrize(("n_states", "limits"), [(4, [1.0]), (3, [1.0, 2.0])])
def test_an_agent_of_another_plant_is_named(n_states, limits):
    agent = ActorCritic(n_states, -np.array(limits), limits, np.random.default_rng(0), width=4)
    with pytest.raises(ValueError, match=f"agent is one of {n_states} states and {len(limits)} inputs, but the plant"):
        make("DDPG", agent=agent)


@pytest.mark.parametrize(
    ("maker", "said"),
    [
        (lambda *given: None, "what agent makes must be of the type LocalLearner, not None"),
        (lambda theta, *given: LocalLearner(theta[:2], *given), r"has a theta of shape \(2,\), but needs \(22,\)"),
        (lambda *given: LocalLearner.__new__(LocalLearner), r"has a theta of shape \(\), but needs \(22,\)"),
        (None, "agent must be a function, not None"),
    ],
)
def test_what_makes_no_agents_is_named(maker, said):
    with pytest.raises(ValueError, match=said):
        make("distributed", agent=maker)


@pytest.mark.parametrize("name", ["Q", "distributed"])
def test_actions_that_are_whole_numbers_are_kept_as_numbers(tmp_path, name):
    """A first action of whole numbers makes no log of whole numbers, and none that cannot go on."""
    first = lambda k, solution, policy, rng: solution.u0 if k else np.zeros(solution.u0.shape, int)  # noqa: E731
    log = make(name, behaviour=first).run(5, save=tmp_path / "run", progress=False).log
    assert (log.u[1:] != np.round(log.u[1:])).any()
    assert make(name, behaviour=first).run(9, save=tmp_path / "run", resume=True, progress=False).k == 9
