"""Answers to exercise 04 by someone who saw only the notebook: (item, the slip in a few words, the answer)."""

import copy

import numpy as np
from scipy import stats

from mpcrl_course.checks.ex04 import compare_as_given  # as the notebook imports it
from mpcrl_course.envs.pendulum import dynamics, stage_cost
from mpcrl_course.policies import barrier_torques


def interval(of=lambda a, b: (a - b).mean(axis=1), lost=1, ddof=1, result=lambda mean, half: (mean, half)):
    """Write the interval of the values `of` makes."""

    def answer(a, b):
        d = of(a, b)
        n = len(d)
        return result(d.mean(), stats.t.ppf(0.975, n - lost) * d.std(ddof=ddof) / np.sqrt(n))

    return answer


def not_paired(a, b):
    """Two samples, both spreads added."""
    one, other, n = a.mean(1), b.mean(1), len(a)
    half = stats.t.ppf(0.975, 2 * n - 2) * np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / n)
    return one.mean() - other.mean(), half


def in_place(a, b):
    """To save memory."""
    a -= b
    return interval()(a, 0 * b)


def by_the_paired_test(a, b):
    """SciPy's paired test gives the interval."""
    low, high = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).confidence_interval(0.95)
    return (low + high) / 2, (high - low) / 2


def times(bench, states, warm_up=0):
    """Time each decision in ms."""
    found = []
    for state in states:
        before = bench.clock()
        bench.decide(state)
        found.append(1e3 * (bench.clock() - before))
    return np.array(found[warm_up:])


def one_clock(bench, states, warm_up):
    """One measurement around the loop, divided by the number."""
    for state in states[:warm_up]:
        bench.decide(state)
    before = bench.clock()
    for state in states[warm_up:]:
        bench.decide(state)
    each = 1e3 * (bench.clock() - before) / len(states[warm_up:])
    return each, each


def stamps(bench, states, warm_up):
    """Differences of time stamps: the first one counts the warm-up, too."""
    at = [bench.clock()]
    for k, state in enumerate(states):
        bench.decide(state)
        if k >= warm_up:
            at.append(bench.clock())
    t = 1e3 * np.diff(at)
    return np.median(t), np.quantile(t, 0.99)


def of_times(centre, tail):
    """Make two numbers of the times that count."""
    return lambda *given: (centre(found := times(*given)), tail(found))


def tail(seconds):
    """Of the times, the one that 99 % do not exceed."""
    return np.quantile(seconds, 0.99)


def in_order(policy, cost, adapt, old, new):
    """In the order of events."""
    before, after = cost(policy, old), cost(policy, new)
    adapt(policy, new)
    return before, after, cost(policy, new), cost(policy, old)


def all_after(policy, cost, adapt, old, new):
    """A second name is no copy."""
    kept = policy
    adapt(policy, new)
    return cost(kept, old), cost(kept, new), cost(policy, new), cost(policy, old)


def what_adapt_returns(policy, cost, adapt, old, new):
    """As if it returned the new policy."""
    before, after = cost(policy, old), cost(policy, new)
    policy = adapt(policy, new)
    return before, after, cost(policy, new), cost(policy, old)


def adapts_back(policy, cost, adapt, old, new):
    """Back on the old plant it may adapt again."""
    three = in_order(policy, cost, adapt, old, new)[:3]
    adapt(policy, old)
    return *three, cost(policy, old)


def last_of_the_original(policy, cost, adapt, old, new):
    """The one that was kept goes back."""
    kept = copy.deepcopy(policy)
    return *in_order(policy, cost, adapt, old, new)[:3], cost(kept, old)


def back_first(policy, cost, adapt, old, new):
    """Measuring changes nothing: its order between two adaptations is free."""
    after, before = cost(policy, new), cost(policy, old)
    adapt(policy, new)
    back = cost(policy, old)
    return [before, after, cost(policy, new), back]


