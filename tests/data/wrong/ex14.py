"""Answers to exercise 14 by someone who saw only its notebook: (item, what is done, answer)."""

import math
from statistics import NormalDist

import numpy as np

# ------------------------------------------------------------------------------------------------------- item 2


def _cvar(costs, share, count=lambda m: m, worst=True):
    m = count(share * costs.shape[1])
    risks = []
    for row in costs:
        row = sorted(row, reverse=worst)
        whole = math.floor(m)
        part = (m - whole) * row[whole] if m > whole else 0.0
        risks.append((sum(row[:whole]) + part) / m)
    return np.array(risks)


def _update(
    risk=_cvar,
    pick=lambda risk, costs, elite: np.argsort(risk)[:elite],
    centre=lambda best: best.mean(axis=0),
    spread=lambda best, mu, new: np.sqrt(((best - mu) ** 2).mean(axis=0)),
    mix=lambda new, old, keep: (1 - keep) * new + keep * old,
    pack=lambda risk, mu, sigma: (risk, mu, sigma),
):
    def moved(mu, sigma, z, costs, elite, share, keep):
        r = risk(costs, share)
        best = z[pick(r, costs, elite)]
        new = centre(best)
        return pack(r, new, mix(spread(best, mu, new), sigma, keep))

    return moved


def by_percentile(costs, share):
    """Average what is at or above a percentile."""
    edges = np.percentile(costs, 100 * (1 - share), axis=1)
    return np.array([row[row >= edge].mean() for row, edge in zip(costs, edges)])


def whole_tail(costs, share):
    """Truncate to an int, as slices need it."""
    m = int(share * costs.shape[1])
    return np.sort(costs, axis=1)[:, -m:].mean(axis=1)


def interpolated(costs, share):
    """Mix the means of the two whole tails, by the part."""
    m = share * costs.shape[1]
    low = int(m)
    falling = -np.sort(-costs, axis=1)
    return (1 - (m - low)) * falling[:, :low].mean(axis=1) + (m - low) * falling[:, : low + 1].mean(axis=1)


def sorted_along_the_population(costs, share):
    """Sort along the wrong axis."""
    return _cvar(np.sort(costs, axis=0), share)


def with_zeros_for_the_rest(costs, share):
    """Forget that the part's weight belongs below as well."""
    m = share * costs.shape[1]
    falling = -np.sort(-costs, axis=1)
    return falling[:, : int(m)].mean(axis=1) + (m - int(m)) * falling[:, int(m)]


# ------------------------------------------------------------------------------------------------------- item 3

_normal = NormalDist()


def _ei(value, at_zero=lambda d: max(d, 0.0)):
    def improvement(mean, deviation, best):
        found = []
        for m, s in zip(np.ravel(mean).tolist(), np.ravel(deviation).tolist()):
            d = best - m
            found.append(at_zero(d) if s == 0 else value(d, s, _normal.cdf, _normal.pdf))
        return np.array(found)

    return improvement


def vectorised_without_care(mean, deviation, best):
    """Divide by zero, and let it be."""
    from scipy.stats import norm

    z = (best - mean) / deviation
    return (best - mean) * norm.cdf(z) + deviation * norm.pdf(z)


def small_jitter(mean, deviation, best):
    """Add a little to each deviation."""
    from scipy.stats import norm

    s = deviation + 1e-12
    return (best - mean) * norm.cdf((best - mean) / s) + s * norm.pdf((best - mean) / s)


def large_jitter(mean, deviation, best):
    """Add too much to each deviation."""
    return small_jitter(mean, deviation + 1e-2, best)


def by_sampling(mean, deviation, best):
    """Draw a few thousand costs."""
    draws = np.random.default_rng(0).normal(mean, deviation, (4000, len(mean)))
    return np.maximum(0, best - draws).mean(axis=0)


# ------------------------------------------------------------------------------------------------------- item 4


def _y(
    least=lambda q, tried: np.nanmin(np.where(tried, q, 1e6), axis=1),
    over=lambda terminated, truncated: terminated,
    add=lambda c, g, v: c + g * v,
    end=lambda c: c,
):
    def targets(cost, q_next, tried, terminated, truncated, gamma):
        found = []
        for i in range(len(cost)):
            if over(terminated[i], truncated[i]):
                found.append(end(cost[i]))
            else:
                found.append(add(cost[i], gamma, least(q_next[i : i + 1], tried[i : i + 1])[0]))
        return np.array(found)

    return targets


def _rows(value):
    def targets(cost, q_next, tried, terminated, truncated, gamma):
        return cost + gamma * value(terminated, truncated, np.where(tried, q_next, np.inf).min(axis=1))

    return targets


