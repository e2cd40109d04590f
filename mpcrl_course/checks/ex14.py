"""Exercise 14, on what is open: trial instead of gradients, logs, tails, and decisions that are on or off.

Seven items: how many plans a minimum run time leaves, a cross-entropy update that looks at the tail, expected
improvement, the targets of fitted Q, a tuner that praises itself, an MPC tuned in thirty questions, and why more of the
same log is no cure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.special import erf, ndtr
from scipy.stats import norm

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.closed_loop import run
from mpcrl_course.envs.linear import NOMINAL, START
from mpcrl_course.policies.parameterised import LINEAR_FIRST, LINEAR_LOWER, LINEAR_UPPER, linear_theta
from mpcrl_course.problems import linear_mpc

# ---------------------------------------------------------------------------- 1: what a minimum run time leaves

STAGES, RUN_TIME = 5, 3

predict = Predict(
    1,
    "plans that a minimum run time leaves",
    reference=10.0,
    rtol=0.0,
    atol=0.0,
    when_right="Of 32 plans 10 are left: a rule that couples a few steps says more than a bound on each.",
    hints=[
        "Sort the plans by when the pump starts first. A start at k = 2 decides k = 2, 3 and 4.",
        "One plan never starts. Then four of the five starts leave little: count what may follow k = 0, 1 and 2.",
    ],
    mistakes=[
        Mistake("no minimum", "These are all plans of five steps, the minimum run time forgotten.", 32.0),
        Mistake("two steps at least",
                "So many are left if the pump runs for two steps at least; here it is three.",
                16.0),
        Mistake("run within the plan",
                "You have left out the starts at k = 3 and 4. The rows look only back: a run may go on beyond the "
                "plan's end.", 7.0),
        Mistake("exactly three steps",
                "You count runs of just three steps. Three is the least: the pump may go on.", 6.0),
        Mistake("always off", "The pump need not start at all: on = 0 throughout keeps every row, too.", 9.0),
        Mistake("on before",
                "So many are left if the pump may end a run that it has done already; it is off before k = 0.",
                17.0),
        Mistake("off for three steps as well",
                "You keep the pump off for three steps as well: a minimum time off would be another row.", 8.0),
        Mistake("places of the start",
                "You count the steps at which it may start. Each leaves several plans, or one.",
                5.0),
        Mistake("four blocks", "You count more steps for a run than the three of m = 3.", (3.0, 4.0)),
    ],
)  # fmt: skip


def allowed(on, run_time: int) -> bool:
    """Whether a plan `on` (N,), of 0 and 1, off before, keeps the rows of a minimum of `run_time` steps."""
    on = np.asarray(on)
    start = np.maximum(on - np.concatenate([[0], on[:-1]]), 0)
    return all(start[max(0, k - run_time + 1) : k + 1].sum() <= on[k] for k in range(len(on)))


# -------------------------------------------------------------------- 2: a generation, judged by its worst episodes


def moved(mu, sigma, z, costs, elite, share, keep):
    """Return the risk (P,) of each candidate, and mu and sigma (n,) after the generation.

    mu, sigma (n,); candidates z (P, n), costs (P, M) of M episodes of each; so many of least risk are the elite. The
    risk is the mean of the worst `share` of the M costs, the last of them counted in part; share M >= 1. Of the old
    sigma a part, `keep`, stays.
    """
    return _moved()(mu, sigma, z, costs, elite, share, keep)


def _tails(costs, share, side=-1.0, part=lambda m: m, by=lambda m: m):
    m = part(share * costs.shape[1])
    weights = np.clip(m - np.arange(costs.shape[1]), 0.0, 1.0)
    return side * np.sort(side * costs, axis=1) @ weights / by(m)


def _next(costs, share):
    whole = int(share * costs.shape[1])
    return (share * costs.shape[1] - whole) * -np.sort(-costs, axis=1)[:, whole]


def _between(costs, share):
    part = share * costs.shape[1] % 1.0
    low, high = (_tails(costs, share, part=to_whole, by=to_whole) for to_whole in (np.floor, np.ceil))
    return (1.0 - part) * low + part * high


def _moved(
    risk: Callable = _tails,
    rank: Callable = lambda risk, costs: risk,
    order: Callable = np.argsort,
    chosen: Callable = lambda order, elite: order[:elite],
    centre: Callable = lambda best, risk: best.mean(axis=0),
    about: Callable = lambda mu, new: mu,
    spread: Callable = lambda e: np.sqrt((e**2).mean(axis=0)),
    mixed: Callable = lambda old, new, keep: (1.0 - keep) * new + keep * old,
    mixed_mu: Callable = lambda old, new, keep: new,
) -> Callable:
    """Make the update from its parts; each may be replaced by a faulty one."""

    def update(mu, sigma, z, costs, elite, share, keep):
        risks = risk(costs, share)
        elite = chosen(order(rank(risks, costs)), elite)
        new = centre(z[elite], risks[elite])
        return risks, mixed_mu(mu, new, keep), mixed(sigma, spread(z[elite] - about(mu, new)), keep)

    return update


def _moved_in_loops(mu, sigma, z, costs, elite, share, keep):
    risks = []
    for row in costs:
        left, total = share * len(row), 0.0
        for cost in sorted(row, reverse=True):
            total += cost * min(1.0, left)
            left = max(0.0, left - 1.0)
        risks.append(total / (share * len(row)))
    best = [z[i] for i in sorted(range(len(z)), key=lambda i: risks[i])[:elite]]
    new = sum(best) / elite
    square = sum((one - mu) ** 2 for one in best) / elite
    return {"risk": np.array(risks), "mu": new, "sigma": keep * sigma + (1 - keep) * square**0.5}


def _moved_by_the_least(mu, sigma, z, costs, elite, share, keep):
    # Rockafellar and Uryasev: the least over c of c + mean(max(0, costs - c)) / share, which a cost attains
    above = np.maximum(costs[:, :, None] - costs[:, None, :], 0.0).mean(axis=1) / share
    risk = (costs + above).min(axis=1)
    best = z[risk <= np.sort(risk)[elite - 1]]
    spread = np.linalg.norm(best - mu, axis=0) / np.sqrt(elite)
    return risk, np.mean(best, axis=0), spread + keep * (sigma - spread)


def _some_generations(rng: np.random.Generator) -> list[dict]:
    probes = []
    for P, n, M, elite, share in ((5, 2, 7, 2, 0.35), (7, 3, 6, 3, 0.6), (6, 1, 9, 2, 0.4), (8, 2, 5, 3, 0.3)):
        mu = rng.uniform(0.4, 1.4, n) * rng.choice([-1, 1], n)
        sigma, z = rng.uniform(0.2, 0.9, n), mu + 0.6 * rng.normal(size=(P, n))
        while True:  # until the elite by the tail is none by the mean or by the least costs, nor the first of the list
            level, width = rng.permutation(np.linspace(1.0, 3.0, P)), rng.permutation(np.linspace(0.3, 3.0, P))
            costs = (level[:, None] + width[:, None] * rng.exponential(size=(P, M))).round(3)
            ranks = (_tails(costs, share), costs.mean(axis=1), _tails(costs, share, side=1.0), np.arange(P))
            best, *others = (set(np.argsort(rank)[:elite].tolist()) for rank in ranks)
            if best not in others:
                break
        probes.append(dict(mu=mu.round(2), sigma=sigma.round(2), z=z.round(2), costs=costs, elite=elite, share=share,
                           keep=round(float(rng.uniform(0.15, 0.4)), 2)))  # fmt: skip
    return probes


generation = Fill(
    2,
    "a generation, judged by its worst episodes",
    reference=moved,
    probes=_some_generations,
    compare=close(rtol=1e-7, atol=1e-9, names=("risk", "mu", "sigma")),
    when_right="Who is ranked by the tail learns to avoid it: the update itself asks only for an order.",
    hints=[
        "The risk first, alone: with M = 5 and share = 0.3, 1.5 costs count. Which, and how much of each?",
        "`np.clip(m - np.arange(M), 0, 1)` with m = share · M is 1 for each cost that counts in full, then the part of "
        "the last one, then 0. It fits costs in falling order.",
        "best = z[np.argsort(risk)[:elite]]; about which mean are its deviations taken, and with which weight does the "
        "old sigma stay?",
    ],
    mistakes=[
        Mistake("tail on the wrong side",
                "This is the mean of the *least* costs. Costs are bad where they are large: the tail is the upper one.",
                _moved(risk=lambda c, share: _tails(c, share, side=1.0))),
        Mistake("tail beyond", "You average all but the worst share: share is how much counts, not where it begins.",
                _moved(risk=lambda c, share: _tails(c, 1.0 - share, side=1.0))),
        Mistake("all but the best share",
                "You count 1 − share of the costs: share itself is the part that counts.",
                _moved(risk=lambda c, share: _tails(c, 1.0 - share))),
        Mistake("rounded down", "share · M is rounded down: the last cost should count in part.",
                _moved(risk=lambda c, share: _tails(c, share, part=np.floor))),
        Mistake("rounded up",
                "The number of costs that count is rounded up (as `costs >= quantile` does, too): the last one should "
                "count only in part.",
                _moved(risk=lambda c, share: _tails(c, share, part=np.ceil))),
        Mistake("rounded", "share · M is rounded: the last cost should count in part.",
                _moved(risk=lambda c, share: _tails(c, share, part=np.round))),
        Mistake("divided by a whole number", "The last cost counts in part, but you divide as if it counted in full.",
                _moved(risk=lambda c, share: _tails(c, share, by=np.ceil))),
        Mistake("divided by the whole part", "The last cost counts in part, but you divide as if it did not count.",
                _moved(risk=lambda c, share: _tails(c, share, by=np.floor))),
        Mistake("sum of the tail", "This is a sum over the tail; its mean is asked for.",
                _moved(risk=lambda c, share: _tails(c, share, by=lambda m: 1.0))),
        Mistake("divided by all episodes", "The tail is divided by M. It has share · M costs.",
                _moved(risk=lambda c, share: _tails(c, share) * share)),
        Mistake("sorted along the candidates",
                "You have sorted each episode over the candidates: the worst ones of *one* candidate are asked for.",
                _moved(risk=lambda c, share: _tails(np.sort(c, axis=0), share))),
        Mistake("part added to a mean",
                "You add a part of the next cost to the mean of the others: its part counts above and below the line.",
                _moved(risk=lambda c, share: _tails(c, share, part=np.floor, by=np.floor) + _next(c, share))),
        Mistake("means of two tails mixed",
                "You mix the means of two whole tails. The last cost counts in part in one sum, divided by share · M.",
                _moved(risk=lambda c, share: _between(c, share))),
        Mistake("quantile", "This is the quantile, where the tail begins. CVaR is the mean of what lies beyond.",
                _moved(risk=lambda c, share: np.quantile(c, 1.0 - share, axis=1))),
        Mistake("worst episode only",
                "Only the worst episode counts here.",
                _moved(risk=lambda c, share: c.max(axis=1))),
        Mistake("mean of all episodes", "This is the mean over all episodes; where does share come in?",
                _moved(risk=lambda c, share: c.mean(axis=1))),
        Mistake("ranked by the mean", "The risks are right, but the elite is chosen by the mean costs.",
                _moved(rank=lambda risk, costs: costs.mean(axis=1))),
        Mistake("worst candidates",
                "Your elite has the *largest* risk.",
                _moved(chosen=lambda o, elite: o[::-1][:elite])),
        Mistake("first candidates", "Your elite are the first candidates of the list: order them by risk.",
                _moved(order=lambda risk: np.arange(len(risk)))),
        Mistake("one more", "Your elite has one candidate too many.", _moved(chosen=lambda o, elite: o[: elite + 1])),
        Mistake("best only as mu", "mu has become the best candidate alone: the mean of the elite is asked for.",
                _moved(centre=lambda best, risk: best[0])),
        Mistake("mean of all candidates", "mu is the mean of all candidates here, and sigma their spread.",
                _moved(chosen=lambda o, elite: o)),
        Mistake("sigma about the new mean",
                "The spread is taken about the *new* mean. About the old one a generation that moves stays wide.",
                _moved(about=lambda mu, new: new)),
        Mistake("unbiased sigma", "You divide by elite − 1; the mean of squares about a given point divides by elite.",
                _moved(spread=lambda e: np.sqrt((e**2).sum(axis=0) / (len(e) - 1.0)))),
        Mistake("unbiased sigma about the new mean",
                "This is the elite's own deviation, with elite − 1: the spread is about the old mu, and divides by "
                "elite.", _moved(about=lambda mu, new: new,
                                 spread=lambda e: np.sqrt((e**2).sum(axis=0) / (len(e) - 1.0)))),
        Mistake("variance for deviation", "This is a variance: the root is missing.",
                _moved(spread=lambda e: (e**2).mean(axis=0))),
        Mistake("root of a sum", "Under the root stands a sum: the mean over the elite is asked for.",
                _moved(spread=lambda e: np.sqrt((e**2).sum(axis=0)))),
        Mistake("mean absolute deviation",
                "These are mean absolute deviations; the root of the mean square is asked for.",
                _moved(spread=lambda e: abs(e).mean(axis=0))),
        Mistake("keep at the wrong place", "keep is the part of the *old* sigma that stays.",
                _moved(mixed=lambda old, new, keep: keep * new + (1.0 - keep) * old)),
        Mistake("old sigma forgotten", "Of the old sigma nothing is left: a part, keep, stays.",
                _moved(mixed=lambda old, new, keep: new)),
        Mistake("old sigma added", "keep · sigma is added to all of the new spread; that has the weight 1 − keep.",
                _moved(mixed=lambda old, new, keep: new + keep * old)),
        Mistake("sigma left as it was", "sigma is what it was before.", _moved(mixed=lambda old, new, keep: old)),
        Mistake("variances mixed", "You mix variances and take the root; deviations are mixed here.",
                _moved(mixed=lambda old, new, keep: np.sqrt((1.0 - keep) * new**2 + keep * old**2))),
        Mistake("mu kept as well", "A part of the old mu stays in yours; only sigma is mixed.",
                _moved(mixed_mu=lambda old, new, keep: (1.0 - keep) * new + keep * old)),
        Mistake("one spread for all entries", "You have one spread for all entries; each entry has its own.",
                _moved(spread=lambda e: np.sqrt((e**2).mean()) + 0.0 * e[0])),
    ],
    variants=[_moved_in_loops, _moved_by_the_least],
)  # fmt: skip


# ----------------------------------------------------------------------------------------- 3: expected improvement


def improvement(mean, deviation, best):
    """Return E[max(0, best - Y)], (m,), of Y ~ N(mean, deviation^2); mean, deviation (m,), a deviation may be 0."""
    return _improved()(mean, deviation, best)


def _improved(
    gain: Callable = lambda mean, best: best - mean,
    z: Callable = lambda gain, s: gain / s,
    terms: Callable = lambda gain, s, z: gain * ndtr(z) + s * norm.pdf(z),
    certain: Callable = lambda gain: np.maximum(gain, 0.0),
) -> Callable:
    """Make the expected improvement from its parts; each may be replaced by a faulty one."""

    def improved(mean, deviation, best):
        d, s = gain(mean, best), np.where(deviation > 0.0, deviation, 1.0)
        return np.where(deviation > 0.0, terms(d, s, z(d, s)), certain(d))

    return improved


def _improved_in_a_loop(mean, deviation, best):
    found = []
    for m, s in zip(mean, deviation):
        if s == 0.0:
            found.append(max(0.0, best - m))
        else:
            z = (best - m) / s
            found.append(s * (z * 0.5 * (1 + erf(z / 2**0.5)) + np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5))
    return found


def _improved_by_quadrature(mean, deviation, best):
    nodes, weights = np.polynomial.legendre.leggauss(60)
    found = np.maximum(best - mean, 0.0)
    for i in np.flatnonzero(deviation):
        low, high = mean[i] - 9.0 * deviation[i], min(best, mean[i] + 9.0 * deviation[i])
        for edges in np.lib.stride_tricks.sliding_window_view(np.linspace(low, high, 9), 2):
            y = edges.mean() + np.diff(edges)[0] / 2 * nodes
            part = weights * (best - y) * norm.pdf(y, mean[i], deviation[i])
            found[i] = (0.0 if edges[0] == low else found[i]) + np.diff(edges)[0] / 2 * part.sum()
    return found


def _some_guesses(rng: np.random.Generator) -> list[dict]:
    probes = []
    for m in (4, 5, 6):
        best = float(np.round(rng.uniform(0.6, 2.2), 2))
        deviation = rng.uniform(0.25, 0.9, m).round(2)
        z = rng.permutation(np.linspace(-1.4, 1.4, m) + rng.uniform(-0.1, 0.1, m))
        probes.append(dict(mean=(best - z * deviation).round(3), deviation=deviation, best=best))
    certain = probes[-1]["deviation"].copy()
    mean = probes[-1]["mean"].copy()
    low, _, middle, *_, high = np.argsort(mean)
    mean[middle] = probes[-1]["best"]  # three are known: better than the best, worse, and the best itself
    certain[[low, middle, high]] = 0.0
    return [*probes, probes[-1] | {"mean": mean, "deviation": certain}]


expected = Fill(
    3,
    "expected improvement",
    reference=improvement,
    probes=_some_guesses,
    compare=close(rtol=1e-6, atol=1e-9),
    when_right="A question is worth asking for a low mean, or for a large doubt: one number weighs both.",
    hints=[
        "Where the deviation is 0 nothing is expected: it is known. What is the improvement there?",
        "With z = (best − mean) / s: (best − mean) Φ(z) + s φ(z). `scipy.stats.norm` has `cdf` and `pdf`.",
        "Where s = 0: `np.where(deviation > 0, …, np.maximum(best - mean, 0))`, and a division that is safe there.",
    ],
    mistakes=[
        Mistake("maximised", "You expect Y *above* the best. Costs are minimised: a gain is best − Y.",
                _improved(gain=lambda mean, best: mean - best)),
        Mistake("z turned round",
                "The gain is right, but z has the other sign: Φ is then the probability to get worse.",
                _improved(z=lambda gain, s: -gain / s)),
        Mistake("density missing", "The second term, s φ(z), is missing: the doubt is worth nothing here.",
                _improved(terms=lambda gain, s, z: gain * ndtr(z))),
        Mistake("first term missing", "The first term, (best − mean) Φ(z), is missing: only the doubt counts here.",
                _improved(terms=lambda gain, s, z: s * norm.pdf(z))),
        Mistake("probability of improvement",
                "This is how *likely* an improvement is. How large it is does not count here.",
                _improved(terms=lambda gain, s, z: ndtr(z), certain=lambda gain: 1.0 * (gain > 0.0))),
        Mistake("probability, nothing where known",
                "This is how *likely* an improvement is, not how large; and where the cost is known, it is no 0.",
                _improved(terms=lambda gain, s, z: ndtr(z), certain=lambda gain: 0.0 * gain)),
        Mistake("s missing before the density", "The second term is s φ(z): s is missing.",
                _improved(terms=lambda gain, s, z: gain * ndtr(z) + norm.pdf(z))),
        Mistake("density of y", "`norm.pdf(y, mean, s)` is φ(z)/s already: the second term then has the factor s².",
                _improved(terms=lambda gain, s, z: gain * ndtr(z) + norm.pdf(z) / s)),
        Mistake("s twice", "The second term is s φ(z), with s and not s².",
                _improved(terms=lambda gain, s, z: gain * ndtr(z) + s**2 * norm.pdf(z))),
        Mistake("z for the gain", "You have z Φ + φ: in units of s. The factor s is missing.",
                _improved(terms=lambda gain, s, z: z * ndtr(z) + norm.pdf(z))),
        Mistake("z for the gain in one term", "The first term is (best − mean) Φ(z), not z Φ(z).",
                _improved(terms=lambda gain, s, z: z * ndtr(z) + s * norm.pdf(z))),
        Mistake("s before all", "You have multiplied the whole sum by s, and the first term has its unit already.",
                _improved(terms=lambda gain, s, z: s * (gain * ndtr(z) + norm.pdf(z)))),
        Mistake("cdf and pdf exchanged", "Φ is the distribution function (cdf), φ the density (pdf): exchanged here.",
                _improved(terms=lambda gain, s, z: gain * norm.pdf(z) + s * ndtr(z))),
        Mistake("difference of the terms", "The two terms are added.",
                _improved(terms=lambda gain, s, z: gain * ndtr(z) - s * norm.pdf(z))),
        Mistake("variance in z", "You divide by the variance; z has the deviation below.",
                _improved(z=lambda gain, s: gain / s**2)),
        Mistake("deviation taken for a variance",
                "You have taken the root of the deviation: it is no variance.",
                lambda mean, deviation, best: improvement(mean, np.sqrt(deviation), best)),
        Mistake("not standardised", "Φ and φ are asked at best − mean: divide by the deviation first.",
                _improved(z=lambda gain, s: gain)),
        Mistake("√2π missing", "The density has lost its factor 1/√(2π).",
                _improved(terms=lambda gain, s, z: gain * ndtr(z) + s * np.exp(-0.5 * z**2))),
        Mistake("half missing in the exponent", "The density is exp(−z²/2)/√(2π): the ½ is missing.",
                _improved(terms=lambda gain, s, z: gain * ndtr(z) + s * np.exp(-(z**2)) / np.sqrt(2 * np.pi))),
        Mistake("improvement of the mean", "This is the improvement of the mean, as if it were certain.",
                _improved(terms=lambda gain, s, z: np.maximum(gain, 0.0))),
        Mistake("expected difference", "This is E[best − Y]. What is worse than the best costs nothing: max(0, ·).",
                _improved(terms=lambda gain, s, z: gain, certain=lambda gain: gain)),
        Mistake("confidence bound", "This is a confidence bound, another acquisition.",
                _improved(terms=lambda gain, s, z: gain + s)),
        Mistake("wide confidence bound", "This is a confidence bound with the factor 2, another acquisition.",
                _improved(terms=lambda gain, s, z: gain + 2.0 * s)),
        Mistake("known points worth nothing",
                "Where the deviation is 0 you return 0. If the mean there is below the best, the gain is certain.",
                _improved(certain=lambda gain: 0.0 * gain)),
        Mistake("known points may be worse", "Where the deviation is 0 you return best − mean, also if it is negative.",
                _improved(certain=lambda gain: gain)),
        Mistake("division by a deviation of 0",
                "Where the deviation is 0 you divide by it. At the best point that is 0/0, and its gain is known.",
                _improved(certain=lambda gain: np.where(gain == 0.0, np.nan, np.maximum(gain, 0.0)))),
        Mistake("the largest only", "You return the largest value; one for each point is asked for.",
                lambda mean, deviation, best: improvement(mean, deviation, best).max()),
        Mistake("the question only", "You return which point is asked next; its value, for each point, is asked for.",
                lambda mean, deviation, best: improvement(mean, deviation, best).argmax()),
    ],
    variants=[_improved_in_a_loop, _improved_by_quadrature],
)  # fmt: skip

# -------------------------------------------------------------------------------------- 4: the targets of fitted Q


def targets(cost, q_next, tried, terminated, truncated, gamma):
    """Return the targets (M,) of fitted Q from a log of M transitions.

    cost (M,); q_next (M, n_a), Q of every action in the next state, nan where that is terminal; tried (M, n_a), whether
    the log has that action near that state; terminated, truncated (M,), how an episode ended there, if it did.
    What follows is discounted by gamma.
    """
    return _targets()(cost, q_next, tried, terminated, truncated, gamma)


def _targets(
    value: Callable = lambda q, tried: np.where(tried, q, np.inf).min(axis=1),
    masked: Callable = lambda terminated, truncated: terminated,
    together: Callable = lambda cost, gamma, v: cost + gamma * v,
    ended: Callable = lambda cost, y: cost,
) -> Callable:
    """Make the targets from their parts; each may be replaced by a faulty one."""

    def made(cost, q_next, tried, terminated, truncated, gamma):
        over = masked(terminated, truncated)
        y = together(cost, gamma, np.where(over, 0.0, value(q_next, tried)))
        return np.where(over, ended(cost, y), y)

    return made


def _targets_in_a_loop(cost, q_next, tried, terminated, truncated, gamma):
    y = []
    for i in range(len(cost)):
        ahead = 0.0 if terminated[i] else min(q for q, seen in zip(q_next[i], tried[i]) if seen)
        y.append(cost[i] + gamma * ahead)
    return y


def _targets_in_place(cost, q_next, tried, terminated, truncated, gamma):
    q = q_next.copy()
    q[~tried] = 1e9
    q[terminated] = 0.0
    return gamma * np.amin(q, axis=1) + cost


def _some_logs(rng: np.random.Generator) -> list[dict]:
    probes = []
    for M, n in ((5, 3), (7, 4), (6, 3)):
        q = rng.uniform(1.0, 6.0, (M, n)).round(2)
        tried = rng.random((M, n)) < 0.6
        tried[np.arange(M), rng.integers(n, size=M)] = True
        tried[0], tried[1] = True, np.arange(n) != q[1].argmin()  # one row where all were tried, one where it matters
        terminated, truncated = np.zeros((2, M), dtype=bool)
        ends = 2 + rng.permutation(M - 2)
        terminated[ends[0]], truncated[ends[1]], truncated[0] = True, True, M == 7
        q[terminated] = np.nan
        probes.append(dict(cost=rng.uniform(0.5, 2.0, M).round(2), q_next=q, tried=tried, terminated=terminated,
                           truncated=truncated, gamma=round(float(rng.uniform(0.7, 0.95)), 2)))  # fmt: skip
    return probes


fitted = Fill(
    4,
    "the targets of fitted Q",
    reference=targets,
    probes=_some_logs,
    compare=close(rtol=1e-9, atol=1e-12),
    when_right="An end that the plant makes has no future; one that the clock makes has.",
    hints=[
        "Which of the two ends means that no costs follow? The other one only means that nobody wrote them down.",
        "`np.where(tried, q_next, np.inf).min(axis=1)`: what was not tried cannot be the least.",
        "0 · nan is nan: mask by `np.where(terminated, 0, …)`, not by a product.",
    ],
    mistakes=[
        Mistake("termination forgotten",
                "Where an episode *terminated* nothing follows, and Q of nothing is nan: V = 0 there. (A product with "
                "1 − terminated does not do: 0 · nan is nan, and `np.where` chooses.)",
                _targets(masked=lambda t, c: np.zeros_like(t), ended=lambda cost, y: y)),
        Mistake("truncation masked, too",
                "Where an episode was only *truncated*, the plant goes on: its costs are still to come.",
                _targets(masked=lambda t, c: t | c)),
        Mistake("truncation masked instead", "You mask where an episode was truncated, not where it terminated.",
                _targets(masked=lambda t, c: c)),
        Mistake("mask turned round", "You keep V where the episode terminated, and nowhere else.",
                _targets(masked=lambda t, c: ~t)),
        Mistake("actions that nobody tried",
                "The least Q is taken over *all* actions, also those the log knows nothing of.",
                _targets(value=lambda q, tried: q.min(axis=1))),
        Mistake("untried actions only", "You take the least over the actions that were *not* tried.",
                _targets(value=lambda q, tried: np.where(tried, np.inf, q).min(axis=1))),
        Mistake("untried actions as 0", "Untried actions count as Q = 0 here, and so they are always the least.",
                _targets(value=lambda q, tried: (q * tried).min(axis=1))),
        Mistake("max", "max for rewards; costs are minimised.",
                _targets(value=lambda q, tried: np.where(tried, q, -np.inf).max(axis=1))),
        Mistake("max of all", "max for rewards, and over actions that nobody tried; costs are minimised.",
                _targets(value=lambda q, tried: q.max(axis=1))),
        Mistake("mean of the actions", "The mean over the tried actions is the value of acting at random.",
                _targets(value=lambda q, tried: np.where(tried, q, 0.0).sum(axis=1) / tried.sum(axis=1))),
        Mistake("first action", "You take the first action's Q; the least of those that were tried is asked for.",
                _targets(value=lambda q, tried: q[:, 0])),
        Mistake("the first that was tried",
                "You take the first action that was tried: the least Q of them is asked for.",
                _targets(value=lambda q, tried: q[np.arange(len(q)), tried.argmax(axis=1)])),
        Mistake("not discounted", "V is not discounted: where does γ enter?",
                _targets(together=lambda cost, gamma, v: cost + v)),
        Mistake("cost discounted, too", "γ stands before the sum: the cost of this step is paid now.",
                _targets(together=lambda cost, gamma, v: gamma * (cost + v), ended=lambda cost, y: y)),
        Mistake("cost discounted, too, unless it ended",
                "γ stands before the sum: the cost of this step is paid now, whether or not something follows.",
                _targets(together=lambda cost, gamma, v: gamma * (cost + v))),
        Mistake("costs weighed by 1 − γ", "The cost has the factor 1 − γ here; it counts in full.",
                _targets(together=lambda cost, gamma, v: (1.0 - gamma) * cost + gamma * v)),
        Mistake("cost discounted instead", "γ stands before the cost; it belongs before V.",
                _targets(together=lambda cost, gamma, v: gamma * cost + v, ended=lambda cost, y: y)),
        Mistake("reward", "V is subtracted: a cost adds to what follows.",
                _targets(together=lambda cost, gamma, v: cost - gamma * v)),
        Mistake("cost missing", "This is γ V alone: the stage cost is missing.",
                _targets(together=lambda cost, gamma, v: gamma * v, ended=lambda cost, y: y)),
        Mistake("nothing where it ended",
                "Where the episode terminated your target is 0, but that last step was paid for.",
                _targets(ended=lambda cost, y: 0.0 * cost)),
        Mistake("terminal transitions dropped",
                "Terminal transitions are missing: they say that the future costs nothing, and count as all others.",
                lambda cost, q_next, tried, terminated, truncated, gamma: targets(
                    cost, q_next, tried, terminated, truncated, gamma)[~terminated]),
        Mistake("truncated transitions dropped",
                "Truncated transitions are missing: what follows is known from Q, as everywhere.",
                lambda cost, q_next, tried, terminated, truncated, gamma: targets(
                    cost, q_next, tried, terminated, truncated, gamma)[~truncated]),
        Mistake("all ended transitions dropped",
                "The transitions in which episodes ended are missing: they count, too.",
                lambda cost, q_next, tried, terminated, truncated, gamma: targets(
                    cost, q_next, tried, terminated, truncated, gamma)[~(terminated | truncated)]),
        Mistake("least of the log", "One least value for the whole log: each next state has its own.",
                _targets(value=lambda q, tried: np.nanmin(np.where(tried, q, np.inf)) + 0.0 * q[:, 0])),
    ],
    variants=[_targets_in_a_loop, _targets_in_place],
)  # fmt: skip

# ---------------------------------------------------------------------------------- 5: a tuner that praises itself


class Trial:
    """Something to be tuned, of one number z: costs of episodes by their seeds, and who asks next.

    Parameters
    ----------
    least, width, bend : float
        Of its costs.
    """

    def __init__(self, least: float = 0.7, width: float = 0.6, bend: float = 3.0):
        self.least, self.width, self.bend = least, width, bend

    def cost(self, z, seeds) -> np.ndarray:
        """Return the costs (n,) of an episode with each of the seeds (n,): of luck, of z, and of both together."""
        seeds = np.asarray(seeds, dtype=float)
        luck = np.sin(12.9898 * seeds + self.bend * z) ** 2 + 0.3 * np.cos(4.1 * seeds) ** 2
        return 1.0 + (z - self.least) ** 2 + self.width * (1.0 + abs(z)) * luck

    def ask(self, asked, risks) -> float:
        """Return what is asked next, after `asked` (k,) with `risks` (k,): near the best, nearer each time."""
        k = len(asked)
        return float(np.asarray(asked)[np.argmin(risks)] + 0.9 * (-0.8) ** k)

    def __repr__(self):
        return "trial"


def tune(trial, first, train, test, questions, worst):
    """Return the best risk so far after each question, the best z, and its risk on the test seeds.

    `trial` is a `Trial`; asked are so many `questions`, the `first` of them given; train and test are seeds; the risk
    is the mean of the `worst` largest costs.
    """
    return _tuned()(trial, first, train, test, questions, worst)


def tune_as_given(trial, first, train, test, questions, worst):
    """Return what the faulty function of item 5 returns; trial, first, train, test, questions, worst as for `tune`."""
    return _tuned(**_GIVEN)(trial, first, train, test, questions, worst)


def _tuned(
    tail: Callable = lambda costs, worst: np.sort(costs)[-worst:],
    mean: Callable = np.mean,
    seeds: Callable = lambda train, test, k: train,
    better: Callable = lambda risk, best: risk < best,
    judged: Callable = lambda train, test: test,
    final: Callable = lambda at, best_z, asked: at,
    written: Callable = lambda best, risk: best,
    start: float = np.inf,
) -> Callable:
    """Make the tuner of item 5 from its parts; each may be replaced by a faulty one."""

    def tuned(trial, first, train, test, questions, worst):
        best, at, z = start, first, first
        asked: list[float] = []
        risks: list[float] = []
        history: list[float] = []
        for k in range(questions):
            risk = mean(tail(trial.cost(z, seeds(train, test, k)), worst))
            if better(risk, best):
                best, at = risk, z
            asked.append(z)
            risks.append(risk)
            history.append(written(best, risk))
            z = trial.ask(asked, risks)
        at = final(at, best, asked)
        return np.array(history), at, mean(tail(trial.cost(at, judged(train, test)), worst))

    return tuned


_FAULTS: dict[str, dict[str, Any]] = {
    "tail": {"tail": lambda costs, worst: np.sort(costs)[:worst]},
    "seeds": {"seeds": lambda train, test, k: np.concatenate([train, test])},
    "best": {"better": lambda risk, best: True},
}
_GIVEN = {name: part for fault in _FAULTS.values() for name, part in fault.items()}


def _with(*faults: str, **parts) -> Callable:
    return _tuned(**{name: part for fault in faults for name, part in _FAULTS[fault].items()}, **parts)


def _late_history(trial, first, train, test, questions, worst):
    history, at, judged = tune(trial, first, train, test, questions, worst)
    return np.concatenate([[np.inf], history[:-1]]), at, judged


def _tuned_by_the_log(trial, first, train, test, questions, worst):
    asked: list[float] = []
    risks: list[float] = []
    while len(asked) < questions:
        asked.append(trial.ask(asked, risks) if asked else first)
        risks.append(float(-np.sort(-trial.cost(asked[-1], train))[:worst].sum() / worst))
    at = asked[int(np.argmin(risks))]
    return np.minimum.accumulate(risks), at, sum(sorted(trial.cost(at, test))[-worst:]) / worst


def _tuned_with_pairs(trial, first, train, test, questions, worst):
    def risk(z, seeds):
        costs = trial.cost(z, seeds)
        return np.partition(costs, len(costs) - worst)[len(costs) - worst :].mean()

    pairs, history = [(risk(first, train), first)], []
    for k in range(questions):
        history.append(min(pairs)[0])
        if k + 1 < questions:
            z = trial.ask([z for _, z in pairs], [r for r, _ in pairs])
            pairs.append((risk(z, train), z))
    return {"history": history, "at": min(pairs)[1], "judged": risk(min(pairs)[1], test)}


def _some_trials(rng: np.random.Generator) -> list[dict]:
    probes = []
    for questions, n, worst in ((5, 6, 2), (7, 8, 3), (6, 7, 2)):
        trial = Trial(*np.round(rng.uniform([0.5, 0.5, 2.0], [1.0, 0.9, 4.0]), 2))
        train, test = np.split(rng.choice(90, 2 * n, replace=False) + 1, 2)
        probes.append(dict(trial=trial, first=round(float(rng.uniform(0.0, 0.3)), 2), train=train, test=test,
                           questions=questions, worst=worst))  # fmt: skip
    return probes


debug = Debug(
    5,
    "a tuner that praises itself",
    reference=tune,
    given=tune_as_given,
    probes=_some_trials,
    compare=close(rtol=1e-9, atol=1e-12, names=("history", "at", "judged")),
    when_right="The worst costs, the training seeds alone, and a best that never rises: then the last number means "
    "something.",
    hints=[
        "Plot the history: may the best so far rise?",
        "On which seeds is z chosen, and on which is it judged? Then sort three costs, and look which two you take.",
        "`np.sort(costs)[-worst:]`, `trial.cost(z, train)`, and `if risk < best:` before best and at are overwritten.",
    ],
    mistakes=[
        Mistake("best-so-far not monotone",
                "The tail and the seeds are right. But the newest question replaces the best, also if it is worse: the "
                "history rises, and z is merely the last one.", _with("best")),
        Mistake("test seeds in training",
                "The tail is right, and the best never rises. But the test seeds still help to choose z: then they can "
                "no longer judge it.", _with("seeds")),
        Mistake("tail on the wrong side",
                "The seeds are right, and the best never rises. But the risk is the mean of the *least* costs: the "
                "tuner seeks luck, and reports it.", _with("tail")),
        Mistake("only the best repaired",
                "Now the best never rises. Two things are left: which seeds choose z, and which costs are the worst?",
                _with("tail", "seeds")),
        Mistake("only the seeds repaired",
                "Now training and test are apart. Two things are left: which costs are the worst, and may the best so "
                "far rise?", _with("tail", "best")),
        Mistake("only the tail repaired",
                "Now the worst costs count. Two things are left: which seeds choose z, and may the best so far rise?",
                _with("seeds", "best")),
        Mistake("largest kept", "You keep the *largest* risk so far: costs are minimised.",
                _tuned(better=lambda risk, best: risk > best, start=-np.inf)),
        Mistake("judged by training",
                "The last number is the risk on the training seeds: it is the best of many there.",
                _tuned(judged=lambda train, test: train)),
        Mistake("judged by both", "The last number is the risk on all seeds; only the test seeds judge.",
                _tuned(judged=lambda train, test: np.concatenate([train, test]))),
        Mistake("trained on the test", "z is chosen on the test seeds alone, and judged on them again.",
                _tuned(seeds=lambda train, test, k: test)),
        Mistake("test and training exchanged", "z is chosen on the test seeds, and judged on the training seeds.",
                _tuned(seeds=lambda train, test, k: test, judged=lambda train, test: train)),
        Mistake("history before the update",
                "The history is written before the best is updated: it begins with infinity, and lags by a question.",
                _late_history),
        Mistake("history of all risks", "z is right, but the history holds each question's risk, not the best so far.",
                _tuned(written=lambda best, risk: risk)),
        Mistake("last z judged", "The history is right, but what you return and judge is the last z that was asked.",
                _tuned(final=lambda at, best, asked: asked[-1])),
        Mistake("first z judged", "The history is right, but what you return and judge is the first z.",
                _tuned(final=lambda at, best, asked: asked[0])),
        Mistake("tail on the wrong side in training",
                "On the test seeds the worst costs count, but the questions are still ranked by the least.",
                lambda trial, first, train, test, questions, worst: _tail_in_test(
                    trial, first, train, test, questions, worst)),
        Mistake("worst in place of the mean",
                "Only the largest cost counts here: the mean of the `worst` largest does.",
                _tuned(tail=lambda costs, worst: np.sort(costs)[-1:])),
        Mistake("mean of all costs", "This is the mean of all costs: only the `worst` largest count.",
                _tuned(tail=lambda costs, worst: costs)),
        Mistake("all but the worst", "`[worst:]` leaves out as many of the least, and counts the rest: `[-worst:]`.",
                _tuned(tail=lambda costs, worst: np.sort(costs)[worst:])),
        Mistake("costs not sorted", "You take the last costs of the list: sort them first.",
                _tuned(tail=lambda costs, worst: costs[-worst:])),
        Mistake("least of the tail",
                "This is where the tail begins, its least cost: the mean of the tail is asked for.",
                _tuned(mean=np.min)),
    ],
    variants=[_tuned_by_the_log, _tuned_with_pairs],
)  # fmt: skip


def _tail_in_test(trial, first, train, test, questions, worst):
    history, at, _ = _with("tail")(trial, first, train, test, questions, worst)
    return history, at, np.sort(trial.cost(at, test))[-worst:].mean()


# ------------------------------------------------------------------------------ 6: an MPC tuned in thirty questions

QUESTIONS, RUNS, STEPS = 30, 50, 200
COST = "mean stage cost on hidden noise"
BAR = 0.038
NAMES = ("back-off of x₁", "b₁", "b₂", "A₁₂", "B₂")


@cache
def _mpc():
    return linear_mpc()


def drive(z, noise):
    """Return the run of lecture 06's MPC with the five numbers z, on the plant with `noise`."""
    mpc, theta = _mpc(), linear_theta(_mpc(), _as_point(z))
    return run(lambda y: mpc.values(theta, y)[1], NOMINAL, np.tile(START, (noise.e.shape[1], 1)), noise)


