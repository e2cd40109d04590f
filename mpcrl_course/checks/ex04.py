"""Exercise 04, on comparing controllers fairly.

Seven items: an event too rare to be seen, an honest interval, the time of a decision, an experiment on adaptation, a
comparison that is biased, a filter for a network, and what an interval that covers zero allows one to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from mpcrl_course import places
from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.checks.values import kind_of
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.pendulum import PendulumParameters, dynamics, stage_cost, upright, violations
from mpcrl_course.learners.trained import trained_policies
from mpcrl_course.policies.filters import barrier_torques

# -------------------------------------------------------------------------------- 1: an event too rare to be seen

PROBABILITY, RUNS, DAMAGE, USUAL = 0.002, 200, 30_000.0, 150.0
SEEN_NONE = (1.0 - PROBABILITY) ** RUNS

predict = Predict(
    1,
    "an event too rare to be seen",
    reference=SEEN_NONE,
    rtol=0.0,
    atol=0.005,
    when_right="In two of three such comparisons nobody sees what makes up more than a quarter of the mean cost.",
    hints=[
        "What is the probability that one run goes well? And that all of them do?",
        "Independent runs multiply: (1 − p) to the power of the number of runs.",
    ],
    mistakes=[
        Mistake("the probability of seeing one", "That at least one run is hit has this probability: the complement.",
                1.0 - SEEN_NONE),
        Mistake("expected number", "That is how many hit runs you expect, not the probability of seeing none.",
                PROBABILITY * RUNS),
        Mistake("one minus the expected number",
                "1 − n p adds up what multiplies: for a larger n it would be negative.", 1.0 - PROBABILITY * RUNS),
        Mistake("one run", "That is one run. You look at all of them.", (0.99, 1.0)),
        Mistake("exactly one", "That is the probability that exactly one run is hit.",
                RUNS * PROBABILITY * (1.0 - PROBABILITY) ** (RUNS - 1)),
        Mistake("surely seen", "An event that is expected less than once is not sure to be seen.", (-0.01, 0.01)),
        Mistake("per cent", "A probability lies between 0 and 1.", (1.5, 100.0)),
        Mistake("both controllers", "That is for 400 runs, those of both. Asked are the 200 runs of one.",
                (1.0 - PROBABILITY) ** (2 * RUNS)),
        Mistake("rounded", "So it is but for the rounding: two decimals are asked for.", 0.7),
        Mistake("even odds", "No need to guess: independent runs multiply.", 0.5),
    ],
)  # fmt: skip

# -------------------------------------------------------------------------------- 2: an honest interval


def _left_alone(function, *given):
    """Tell whether a function leaves the arrays alone that it is given."""
    before = [np.copy(value) if isinstance(value, np.ndarray) else None for value in given]
    function(*given)
    return all(was is None or np.array_equal(was, now) for was, now in zip(before, given, strict=True)) or (
        "The numbers are right, but your function has changed an array it was given, and others still use it."
    )


def interval(a, b):
    """Return the mean of a - b and the half-width of its 95 % interval; a, b have shape (seeds, runs)."""
    return _interval(a, b)


def _interval(a, b, *, paired=True, unit="seed", middle=np.mean, ddof=1, spread="standard deviation", power=0.5,
              table="t", lost=1, sides=2, seeds=None, centre=np.mean, sign=1.0, factor=1.0, ends=False):  # fmt: skip
    a, b = (np.asarray(c, dtype=float) for c in (a, b))
    if unit == "run":
        a, b = a.reshape(-1), b.reshape(-1)
    elif unit == "size":
        d = abs(a - b).mean(axis=1)
        a, b = d, 0 * d
    else:
        a, b = (middle(c, axis=1 if unit == "seed" else 0) for c in (a, b))
    n = seeds or len(a)
    variance = (a - b).var(ddof=ddof) if paired else a.var(ddof=ddof) + b.var(ddof=ddof)
    level = 0.975 if sides == 2 else 0.95
    freedom = n - lost if paired else 2 * n - 2 if lost == 2 else n - lost
    quantile = {"t": student_t.ppf(level, freedom), "normal": norm.ppf(level), "none": 1.0}[table]
    half = factor * quantile * (variance if spread == "variance" else np.sqrt(variance)) / n**power
    mean = sign * centre(a - b)
    return (mean - half, mean + half) if ends else (mean, half)


def _slip_interval(**slips: Any) -> Callable:
    return lambda a, b: _interval(a, b, **slips)


def _interval_by_loop(a, b):
    differences = [sum(x - y for x, y in zip(one, other)) / len(one) for one, other in zip(a, b)]
    n, middle = len(differences), sum(differences) / len(differences)
    spread = sum((d - middle) ** 2 for d in differences) / (n - 1)
    return middle, student_t.interval(0.95, n - 1)[1] * (spread / n) ** 0.5


def _interval_by_scipy(a, b):
    from scipy.stats import sem

    d = (a - b).mean(axis=1)
    low, high = student_t.interval(0.95, len(d) - 1, loc=d.mean(), scale=sem(d))
    return d.mean(), (high - low) / 2


def _interval_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for seeds, runs in ((5, 7), (4, 9), (8, 6)):
        common = rng.gamma(2.0, 40.0, (seeds, runs)) + 60.0 * rng.random((seeds, 1))
        own = rng.normal(0.0, 6.0, (2, seeds, 1)) + rng.gamma(1.5, 4.0, (2, seeds, runs))
        probes.append((common + own[0] + rng.uniform(2, 6), common + own[1]))
    return probes


honest = Fill(
    2,
    "an honest interval",
    reference=interval,
    probes=_interval_probes,
    compare=close(rtol=3e-4, names=("mean", "half_width")),  # a printed table of t has three decimals
    properties=[("what is given stays as it is", _left_alone)],
    when_right="Paired, a value a seed, Student's t: what both suffered from cancels, and what is one is counted once.",
    hints=[
        "Both controllers met the same starts and noise: take differences first. What is then one independent "
        "value?",
        "Average the differences of a seed's runs; n is the number of seeds. The standard error is the standard "
        "deviation (with n − 1) divided by √n.",
        "`student_t.ppf(0.975, n - 1)` is the factor: 2.78 for five seeds, not 1.96.",
    ],
    mistakes=[
        Mistake("not paired",
                "The spreads of a and b are added as if the two were independent. They met the same starts and noise: "
                "take the differences first, and what both suffered from cancels.", _slip_interval(paired=False)),
        Mistake("runs counted as independent",
                "You count every run as an independent value. Runs of one seed share a network: average within a seed "
                "first, or the interval is far too narrow.", _slip_interval(unit="run")),
        Mistake("two samples",
                "This is the interval of two independent samples, with 2n − 2 degrees of freedom. But the two met the "
                "same starts and noise: take the differences first.", _slip_interval(paired=False, lost=2)),
        Mistake("wrong axis",
                "You have averaged over the seeds, for each run number. The runs are what to average over: a row is a "
                "seed.", _slip_interval(unit="column")),
        Mistake("normal for Student",
                "1.96 is for a spread that is known. Estimated from so few seeds it needs Student's t, which is wider.",
                _slip_interval(table="normal")),
        Mistake("n degrees of freedom",
                "Student's t has n − 1 degrees of freedom here: the mean, estimated from the same n values, takes one.",
                _slip_interval(lost=0)),
        Mistake("one-sided",
                "`ppf(0.95)` leaves 5 % above and 5 % below: that is a 90 % interval. Of 95 %, 2.5 % lie on each side.",
                _slip_interval(sides=1)),
        Mistake("divided by n", "The standard deviation is divided by n: of a few values use n − 1 (`ddof=1`).",
                _slip_interval(ddof=0)),
        Mistake("spread of the values",
                "This is the spread of single seeds, not of their mean: √n is missing.", _slip_interval(power=0.0)),
        Mistake("n for √n", "The standard deviation is divided by n. That of a mean falls with √n only.",
                _slip_interval(power=1.0)),
        Mistake("variance", "The half-width is made of a variance; its square root, the standard deviation, is wanted.",
                _slip_interval(spread="variance")),
        Mistake("no quantile",
                "This is one standard error; it covers about 63 % with five seeds. The quantile is missing.",
                _slip_interval(table="none")),
        Mistake("five seeds built in",
                "Right for five seeds only. Their number is that of the rows.", _slip_interval(seeds=5)),
        Mistake("full width", "This is the full width of the interval; half of it is asked for.",
                _slip_interval(factor=2.0)),
        Mistake("low and high", "These are the two ends of the interval. Asked are its middle and half of its width.",
                _slip_interval(ends=True)),
        Mistake("sign turned", "The difference is a − b: positive where the first controller is dearer.",
                _slip_interval(sign=-1.0)),
        Mistake("sizes of the differences",
                "|a − b| forgets who was cheaper in a run, so that two equal controllers seem to differ.",
                _slip_interval(unit="size")),
        Mistake("sums of the runs", "You have added up the runs of a seed. Asked is the cost of a run, in the mean.",
                _slip_interval(middle=np.sum)),
        Mistake("medians", "The mean cost is what is compared. A median hides the rare run that fails.",
                _slip_interval(middle=np.median)),
        Mistake("median of the seeds",
                "The first number is the median of the seeds. The interval is that of their mean.",
                _slip_interval(centre=np.median)),
    ],
    variants=[_interval_by_loop, _interval_by_scipy],
)  # fmt: skip

# -------------------------------------------------------------------------------- 3: the time of a decision


class Bench:
    """A controller and a clock whose times are drawn beforehand, so that a measurement can be checked.

    Parameters
    ----------
    seconds : array_like
        Duration of each decision in an easy state; the first ones are slow (caches, a first plan). In a hard state,
        whose entries have a positive sum, it takes half as long again.
    """

    def __init__(self, seconds):
        self._seconds, self._now, self._made = list(seconds), 100.0, 0

    def clock(self) -> float:
        """Return the time in s."""
        return self._now

    def decide(self, state) -> float:
        """Make a decision in a state, which takes its time; return the sum of the state's entries."""
        total = float(np.sum(state))
        self._now += self._seconds[self._made % len(self._seconds)] * (HARD if total > 0 else 1.0)
        self._made += 1
        return total

    def __repr__(self):
        return f"bench of {len(self._seconds)} decisions"