def next_row(cost, q_next, tried, terminated, truncated, gamma):
    """Take the values one row too late."""
    return _y()(cost, np.roll(q_next, -1, axis=0), np.roll(tried, -1, axis=0), terminated, truncated, gamma)


def nan_to_num(cost, q_next, tried, terminated, truncated, gamma):
    """Replace nan by 0, which is as good: Q is nan only where the state is terminal."""
    return cost + gamma * np.where(tried, np.nan_to_num(q_next), np.inf).min(axis=1)


def infinite_where_untried(cost, q_next, tried, terminated, truncated, gamma):
    """Multiply infinity by False."""
    return cost + gamma * np.nanmin(q_next + np.inf * ~tried, axis=1)


def in_float32(cost, q_next, tried, terminated, truncated, gamma):
    """Round the targets."""
    return np.round(_y()(cost, q_next, tried, terminated, truncated, gamma), 2)


# ------------------------------------------------------------------------------------------------------- item 5


def _tune(
    tail=lambda costs, worst: np.sort(costs)[-worst:].mean(),
    seeds=lambda train, test: train,
    better=lambda risk, best: risk < best,
    judge=lambda train, test: test,
    record=lambda risk, best: best,
):
    def tune(trial, first, train, test, questions, worst):
        best, at, z = np.inf, first, first
        asked, risks, history = [], [], []
        for _ in range(questions):
            risk = tail(trial.cost(z, seeds(train, test)), worst)
            if better(risk, best):
                best, at = risk, z
            asked.append(z)
            risks.append(risk)
            history.append(record(risk, best))
            z = trial.ask(asked, risks)
        return np.array(history), at, tail(trial.cost(at, judge(train, test)), worst)

    return tune


def only_the_cost_is_kept(trial, first, train, test, questions, worst):
    """Let best not rise by min, and leave z to be overwritten."""
    best, at, z = np.inf, first, first
    asked, risks, history = [], [], []
    for _ in range(questions):
        risk = np.sort(trial.cost(z, train))[-worst:].mean()
        best, at = min(best, risk), z
        asked.append(z)
        risks.append(risk)
        history.append(best)
        z = trial.ask(asked, risks)
    return np.array(history), at, np.sort(trial.cost(at, test))[-worst:].mean()


def history_before(trial, first, train, test, questions, worst):
    """Write the history before the best is updated."""
    history, at, judged = _tune()(trial, first, train, test, questions, worst)
    return np.concatenate([[np.inf], history[:-1]]), at, judged


def best_at_the_end(trial, first, train, test, questions, worst):
    """Accumulate the best afterwards, and return the last z."""
    risks = _tune(record=lambda risk, best: risk)(trial, first, train, test, questions, worst)[0]
    last = _tune(better=lambda risk, best: True)(trial, first, train, test, questions, worst)
    return np.minimum.accumulate(risks), last[1], last[2]


def _z(**change):
    z = dict(back_off=0.0, b1=0.0, b2=0.0, A12=0.25, B2=0.25) | change
    return list(z.values())


_rng = np.random.default_rng(14)