def _as_point(answer) -> np.ndarray:
    """Read five numbers in the box, and say what is wrong with them."""
    try:
        z = np.array(answer, dtype=float).squeeze()
    except (TypeError, ValueError):
        z = np.zeros(0)
    if z.shape != (5,):
        raise TypeError("give five numbers: back-off of x1, b1, b2, A12, B2")
    if not np.isfinite(z).all():
        raise ValueError("one of the five numbers is not finite")
    outside = np.flatnonzero((z < LINEAR_LOWER - 1e-6) | (z > LINEAR_UPPER + 1e-6))
    if len(outside):
        i = int(outside[0])
        raise ValueError(
            f"{NAMES[i]} lies in the box from {LINEAR_LOWER[i]:g} to {LINEAR_UPPER[i]:g}, unlike {z[i]:.4g}"
        )
    return z


class Questions:
    """Thirty questions to lecture 06's plant, five runs of 200 steps each; the thirty-first is refused.

    Parameters
    ----------
    seed : int
        Of the noise, which is the same for all questions.

    Attributes
    ----------
    z, cost : list
        What was asked, and the answers: mean stage costs.
    """

    def __init__(self, seed: int = 0):
        self.noise = NOMINAL.draw([14, 6, seed], 5, STEPS)
        self.z: list[np.ndarray] = []
        self.cost: list[float] = []

    def __call__(self, z) -> float:
        """Return the mean stage cost of z (5,)."""
        if len(self.z) >= QUESTIONS:
            raise RuntimeError(f"the {QUESTIONS} questions are asked")
        cost = float(drive(z, self.noise).cost.mean())
        self.z.append(_as_point(z))
        self.cost.append(cost)
        return cost

    def __repr__(self):
        return f"{len(self.z)} of {QUESTIONS} questions asked"