HARD = 1.5


def decision_time(bench, states, warm_up):
    """Return the median and the 99 % quantile of the time of a decision, in ms, without the warm-up.

    The `Bench` called bench decides for each of `states`; the first `warm_up` of these decisions do not count.
    """
    return _decision_time(bench, states, warm_up)


def _decision_time(bench, states, warm_up, *, skip="drop", centre=np.median, tail=0.99, scale=1e3, clock="each",
                   state_of=lambda states, k: states[k], decides=1):  # fmt: skip
    seconds, began = [], bench.clock()
    for k in range(warm_up if skip == "never made" else 0, len(states)):
        for _ in range(decides - 1):
            bench.decide(states[k])
        if clock == "each" or clock == "late" and k > warm_up:
            began = bench.clock()
        if decides:
            bench.decide(state_of(states, k))
        seconds.append(bench.clock() - began)
    counted = {"drop": seconds[warm_up:], "one": seconds[1:], "one more": seconds[warm_up + 1 :],
               "the last": seconds[:-warm_up]}.get(skip, seconds)  # fmt: skip
    last = tail(counted) if callable(tail) else np.quantile(counted, tail)
    return scale * centre(counted), scale * last


def _at_its_place(share: float) -> Callable:
    return lambda seconds: seconds[int(share * len(seconds))]