def comparison(seed_of=lambda seed, i: seed, drawn="in turns", noisy=True, shared=False, cost_of="true"):
    """Write the comparison with its switches."""

    def compare(controllers, plant, starts, steps, seed):
        found, x, n = {}, starts.copy(), len(starts)
        for i, (name, controller) in enumerate(controllers.items()):
            rng = np.random.default_rng(seed_of(seed, i))
            pushes = rng.standard_normal((steps, n)) if drawn == "before" else None
            x = x if shared else starts.copy()
            cost, beyond = np.zeros(n), np.zeros(n)
            for k in range(steps):
                if drawn == "anew":
                    rng = np.random.default_rng(seed)
                shown = x + noisy * plant.measurement_noise * rng.standard_normal(x.shape)
                u = np.clip(controller(shown), -plant.max_torque, plant.max_torque)
                cost += stage_cost(x if cost_of == "true" else shown, u[:, None])
                push = rng.standard_normal(n) if pushes is None else pushes[k]
                x = dynamics(x, (u + noisy * plant.process_noise * push)[:, None], plant)
                beyond += np.abs(x[:, 1]) > 2
            found[name] = cost, beyond / steps
        return found

    return compare


def one_at_a_time(controllers, plant, starts, steps, seed):
    """Calls the given one for each controller alone."""
    return {name: compare_as_given({name: c}, plant, starts, steps, seed)[name] for name, c in controllers.items()}


def barrier(limit, kappa):
    """Clip to the torques of a barrier."""
    return lambda x, u: np.clip(u, *barrier_torques(x, limit, kappa))


def beyond(speed, torque):
    """Give another torque where it is faster."""
    return lambda x, u: np.where(np.abs(x[:, 1]) > speed, torque * np.sign(x[:, 1]), u)


WRONG = [
    (1, "that it does come", 0.33),
    (1, "one minus the expected number", 0.6),
    (2, "every run independent", interval(lambda a, b: (a - b).ravel())),
    (2, "not paired", not_paired),
    (2, "wrong axis", interval(lambda a, b: (a - b).mean(axis=0))),
    (2, "n degrees of freedom", interval(lost=0)),
    (2, "the two ends", interval(result=lambda mean, half: (mean - half, mean + half))),
    (2, "a overwritten", in_place),
    (3, "warm-up not decided", lambda bench, states, n: of_times(np.median, tail)(bench, states[n:])),
    (3, "a percentile of 0.99", of_times(np.median, lambda t: np.percentile(t, 0.99))),
    (3, "one clock around the loop", one_clock),
    (3, "time stamps from before the warm-up", stamps),
    (4, "all measured after adapting", all_after),
    (4, "what adapt returns", what_adapt_returns),
    (4, "adapts back", adapts_back),
    (4, "the original back on the old plant", last_of_the_original),
    (5, "a seed for each controller", comparison(lambda seed, i: seed + i)),
    (5, "the generator anew in every step", comparison(drawn="anew")),
    (5, "another order of the draws", comparison(drawn="before")),
    (5, "no noise", comparison(noisy=False)),
    (5, "goes on where the other ended", comparison(shared=True)),
    (6, "one step ahead", barrier(6.0, 1.0)),
    (6, "middle of the allowed torques", lambda x, u: sum(barrier_torques(x, 5.8, 0.4)) / 2),
    (6, "a switch", beyond(5.0, -2.0)),
    (7, "the mean decides", ("b", [1, 3])),
    (7, "right because zero is likely", ("e", [1, 5])),
]

RIGHT = [
    (1, "Poisson", float(np.exp(-0.4))),
    (1, "text", "0.67"),
    (2, "formula", interval()),
    (2, "paired test", by_the_paired_test),
    (3, "an array of both", lambda *given: np.quantile(times(*given), [0.5, 0.99])),
    (3, "the higher of two", of_times(np.median, lambda t: np.quantile(t, 0.99, method="higher"))),
    (4, "in order", in_order),
    (4, "back first", back_first),
    (5, "a generator for each", comparison()),
    (5, "one at a time", one_at_a_time),
    (6, "a little below, and early", barrier(5.8, 0.4)),
    (6, "at the limit, but earlier", barrier(6.0, 0.3)),
    (7, "letter and numbers", ("(e)", "(1) and (3)")),
]