def costs_of(z, seed: int = 0, runs: int = RUNS) -> np.ndarray:
    """Return the mean stage costs (runs,) of z (5,), with noise of a `seed` that no `Questions` has."""
    return drive(z, NOMINAL.draw([14, 7, seed], runs, STEPS)).cost.mean(axis=0)


def _tuned_to(answer, seed: int) -> dict[str, float]:
    """Measure five numbers; of `crossed`, the share of steps beyond the bound, the known mistakes are made."""
    found = drive(answer, NOMINAL.draw([14, 7, seed], RUNS, STEPS))
    return {COST: float(found.cost.mean()), "crossed": float((found.x[1:, :, 0] < 0.0).mean())}


def _numbers(test: Callable) -> Callable:
    """Make a predicate from `test(z, measured)`, of the five numbers."""
    return lambda answer, measured: bool(test(_as_point(answer), measured))


def _changed(**entries: float) -> np.ndarray:
    z = LINEAR_FIRST.copy()
    for name, value in entries.items():
        z["back_off b1 b2 A12 B2".split().index(name)] = value
    return z


design = Design(
    6,
    "an MPC tuned in thirty questions",
    reference=np.array([-0.033, -0.075, 0.078, 0.221, 0.258]),
    measure=_tuned_to,
    targets={COST: ("<=", BAR)},
    when_right="Five numbers, thirty questions, no gradient. The noise that judged them you have not asked.",
    hints=[
        "The plant is pushed to the left, and the MPC does not know it. Which two of the five numbers can make up for "
        "that? Try each alone first: that costs six questions.",
        "A model that knows the push, b₁ = −0.05, needs no back-off. Too much of either costs as well.",
        "Ten questions at random around the best so far, with half the width after every five of them, do it mostly.",
    ],
    mistakes=[
        Mistake("first guess", "This is the MPC as it was: not a question was put to use.",
                _numbers(lambda z, m: np.abs(z - LINEAR_FIRST).max() < 0.01), LINEAR_FIRST),
        Mistake("model only",
                "You have changed only A and B. The state is still pushed across its bound: neither back-off nor b "
                "makes up for it.",
                _numbers(lambda z, m: np.abs(z[:3]).max() < 0.01), _changed(A12=0.35, B2=0.2)),
        Mistake("push the wrong way",
                "The state is across its bound most of the time: with b₁ > 0 the model expects a push *away* from the "
                "bound, but it comes from the other side.",
                _numbers(lambda z, m: m["crossed"] > 0.15 and z[1] > 0.01), _changed(b1=0.06)),
        Mistake("back-off the wrong way",
                "The state is across its bound: a negative back-off loosens the bound, and nothing else makes up "
                "for it.", _numbers(lambda z, m: m["crossed"] > 0.15 and z[0] < -0.01), _changed(back_off=-0.05)),
        Mistake("still across the bound",
                "The state still crosses its bound often. A little more of what you have changed would pay.",
                _numbers(lambda z, m: m["crossed"] > 0.05), _changed(back_off=0.03, b1=-0.005)),
        Mistake("too cautious together",
                "The bound is hardly met: back-off and b are each enough alone, and together they are too much.",
                _numbers(lambda z, m: m["crossed"] < 0.02 and z[0] > 0.02 and z[1] < -0.02),
                _changed(back_off=0.06, b1=-0.06)),
        Mistake("too cautious by back-off",
                "The bound is hardly met at all, but the state stays far away: so much back-off costs more than it "
                "saves.",
                _numbers(lambda z, m: m["crossed"] < 0.02 and z[0] > 0.05), _changed(back_off=0.2)),
        Mistake("too cautious by b",
                "The bound is hardly met at all, but the model expects far too large a push, and keeps away.",
                _numbers(lambda z, m: m["crossed"] < 0.02 and z[1] < -0.055), _changed(b1=-0.12)),
    ],
    variants=[_changed(b1=-0.05), np.array([-0.007, -0.069, 0.046, 0.228, 0.147])],
)  # fmt: skip