def _slip_time(**slips: Any) -> Callable:
    return lambda bench, states, warm_up: _decision_time(bench, states, warm_up, **slips)


def _time_by_warm_loop(bench, states, warm_up):
    for state in states[:warm_up]:
        bench.decide(state)
    seconds = []
    for state in states[warm_up:]:
        t = bench.clock()
        bench.decide(state)
        seconds.append(1000 * (bench.clock() - t))
    return np.percentile(seconds, 50), np.percentile(seconds, 99)


def _time_by_array(bench, states, warm_up):
    stamps = np.empty((len(states), 2))
    for i, state in enumerate(states):
        stamps[i, 0] = bench.clock()
        bench.decide(state)
        stamps[i, 1] = bench.clock()
    return 1e3 * np.quantile(np.diff(stamps[warm_up:, :], axis=1), [0.5, 0.99])


def _time_probes(rng: np.random.Generator) -> list[tuple]:
    """Give probes on which every way to interpolate finds the same 99 % quantile.

    The first decision that counts and the last one are equally slow, and their times are the two that any way lies
    between; with one decision more or less it would not. Some are slower still: the slowest is not the quantile.
    """
    probes = []
    for counted, warm_up in ((199, 7), (299, 13), (199, 4)):
        n, slower = counted + warm_up, counted // 100
        states, seconds = rng.normal(size=(n, 2)), rng.gamma(3.0, 2e-4, n)
        between = rng.choice(np.arange(warm_up + 1, n - 1), slower + 5, replace=False)
        seconds[between] = np.append(rng.uniform(0.04, 0.06, slower), rng.uniform(0.01, 0.02, 5))
        seconds[[warm_up, -1]] = rng.uniform(0.025, 0.03)
        seconds[:warm_up] += rng.uniform(0.07, 0.4, warm_up)
        probes.append((Bench(seconds / np.where(states.sum(axis=1) > 0, HARD, 1.0)), states, warm_up))
    return probes


timing = Fill(
    3,
    "the time of a decision",
    reference=decision_time,
    probes=_time_probes,
    compare=close(names=("median", "quantile")),
    when_right="A loop at 20 Hz is lost by its slowest decision, not by its median: show both.",
    hints=[
        "The clock belongs around each single decision: read it before, decide, read it after.",
        "The warm-up's decisions must be made, and their times thrown away: `seconds[warm_up:]`.",
        "`np.median` and `np.quantile(seconds, 0.99)`; times are asked for in ms.",
    ],
    mistakes=[
        Mistake("timing with the warm-up",
                "The warm-up is counted: imports, caches and an MPC's first plan are paid once, not at each step.",
                _slip_time(skip="none")),
        Mistake("warm-up never made",
                "The slow first decisions are among those that count: nothing was decided in the first states.",
                _slip_time(skip="never made")),
        Mistake("dropped at the wrong end",
                "The slow first decisions are among those that count; so many have been dropped at the end.",
                _slip_time(skip="the last")),
        Mistake("only one dropped", "Only one decision is dropped, however long the warm-up is.",
                _slip_time(skip="one")),
        Mistake("one too many dropped", "One more decision is dropped than belongs to the warm-up.",
                _slip_time(skip="one more")),
        Mistake("warm-up in the first time",
                "The first time that counts holds the whole warm-up: the clock was last read before it.",
                _slip_time(clock="late")),
        Mistake("mean for median",
                "The first number is a mean: one hiccup of the machine moves it. The median is asked for.",
                _slip_time(centre=np.mean)),
        Mistake("one clock around all",
                "Both numbers are the mean. One clock around the whole loop knows no single decision, so it cannot "
                "tell how slow the slow ones are.", _slip_time(centre=np.mean, tail=np.mean)),
        Mistake("slowest for 99 %",
                "The second number is the slowest decision: it grows with the number of decisions you look at. The "
                "99 % quantile is asked for.", _slip_time(tail=1.0)),
        Mistake("95 %", "The second number is the 95 % quantile; 99 % is asked for.", _slip_time(tail=0.95)),
        Mistake("99 for 0.99",
                "The second number is nearly the *fastest* decision, the quantile of 0.99 %: a percentile is counted "
                "from 0 to 100, a quantile from 0 to 1.", _slip_time(tail=0.0099)),
        Mistake("not sorted",
                "These are the times that stand in the middle and near the end of the list, which is in the order of "
                "the decisions. A quantile is about their order by size.",
                _slip_time(centre=_at_its_place(0.5), tail=_at_its_place(0.99))),
        Mistake("seconds", "These are seconds; ms are asked for.", _slip_time(scale=1.0)),
        Mistake("microseconds", "These are microseconds; ms are asked for.", _slip_time(scale=1e6)),
        Mistake("clock never set back", "The times add up: the clock is read once, before all decisions.",
                _slip_time(clock="once")),
        Mistake("nothing decided",
                "All times are 0: nothing is decided between the two readings of the clock. (Without brackets a "
                "function is not called.)", _slip_time(decides=0)),
        Mistake("every state twice",
                "Each state is decided twice, and the second decision is timed. A controller in use decides once.",
                _slip_time(decides=2)),
        Mistake("one state for all",
                "The decisions are all made in one state. Some states are harder than others.",
                _slip_time(state_of=lambda states, k: states[-1])),
    ],
    variants=[_time_by_warm_loop, _time_by_array],
)  # fmt: skip

# -------------------------------------------------------------------------------- 4: an experiment on adaptation