WRONG = [
    (1, "all", 32),
    (1, "pairs", 16),
    (1, "within the plan", 7),
    (1, "one run only", 6),
    (1, "never forgotten", "9"),
    (1, "blocks", 3),
    (1, "half", 8),
    (1, "starts", 5),
    (1, "first two starts", 11),
    (2, "int", _update(risk=whole_tail)),
    (2, "percentile", _update(risk=by_percentile)),
    (2, "mixed tails", _update(risk=interpolated)),
    (2, "axis 0", _update(risk=sorted_along_the_population)),
    (2, "weights below", _update(risk=with_zeros_for_the_rest)),
    (2, "best share", _update(risk=lambda c, s: _cvar(c, s, worst=False))),
    (2, "ceil", _update(risk=lambda c, s: _cvar(c, s, count=math.ceil))),
    (2, "the quantile itself", _update(risk=lambda c, s: np.quantile(c, 1 - s, axis=1))),
    (2, "mean", _update(risk=lambda c, s: c.mean(axis=1))),
    (2, "max", _update(risk=lambda c, s: c.max(axis=1))),
    (2, "sum", _update(risk=lambda c, s: _cvar(c, s) * s * c.shape[1])),
    (2, "over all", _update(risk=lambda c, s: _cvar(c, s) * s)),
    (2, "worst elite", _update(pick=lambda r, c, e: np.argsort(-r)[:e])),
    (2, "by means", _update(pick=lambda r, c, e: np.argsort(c.mean(axis=1))[:e])),
    (2, "one less", _update(pick=lambda r, c, e: np.argsort(r)[: e - 1])),
    (2, "argsort twice", _update(pick=lambda r, c, e: np.argsort(np.argsort(r))[:e])),
    (2, "median", _update(centre=lambda best: np.median(best, axis=0))),
    (2, "the best", _update(centre=lambda best: best[0])),
    (2, "std", _update(spread=lambda best, mu, new: best.std(axis=0))),
    (2, "std, ddof 1", _update(spread=lambda best, mu, new: best.std(axis=0, ddof=1))),
    (2, "no root", _update(spread=lambda best, mu, new: ((best - mu) ** 2).mean(axis=0))),
    (2, "mean, then root", _update(spread=lambda best, mu, new: np.abs((best - mu).mean(axis=0)))),
    (2, "keep the new", _update(mix=lambda new, old, keep: keep * new + (1 - keep) * old)),
    (2, "no keep", _update(mix=lambda new, old, keep: new)),
    (2, "added", _update(mix=lambda new, old, keep: new + keep * old)),
    (2, "geometric", _update(mix=lambda new, old, keep: new ** (1 - keep) * old**keep)),
    (2, "larger", _update(mix=lambda new, old, keep: np.maximum(new, keep * old))),
    (2, "without risks", _update(pack=lambda r, m, s: (m, s))),
    (2, "another order", _update(pack=lambda r, m, s: (m, s, r))),
    (2, "only the elite's risks", _update(pack=lambda r, m, s: (np.sort(r)[:2], m, s))),
    (2, "risks in order", _update(pack=lambda r, m, s: (np.sort(r), m, s))),
    (3, "no care for 0", vectorised_without_care),
    (3, "large jitter", large_jitter),
    (3, "samples", by_sampling),
    (3, "reward", _ei(lambda d, s, F, f: -d * F(-d / s) + s * f(d / s), lambda d: max(-d, 0.0))),
    (3, "only hope", _ei(lambda d, s, F, f: d * F(d / s))),
    (3, "only doubt", _ei(lambda d, s, F, f: s * f(d / s))),
    (3, "probability", _ei(lambda d, s, F, f: F(d / s), lambda d: float(d > 0))),
    (3, "probability, 0 if known", _ei(lambda d, s, F, f: F(d / s), lambda d: 0.0)),
    (3, "variance", _ei(lambda d, s, F, f: d * F(d / s**2) + s * f(d / s**2))),
    (3, "no s", _ei(lambda d, s, F, f: d * F(d / s) + f(d / s))),
    (3, "s out", _ei(lambda d, s, F, f: s * (d * F(d / s) + f(d / s)))),
    (3, "in units", _ei(lambda d, s, F, f: d / s * F(d / s) + f(d / s))),
    (3, "other way", _ei(lambda d, s, F, f: d * f(d / s) + s * F(d / s))),
    (3, "minus", _ei(lambda d, s, F, f: d * F(d / s) - s * f(d / s))),
    (3, "sign of z", _ei(lambda d, s, F, f: d * F(-d / s) + s * f(d / s))),
    (3, "0 where known", _ei(lambda d, s, F, f: d * F(d / s) + s * f(d / s), lambda d: 0.0)),
    (3, "signed where known", _ei(lambda d, s, F, f: d * F(d / s) + s * f(d / s), lambda d: d)),
    (3, "infinite where known", _ei(lambda d, s, F, f: d * F(d / s) + s * f(d / s), lambda d: np.inf)),
    (3, "rounded Φ", _ei(lambda d, s, F, f: d * round(F(d / s), 2) + s * f(d / s))),
    (3, "lower bound", _ei(lambda d, s, F, f: d + 2 * s)),
    (3, "a number", lambda mean, deviation, best: 0.3),
    (4, "no mask", _rows(lambda ended, cut, v: v)),
    (4, "product", _rows(lambda ended, cut, v: (1 - ended) * v)),
    (4, "truncated", _rows(lambda ended, cut, v: np.where(cut, 0, v))),
    (4, "least of all rows", _rows(lambda ended, cut, v: np.where(ended, 0, np.nanmin(v)))),
    (4, "both masked", _y(over=lambda e, u: e or u)),
    (4, "all actions", _y(least=lambda q, t: q.min(axis=1))),
    (4, "max", _y(least=lambda q, t: np.where(t, q, -1e9).max(axis=1))),
    (4, "mean", _y(least=lambda q, t: q[t].mean(keepdims=True))),
    (4, "0 for untried", _y(least=lambda q, t: np.where(t, q, 0).min(axis=1))),
    (4, "large and summed", _y(least=lambda q, t: np.where(t, q, 0).sum(axis=1))),
    (4, "first tried", _y(least=lambda q, t: q[t][:1])),
    (4, "not tried", _y(least=lambda q, t: np.where(t, 1e9, q).min(axis=1))),
    (4, "no γ", _y(add=lambda c, g, v: c + v)),
    (4, "γ first", _y(add=lambda c, g, v: g * (c + v))),
    (4, "γ squared", _y(add=lambda c, g, v: c + g**2 * v)),
    (4, "average reward", _y(add=lambda c, g, v: (1 - g) * c + g * v)),
    (4, "minus", _y(add=lambda c, g, v: c - g * v)),
    (4, "end is free", _y(end=lambda c: 0.0)),
    (4, "end is dear", _y(end=lambda c: 100.0)),
    (4, "next row", next_row),
    (4, "rounded", in_float32),
    (4, "infinity times False", infinite_where_untried),
    (5, "best left", _tune(better=lambda risk, best: True)),
    (5, "seeds left", _tune(seeds=lambda train, test: np.concatenate([train, test]))),
    (5, "tail left", _tune(tail=lambda c, w: np.sort(c)[:w].mean())),
    (5, "best only", _tune(lambda c, w: np.sort(c)[:w].mean(), lambda a, b: np.concatenate([a, b]))),
    (5, "tail only", _tune(seeds=lambda a, b: np.concatenate([a, b]), better=lambda risk, best: True)),
    (5, "z left", only_the_cost_is_kept),
    (5, "history first", history_before),
    (5, "accumulated", best_at_the_end),
    (5, "reported on all", _tune(judge=lambda train, test: np.concatenate([train, test]))),
    (5, "reported on train", _tune(judge=lambda train, test: train)),
    (5, "wrong sign", _tune(better=lambda risk, best: best == np.inf or risk > best)),
    (5, "history of risks", _tune(record=lambda risk, best: risk)),
    (5, "max", _tune(tail=lambda c, w: c.max())),
    (5, "not sorted", _tune(tail=lambda c, w: c[-w:].mean())),
    (5, "all but", _tune(tail=lambda c, w: np.sort(c)[w:].mean())),
    (5, "from the end, one", _tune(tail=lambda c, w: np.sort(c)[-w])),
    (5, "mean", _tune(tail=lambda c, w: c.mean())),
    (5, "test as training", _tune(seeds=lambda train, test: test)),
    (5, "swapped", _tune(seeds=lambda train, test: test, judge=lambda train, test: train)),
    (6, "nothing", _z()),
    (6, "back-off", _z(back_off=0.1)),
    (6, "much back-off", _z(back_off=0.3)),
    (6, "little back-off", _z(back_off=0.02)),
    (6, "b away", _z(b1=0.05)),
    (6, "b too far", _z(b1=-0.1)),
    (6, "b beyond", _z(b1=-0.07)),
    (6, "both", _z(b1=-0.05, back_off=0.1)),
    (6, "half", _z(b1=-0.025)),
    (6, "the true model, alone", _z(A12=0.35, B2=0.2)),
    (6, "four numbers", [0.1, 0.0, 0.0, 0.25]),
    (6, "outside", _z(back_off=0.5)),
    (6, "the box", np.array([[-0.1, 0.3]] * 5)),
    (6, "in words", "back-off"),
    (6, "a random point", _rng.uniform([0, 0, 0, 0.1, 0.1], [0.3, 0.15, 0.15, 0.5, 0.4])),
    (6, "middle of the box", _z(back_off=0.1, A12=0.3)),
    (7, "more data", ("a", [3])),
    (7, "states", ("b", [2, 5])),
    (7, "the controller", ("d", [4])),
    (7, "all that is true", ("f", [1, 3, 4, 5])),
    (7, "half of it", ("f", [5])),
    (7, "with states", ("f", "2 and 5")),
    (7, "lost", ("f", [3, 6])),
]

RIGHT = [
    (1, "a float", 10.0),
    (1, "a text", "10"),
    (2, "rows", _update()),
    (2, "by names", _update(pack=lambda r, m, s: {"risk": r, "mu": m, "sigma": s})),
    (3, "the standard library", _ei(lambda d, s, F, f: d * F(d / s) + s * f(d / s))),
    (3, "small jitter", small_jitter),
    (4, "rows", _y()),
    (4, "nan to 0", nan_to_num),
    (5, "three lines", _tune()),
    (5, "ties", _tune(better=lambda risk, best: risk <= best)),
    (6, "the push", _z(b1=-0.05)),
    (6, "a column", np.array([[-0.007], [-0.069], [0.046], [0.228], [0.147]])),
    (7, "in words", ("F", "1, 3 and 5")),
]