# ------------------------------------------------------------------------------- 7: why more of the same is no cure

explain = Explain(
    7,
    "why more of the same log is no cure",
    reference="f",
    choices={
        "a": "The number of transitions: a hundred thousand are few for ten weights in a noisy plant.",
        "b": "The states: the narrow log has seen too small a part of the plane to say what happens elsewhere.",
        "c": "The features: with ten of them Q cannot be represented, and the narrow log shows it.",
        "d": "The log's controller: who imitates a bad one ends at its cost, or above.",
        "e": "The fit: its targets move with each iteration, and on the narrow log it does not come near them.",
        "f": "The actions: what another one would cost the narrow log does not say, and the minimum looks just there.",
    },
    reasons={
        1: "What the log's *own* controller costs from a state, fitted Q evaluation finds from the narrow log as well "
        "as from the wide one of as many transitions.",
        2: "The states of the narrow log spread over less than half of the width of those of the wide one.",
        3: "With σ = 0.1, ten times the exploration, a tenth as many transitions beat the log's controller in each of "
        "20 logs.",
        4: "The log's controller itself costs 2.7 % more than the best one.",
        5: "The greedy action is where Q is least, and that is off the log wherever Q errs downwards there.",
        6: "With σ = 0.01, of the logs of a hundred thousand transitions hardly one is left without a policy.",
    },
    carrying=(1, 3, 5),
    when_right="A log answers questions about what was done. What else could be done, only trying it tells.",
    hints=[
        "What has the wide log that the narrow one has not? Both come from the same controller and the same plant.",
        "Which reason shows that the narrow log is good for *some* question, which that breadth counts for more than "
        "length, and which why the greedy policy suffers from it?",
        "Two reasons are false, and one is true of both logs.",
    ],
    mistakes=[
        Mistake("not the number", "A thousand of the wide log's transitions are enough for the same ten weights.", "a"),
        Mistake("not the states",
                "The states of both logs spread alike: they come from the starts and the plant's noise, hardly from σ.",
                "b"),
        Mistake("not the features",
                "The wide log finds a policy within a thousandth of the best one with the same ten features.", "c"),
        Mistake("no imitation",
                "Both logs come from the same controller, and the wide one leads far below its cost: fitted Q does not "
                "imitate.", "d"),
        Mistake("not the fit",
                "On its own transitions the narrow log's Q fits its targets as well as the wide log's. What is wrong "
                "with it does not show there.", "e"),
        Mistake("states spread", "Reason 2 is false: 0.26 and 0.20 in the two states, against 0.28 and 0.22.", 2),
        Mistake("true of both", "Reason 4 is true of both logs, so that it cannot tell one from the other.", 4),
        Mistake("still without a policy",
                "Reason 6 is false: half of these logs still give a Q that has no least action.", 6),
    ],
)  # fmt: skip

exercise = Exercise(
    14,
    "And without gradients? What is open?",
    [predict, generation, expected, fitted, debug, design, explain],
)