class Toy:
    """A policy with one number, its gain; the plant is a number, too. For experiments that take no time."""

    def __init__(self, gain: float):
        self.gain = gain

    def __repr__(self):
        return f"policy of gain {self.gain:.4g}"


class NoPolicy(TypeError):
    """There is nothing that could be measured."""


class Cost:
    """Mean cost of a policy on a plant: the dearer, the further the gain is from what the plant needs.

    It is `floor` times the plant, and `slope` times the square of how far the gain is off on top, 1.3 times as much for
    a gain that is too large.
    """

    def __init__(self, floor: float, slope: float):
        self.floor, self.slope = floor, slope

    def __call__(self, policy: Toy, plant: float) -> float:
        """Return the cost.

        Raises
        ------
        NoPolicy
            If it was given None for a policy.
        TypeError
            If it was given something else.
        """
        if policy is None:
            raise NoPolicy("`cost(policy, plant)` was given None for a policy")
        if not isinstance(policy, Toy):
            raise TypeError(f"`cost(policy, plant)` was given {kind_of(policy)} for a policy")
        return self.floor * plant + self.slope * (policy.gain - plant) ** 2 * (1.3 if policy.gain > plant else 1.0)

    def __repr__(self):
        return "cost"


class Adapt:
    """Retraining: moves the policy, in place, a good part of the way (`share`, in [0, 1]) to what a plant needs."""

    def __init__(self, share: float):
        self.share = share

    def __call__(self, policy: Toy, plant: float) -> None:
        """Change the policy."""
        policy.gain += self.share * (plant - policy.gain)

    def __repr__(self):
        return "adapt"


def adaptation(policy, cost, adapt, old, new):
    """Return four costs, called before, right_after, adapted (on the new plant) and back (on the old one).

    `cost(policy, plant)` measures, `adapt(policy, plant)` changes the policy in place; `old` and `new` are the plants.
    """
    return _adaptation(policy, cost, adapt, old, new)


def _adaptation(policy, cost, adapt, old, new, *, trained_on=("new",), first="old", order="before", measured="new",
                back="adapted", relative=False):  # fmt: skip
    untouched = Toy(policy.gain)
    before = cost(policy, old if first == "old" else new)
    after = cost(policy, new)
    for plant in trained_on:
        adapt(policy, new if plant == "new" else old)
    if order != "before":
        after = cost(policy, new)
    if order == "all after":
        before = cost(policy, old)
    adapted = cost(policy, new if measured == "new" else old)
    if back in ("adapted to the old plant", "adapted again"):
        adapt(policy, old if back == "adapted to the old plant" else new)
    last = cost(untouched if back == "untouched" else policy, new if back == "new" else old)
    return (before, *(c - before * relative for c in (after, adapted, last)))


def _slip_adaptation(**slips: Any) -> Callable:
    return lambda policy, cost, adapt, old, new: _adaptation(policy, cost, adapt, old, new, **slips)


def _adaptation_on_a_copy(policy, cost, adapt, old, new):
    from copy import deepcopy

    learner = deepcopy(policy)
    adapt(learner, new)
    return cost(policy, old), cost(policy, new), cost(learner, new), cost(learner, old)


def _adaptation_by_list(policy, cost, adapt, old, new):
    costs = [cost(policy, plant) for plant in (old, new)]
    adapt(policy, new)
    return np.array(costs + [cost(policy, plant) for plant in (new, old)])


def _adaptation_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for _ in range(4):
        old, new = rng.uniform(0.7, 1.2), rng.uniform(1.4, 2.2)
        probes.append((Toy(old + rng.uniform(-0.1, 0.1)), Cost(rng.uniform(80, 150), rng.uniform(100, 400)),
                       Adapt(rng.uniform(0.6, 0.9)), old, new))  # fmt: skip
    return probes


experiment = Fill(
    4,
    "an experiment on adaptation",
    reference=adaptation,
    probes=_adaptation_probes,
    compare=close(names=("before", "right_after", "adapted", "back")),
    when_right="The fourth number is the price that is rarely printed: what the adapted policy has forgotten.",
    hints=[
        "Four numbers, two plants, one policy that changes in place: which numbers must be taken before `adapt`?",
        "`cost(policy, old)`, `cost(policy, new)`, then `adapt(policy, new)`, then again on both plants.",
    ],
    mistakes=[
        Mistake("retrained with the old plant",
                "It is retrained on the old plant: after the change there is only the new one to learn from.",
                _slip_adaptation(trained_on=["old"])),
        Mistake("right after, measured after adapting",
                "The second number is taken after `adapt`, which changes the policy in place: by then it is another "
                "policy.", _slip_adaptation(order="after")),
        Mistake("adapted policy on the old plant only",
                "The third number is measured on the old plant; the question is how well it does on the new one.",
                _slip_adaptation(measured="old")),
        Mistake("never adapted", "The third number equals the second: nothing has been learned. Call `adapt`.",
                _slip_adaptation(trained_on=[])),
        Mistake("before the change on the new plant",
                "The first number is the cost before the change: on the old plant.", _slip_adaptation(first="new")),
        Mistake("old policy on the old plant again",
                "The fourth number is that of the policy as it was. What has the *adapted* one forgotten?",
                _slip_adaptation(back="untouched")),
        Mistake("nothing to forget", "The fourth number is measured on the new plant, like the third.",
                _slip_adaptation(back="new")),
        Mistake("adapted twice", "It has been adapted twice: that is twice the price.",
                _slip_adaptation(trained_on=["new", "new"])),
        Mistake("all measured after adapting",
                "All four are taken after `adapt`, which changes the policy in place: the first two belong before it. "
                "(A second name for the policy is no copy.)", _slip_adaptation(order="all after")),
        Mistake("trained on both plants",
                "It is retrained on the old plant, too. After the change there is only the new one to learn from.",
                _slip_adaptation(trained_on=["old", "new"])),
        Mistake("adapted back",
                "Before the fourth number it is adapted to the old plant again. Asked is what the policy that was "
                "adapted to the new one has forgotten.", _slip_adaptation(back="adapted to the old plant")),
        Mistake("adapted once more", "Between the third number and the fourth it is adapted once more.",
                _slip_adaptation(back="adapted again")),
        Mistake("differences", "These are differences from the first number; the costs themselves are asked for.",
                _slip_adaptation(relative=True)),
        Mistake("`adapt` returns nothing",
                "`adapt` changes the policy in place and returns nothing; what you have called the adapted policy is "
                "None.", lambda policy, cost, adapt, old, new: cost(adapt(policy, new), new), raises=True),
    ],
    variants=[_adaptation_on_a_copy, _adaptation_by_list],
)  # fmt: skip

# -------------------------------------------------------------------------------- 5: a comparison that is biased


class Linear:
    """A torque -(kq sin q + kv v) of the measured state (q, v), by its two gains."""

    def __init__(self, kq: float, kv: float):
        self.kq, self.kv = kq, kv

    def __call__(self, x):
        """Return torques (n,) in N m for measured states x (n, 2)."""
        return -(self.kq * np.sin(x[:, 0]) + self.kv * x[:, 1])

    def __repr__(self):
        return f"gains {self.kq:.3g}, {self.kv:.3g}"


#: The display of the pendulum's speed ends here, rad/s.
DISPLAY, SPEED_LIMIT = 2.0, 2.0


def compare_as_given(controllers, plant, starts, steps, seed):
    """Return costs and violations; with the fault: one controller's noise begins where that of the one before it ended.

    `controllers`, `plant`, `starts`, `steps` and `seed` are those of `compare`.
    """
    return _compare(controllers, plant, starts, steps, seed, stream="one for all")


def compare(controllers, plant, starts, steps, seed):
    """Return, by name, the cost (n,) of each run and its share (n,) of steps beyond the speed limit.

    `controllers` are functions by name, from measured states (n, 2) to torques (n,). Each drives the `plant`
    (`PendulumParameters`) from the same `starts` (n, 2) for so many `steps`, with the noise of the same `seed`.
    """
    return _compare(controllers, plant, starts, steps, seed)


def _compare(controllers, plant, starts, steps, seed, *, stream="same", start="same", judged="after", sees="measured",
             cost_of="before", paid="clipped", limit=1.0, push=1.0, error=1.0, width="each", count="share",
             only_first=False):  # fmt: skip
    rng, found, x = np.random.default_rng(seed), {}, np.array(starts, dtype=float)
    for i, (name, controller) in enumerate(controllers.items()):
        if stream == "same":
            rng = np.random.default_rng(seed)
        elif stream == "another for each":
            rng = np.random.default_rng(seed + i)
        if start == "same":
            x = np.array(starts, dtype=float)
        cost, beyond = np.zeros(len(x)), np.zeros(len(x))
        for _ in range(steps):
            if stream == "again every step":
                rng = np.random.default_rng(seed)
            size = x.shape if width == "each" else (1, 2)
            measured = x + error * plant.measurement_noise * rng.standard_normal(size)
            wanted = controller(measured if sees == "measured" else x)
            u = np.clip(wanted, -limit * plant.max_torque, limit * plant.max_torque)
            random = push * plant.process_noise * rng.standard_normal(len(x) if width == "each" else 1)
            after = dynamics(x, (u + random)[:, None], plant)
            states = {"before": x, "measured": measured, "after": after, "shown": np.clip(after, -DISPLAY, DISPLAY)}
            torque = {"clipped": u, "wanted": wanted, "with the random one": u + random}[paid]
            cost += stage_cost(states[cost_of], torque[:, None])
            beyond += np.abs(states[judged][:, 1]) > SPEED_LIMIT
            x = after
        found[name] = cost, beyond / (steps if count == "share" else 1)
        if only_first:
            break
    return found


def _slip_compare(**slips: Any) -> Callable:
    return lambda controllers, plant, starts, steps, seed: _compare(controllers, plant, starts, steps, seed, **slips)


def _compare_drawn_before(controllers, plant, starts, steps, seed, order="in turns"):
    rng, found = np.random.default_rng(seed), {}
    n = len(starts)
    if order == "in turns":
        drawn = [(rng.standard_normal((n, 2)), rng.standard_normal(n)) for _ in range(steps)]
    elif order == "errors first":
        drawn = list(zip(rng.standard_normal((steps, n, 2)), rng.standard_normal((steps, n)), strict=True))
    else:
        pushes = rng.standard_normal((steps, n))
        drawn = list(zip(rng.standard_normal((steps, n, 2)), pushes, strict=True))
    for name, controller in controllers.items():
        x, cost, fast = starts.copy(), 0.0, 0
        for seen, pushed in drawn:
            u = np.clip(controller(x + plant.measurement_noise * seen), -plant.max_torque, plant.max_torque)
            cost = cost + stage_cost(x, u[:, None])
            x = dynamics(x, (u + plant.process_noise * pushed)[:, None], plant)
            fast = fast + (np.abs(x[:, 1]) > SPEED_LIMIT)
        found[name] = (cost, fast / steps)
    return found


def _slip_drawn_before(order: str) -> Callable:
    return lambda controllers, plant, starts, steps, seed: _compare_drawn_before(
        controllers, plant, starts, steps, seed, order
    )


def _compare_side_by_side(controllers, plant, starts, steps, seed):
    rng, limit = np.random.default_rng(seed), plant.max_torque
    x = {name: starts.copy() for name in controllers}
    cost, fast = ({name: np.zeros(len(starts)) for name in controllers} for _ in range(2))
    for _ in range(steps):
        seen, pushed = rng.standard_normal(starts.shape), rng.standard_normal(len(starts))
        for name, controller in controllers.items():
            u = np.minimum(np.maximum(controller(x[name] + plant.measurement_noise * seen), -limit), limit)
            cost[name] += stage_cost(x[name], u[:, None])
            x[name] = dynamics(x[name], (u + plant.process_noise * pushed)[:, None], plant)
            fast[name] += (x[name][:, 1] > SPEED_LIMIT) | (x[name][:, 1] < -SPEED_LIMIT)
    return {name: (cost[name], fast[name] / steps) for name in controllers}


def _compare_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for _ in range(2):
        controllers = {"one": Linear(*rng.uniform([7, 1], [12, 3])), "other": Linear(*rng.uniform([7, 1], [12, 3]))}
        plant = PendulumParameters(process_noise=rng.uniform(0.3, 0.6), measurement_noise=rng.uniform(0.02, 0.06))
        starts = rng.uniform([-1.4, 2.3], [1.4, 3.5], (6, 2)) * [1, -1] ** rng.permutation(6)[:, None]
        probes.append((controllers, plant, starts, 25, int(rng.integers(1, 10_000))))
    return probes


debug = Debug(
    5,
    "a comparison that is biased",
    reference=compare,
    given=compare_as_given,
    probes=_compare_probes,
    properties=[("what is given stays as it is", _left_alone)],
    when_right="Same plant, same starts, same noise: now the difference belongs to the controllers.",
    hints=[
        "Hand in the same controller twice under two names. What should the two rows be, and what are they?",
        "Who draws the random numbers of the second controller, and how often has it drawn before?",
    ],
    mistakes=[
        Mistake("another seed for each",
                "Each controller now has a seed of its own: still another noise for each, only repeatably so.",
                _slip_compare(stream="another for each")),
        Mistake("same noise in every step",
                "The generator is made anew in every step, so that the same noise comes again and again: that is a "
                "constant push, not noise.", _slip_compare(stream="again every step")),
        Mistake("no random torque", "The random torque is gone. Noise is not what is wrong with this comparison.",
                _slip_compare(push=0.0)),
        Mistake("no noise",
                "All noise is gone, and with it what the two controllers have to cope with. It may stay, if both meet "
                "the same.", _slip_compare(push=0.0, error=0.0)),
        Mistake("measurements made exact",
                "You have taken away the measurement noise. The random torque is still another for each controller, "
                "and noise is not what was wrong.", _slip_compare(stream="one for all", error=0.0)),
        Mistake("errors drawn first",
                "Fair, but all measurement errors are drawn before all torques: another order of the draws, so that "
                "the numbers cannot be compared. The repair is smaller.", _slip_drawn_before("errors first")),
        Mistake("torques drawn first",
                "Fair, but all random torques are drawn before all measurement errors: another order of the draws, so "
                "that the numbers cannot be compared. The repair is smaller.", _slip_drawn_before("torques first")),
        Mistake("controller sees the true state",
                "The controllers see the true state now: the measurement noise is part of the task.",
                _slip_compare(sees="true")),
        Mistake("torque not limited", "The torque is not clipped any more. The motor's limit holds for all.",
                _slip_compare(limit=np.inf)),
        Mistake("limit gone, bias still there",
                "The torque is not clipped any more; the motor's limit was not what made it unfair.",
                _slip_compare(limit=np.inf, stream="one for all")),
        Mistake("one noise for all runs", "All runs of a controller share one noise now: they count as one run.",
                _slip_compare(width="one")),
        Mistake("starts where the other ended",
                "The second controller starts where the first one ended. Starts must be copied for each.",
                _slip_compare(start="goes on")),
        Mistake("violations counted on clipped states",
                "Violations are counted on the display's speed, which is clipped at the very limit: it cannot exceed "
                "it. Count on the true states.", _slip_compare(judged="shown")),
        Mistake("violations counted on measured states",
                "Violations are counted on what was measured, with its noise. Count on the true states.",
                _slip_compare(judged="measured")),
        Mistake("violations counted before the step",
                "Violations are counted before each step: the start is among them, and the last state is not.",
                _slip_compare(judged="before")),
        Mistake("cost after the step", "The cost is that of the state after the step, with the torque before it.",
                _slip_compare(cost_of="after")),
        Mistake("random torque paid", "The random torque is paid for, too: the controller has not asked for it.",
                _slip_compare(paid="with the random one")),
        Mistake("cost of the measured state", "The cost is charged for what was measured. The plant pays for what is.",
                _slip_compare(cost_of="measured")),
        Mistake("torque not clipped in the cost",
                "Charged is the torque that was asked for; the motor gave the clipped one.",
                _slip_compare(paid="wanted")),
        Mistake("count for share", "The violations are a number of steps now; a share of the steps is expected.",
                _slip_compare(count="number")),
    ],
    variants=[_compare_drawn_before, _compare_side_by_side],
)  # fmt: skip

# -------------------------------------------------------------------------------- 6: a filter for a network

MAX_SPEED = 6.0
ROUGH = PendulumParameters(process_noise=0.5)
_network: list[Callable] = []


def network(x) -> np.ndarray:
    """Return the torques (n,) that the first trained DDPG agent of lecture 04 asks for at the states x (n, 2)."""
    if not _network:
        with places.data("agents_04.npz") as file:
            _network.append(trained_policies({"nominal actor": file["nominal actor"]})["nominal"])
    return np.ravel(_network[0](x))


def safe(x, u):
    """Return the network's torques u (n,) at the states x (n, 2), changed as little as the barrier condition asks."""
    return _barrier(5.9, 0.3)(x, u)


def _barrier(limit: float, kappa: float) -> Callable:
    def filtered(x, u):
        low, high = barrier_torques(x, limit, kappa)
        return np.minimum(np.maximum(u, low), high)

    return filtered


def measure(filtered: Callable, seed: int) -> dict[str, float]:
    """Measure a filter around the network: 60 starts around the circle, noise of 0.5 N m, two noise seeds.

    Parameters
    ----------
    filtered : callable
        States (n, 2) and the network's torques (n,) to torques (n,); the motor clips them to 2 N m.
    seed : int
        Of the noise.
    """
    q = -np.pi + 2 * np.pi * (np.arange(60) + 0.5) / 60
    starts = np.tile(np.stack([q, np.tile([-0.7, 0.1, 0.8], 20)], axis=1), (2, 1))
    noise = ROUGH.draw(seed, len(starts), 200)
    runs = [run(policy, ROUGH, starts, noise) for policy in (network, lambda x: filtered(x, network(x)))]
    return {
        "steps beyond 6 rad/s": float(violations(runs[1].x, MAX_SPEED).mean()),
        "extra cost": float((runs[1].cost - runs[0].cost).sum(0).mean()),
        "upright in the last second": float(upright(runs[1].x, within=0.6).mean()),
    }


def _measured(filtered, seed):
    if not callable(filtered):
        raise TypeError("hand in the function itself: states (n, 2) and torques (n,) to torques (n,)")
    return measure(filtered, seed)


def _torque(f, q: float, v: float, u: float) -> float:
    """The filter's torque at one state, as the motor gives it."""
    return float(np.clip(np.ravel(f(np.array([[q, v]]), np.array([u])))[0], -2.0, 2.0))


#: Far from the limit, where no torque of the motor does harm.
SLOW = [(3.0, 0.2), (-2.8, -0.3), (0.4, 0.1), (-1.2, -0.2), (1.6, 0.4)]


def _when_slow(f, u: float) -> np.ndarray:
    return np.array([_torque(f, q, v, u) for q, v in SLOW])


def _leaves_slow_alone(f) -> bool:
    return all(np.allclose(_when_slow(f, u), u) for u in (-0.8, 0.6))


def _against(f, q: float, v: float, u: float) -> float:
    """The least torque against the velocity near the limit, at a state and at its mirror image."""
    return min(-_torque(f, q, v, u), _torque(f, -q, -v, -u))


def _one_side(x, u):
    return np.minimum(u, barrier_torques(x, 5.9, 0.3)[1])


def _swapped(x, u):
    low, high = barrier_torques(x, 5.9, 0.3)
    return np.maximum(np.minimum(u, low), high)


def _own_formula(x, u):
    """The condition on v+ written out, with gravity and friction; the same margin for all."""
    q, v = x[:, 0], x[:, 1]
    free = v + 0.05 * (15 * np.sin(q) - 3 * 0.05 * v)
    up, down = 5.9 - 0.7 * (5.9 - v), -5.9 + 0.7 * (5.9 + v)
    return np.clip(u, (down - free) / 0.15, (up - free) / 0.15)


def _braking_zone(x, u):
    low, high = barrier_torques(x, 5.95, 0.32)
    return np.where(u > high, high, np.where(u < low, low, u))


design = Design(
    6,
    "a filter for a network",
    reference=safe,
    measure=_measured,
    targets={"steps beyond 6 rad/s": ("<=", 0.002), "extra cost": ("<=", 50.0),
             "upright in the last second": (">=", 0.99)},
    when_right="The network knows of no limit, and two lines with a model keep it: that is action restriction.",
    hints=[
        "`barrier_torques(x, limit, kappa)` gives the lowest and the highest torque that keep the condition. What does "
        "changing u as little as possible mean, once you have both?",
        "`np.minimum(np.maximum(u, low), high)`. With κ = 1 it brakes in the last step only, and the motor is too weak "
        "for that; with κ = 0.1 it forbids the swing.",
        "The noise moves v by 0.075 rad/s a step (one standard deviation): keep a limit a little below 6.",
    ],
    mistakes=[
        Mistake("changes nothing", "The network's torque comes out as it went in, also where it must not.",
                lambda f, m: all(abs(_torque(f, q, v, u) - u) < 1e-9 for q, v, u in
                                 ((2.0, 5.95, 2.0), (-2.0, -5.95, -2.0), (1.5, 6.3, 1.5))),
                lambda x, u: u),
        Mistake("bounds swapped",
                "Nearly at rest it gives full torque to one side, whatever the network wants: are low and high in "
                "their places?",
                lambda f, m: any(all((side * _when_slow(f, u) > 1.99).all() for u in (0.7, -0.4)) for side in (1, -1)),
                _swapped),
        Mistake("ignores the network",
                "Far from the limit your torque does not depend on the network's: the least change there is none.",
                lambda f, m: np.allclose(_when_slow(f, 1.0), _when_slow(f, -1.0)), lambda x, u: -0.5 * x[:, 1]),
        Mistake("changes it everywhere",
                "Far from the limit, nearly at rest, your torque is not the network's. Where nothing is at stake, the "
                "least change is none.",
                lambda f, m: all((abs(_when_slow(f, u) - u) > 1e-3).all() for u in (0.6, -0.8)), lambda x, u: u / 2),
        Mistake("one side only", "Only one direction of turning is guarded.",
                lambda f, m: (_torque(f, 2.5, 5.95, 2.0) < 1.9) != (_torque(f, -2.5, -5.95, -2.0) > -1.9), _one_side),
        Mistake("with the velocity",
                "Near the limit your torque works with the velocity, though the network asks for none: it gets faster.",
                lambda f, m: _against(f, 2.0, 5.8, 0.0) < -1e-3 and _against(f, -1.0, 5.8, 0.0) < -1e-3,
                lambda x, u: np.where(np.abs(x[:, 1]) > 5, 2 * np.sign(x[:, 1]), u)),
        Mistake("lets go",
                "Near the limit your torque is zero, and there gravity alone makes it faster. It has to brake.",
                lambda f, m: all(abs(_torque(f, side * q, side * v, side * u)) < 1e-9 for side in (1, -1)
                                 for q, v, u in ((2.0, 5.8, 2.0), (2.4, 5.95, 1.0), (1.2, 5.9, 2.0))),
                lambda x, u: np.where(np.abs(x[:, 1]) > 5, 0, u)),
        Mistake("brakes when it is too late",
                "At 5.9 rad/s, falling, the network may still push with full force; the brake comes beyond the limit.",
                lambda f, m: _torque(f, 2.5, 5.9, 2.0) > 1.9 and _torque(f, 2.5, 6.2, 2.0) < 1.0,
                lambda x, u: np.where(np.abs(x[:, 1]) > MAX_SPEED, -2 * np.sign(x[:, 1]), u)),
        Mistake("too timid",
                "Safe, but too few swing up: at half the speed that is allowed, the torque is taken away already.",
                lambda f, m: m["steps beyond 6 rad/s"] <= 0.002 and m["upright in the last second"] < 0.6
                and _against(f, 2.0, 3.2, 2.0) > -1.9, _barrier(6.0, 0.1)),
        Mistake("a switch",
                "From some speed on it brakes with full force, also where gravity brakes already and the network does "
                "no harm: that is not the least change.",
                lambda f, m: _leaves_slow_alone(f) and _against(f, -1.5, 5.5, 0.0) > 1.99,
                lambda x, u: np.where(np.abs(x[:, 1]) > 5, -2 * np.sign(x[:, 1]), u)),
        Mistake("looks one step ahead only",
                "It lets the speed come right up to the limit, and then one step of full torque is too weak to stop "
                "the fall: begin earlier (κ < 1).",
                lambda f, m: m["steps beyond 6 rad/s"] > 0.005 and _leaves_slow_alone(f)
                and _against(f, 2.0, 4.8, 2.0) < -1.99 and _against(f, -1.5, 5.5, 1.0) < -0.99
                and _against(f, 2.0, 5.9, 2.0) > 1.99, _barrier(6.0, 1.0)),
        Mistake("not enough",
                "It changes little and brakes near the limit, as it should; but the fall and the noise carry it "
                "beyond. Brake a little earlier, or keep more distance.",
                lambda f, m: 0.002 < m["steps beyond 6 rad/s"] < 0.012 and _leaves_slow_alone(f)
                and _against(f, 2.0, 5.9, 2.0) > 1.99, _barrier(6.0, 0.5)),
        Mistake("dear", "Safe, but the swing pays for it: smaller margins, or a later brake.",
                lambda f, m: m["steps beyond 6 rad/s"] <= 0.002 and m["extra cost"] > 50.0, _barrier(5.68, 0.3)),
    ],
    variants=[_own_formula, _braking_zone],
)  # fmt: skip

# -------------------------------------------------------------------------------- 7: an interval that covers zero

explain = Explain(
    7,
    "an interval that covers zero",
    reference="e",
    choices={
        "a": "The two controllers are equally good: the difference is not significant.",
        "b": "MPC is better, since the mean difference is in its favour; five seeds are just too few to show it.",
        "c": "With a probability of 95 % a run of MPC is cheaper than a run of DDPG from the same start.",
        "d": "Nothing: an interval that covers zero is a failed experiment, to be repeated with new seeds until it "
        "does not.",
        "e": "Whichever is better, the difference is at most about 11 in the mean: these data cannot tell its sign, "
        "and rule out a larger one at this confidence.",
    },
    reasons={
        1: "Both ends, −11 and 5, are mean differences that fit these data.",
        2: "Most of the interval lies below zero, so that with a probability of 95 % MPC is the cheaper one.",
        3: "If the mean difference were beyond either end, data like these would come in fewer than one of twenty such "
        "experiments.",
        4: "Both controllers met the same starts and noise, so that what both suffered from cancels.",
        5: "Zero lies in the interval, so that it is more likely than any other difference.",
    },
    carrying=(1, 3),
    when_right="An interval says more than a verdict: how large a difference there may still be.",
    hints=[
        "Read the two ends of the interval one by one: what difference is still possible, and which one is not?",
        "An interval of the *mean* says nothing about single runs; and repeating until it looks right is a method, "
        "too, but not an honest one.",
    ],
    mistakes=[
        Mistake("equal",
                "Not being able to tell is not being equal: a difference of 11 is as compatible with these data as "
                "none.", "a"),
        Mistake("the mean decides",
                "The sign of the mean is what the interval says you cannot trust: with other seeds it may well turn.",
                "b"),
        Mistake("single runs",
                "The interval is that of the mean difference. Single runs differ by far more, both ways.", "c"),
        Mistake("until it is significant",
                "Repeating until the interval leaves zero makes it leave zero in the end, for no reason at all.", "d"),
        Mistake("most of it is below zero",
                "Reason 2 is false: 95 % belongs to the interval as a whole, and part of it lies above zero.", 2),
        Mistake("pairing",
                "Reason 4 is true: it makes the interval as narrow as it is. What an interval allows one to say does "
                "not follow from it.", 4),
        Mistake("zero is likely",
                "Reason 5 is false: that a value lies inside does not make it likelier than its neighbours, and the "
                "best guess is the middle, −3.", 5),
    ],
)  # fmt: skip

exercise = Exercise(4, "Which, when?", [predict, honest, timing, experiment, debug, design, explain])
