"""Answers to exercise 10 by someone who saw only its notebook: (item, what is done, answer)."""

import numpy as np

from mpcrl_course.envs import linear, race
from mpcrl_course.policies.race_filter import braking

# ------------------------------------------------------------------------------------------------------- item 2


def _look(s, X, U, gain, curve=lambda delta, g: g * np.tan(delta) / 1.6, lengths=lambda X: X[:-1, 0]):
    n, mu, v = (np.interp(s, X[:, 0], X[:, i]) for i in (1, 2, 3))
    return n, mu, v, np.interp(s, lengths(X), U[:, 0]), np.interp(s, lengths(X), curve(U[:, 1], gain))


def _track(
    look=_look,
    a=lambda z, r, x: z[0] * r[3] + z[1] * (r[2] - x[3]),
    c=lambda z, r, x: z[2] * r[4] - z[3] * (x[1] - r[0]) - z[4] * (x[2] - r[1]),
    delta=lambda c, g: np.clip(np.arctan(1.6 * c / g), -0.35, 0.35),
    answer=lambda a, delta: np.array([a, delta]),
):
    def track(x, X, U, z, gain):
        r = look(x[0], X, U, gain)
        return answer(a(z, r, x), delta(c(z, r, x), gain))

    return track


def with_all_lengths(x, X, U, z, gain):
    """Interpolate the inputs along all N + 1 lengths: an error."""
    return _track(lambda s, X, U, g: _look(s, X, U, g, lengths=lambda X: X[:, 0]))(x, X, U, z, gain)


def rounded(x, X, U, z, gain):
    """Take the stage by its number: the share of the plan's length, rounded."""
    k = int(round((x[0] - X[0, 0]) / (X[-1, 0] - X[0, 0]) * len(U)))
    k = min(max(k, 0), len(U) - 1)
    r = X[k, 1], X[k, 2], X[k, 3], U[k, 0], gain * np.tan(U[k, 1]) / 1.6
    return _track(lambda s, X, U, g: r)(x, X, U, z, gain)


def degrees_in(x, X, U, z, gain):
    """Take angles for degrees."""
    return _track(lambda s, X, U, g: _look(s, X, U, g, lambda d, g: g * np.tan(np.radians(d)) / 1.6))(x, X, U, z, gain)


def extrapolated(x, X, U, z, gain):
    """Go on along the last piece of the plan beyond its end."""
    n, mu, v, a, c = _look(x[0], X, U, gain)
    if x[0] > X[-1, 0]:
        slope = (X[-1] - X[-2]) / (X[-1, 0] - X[-2, 0])
        n, mu, v = (X[-1] + slope * (x[0] - X[-1, 0]))[1:]
    return _track(lambda *_: (n, mu, v, a, c))(x, X, U, z, gain)


# ------------------------------------------------------------------------------------------------------- item 3

S = np.array([5, 0.35])


def _least(
    J=lambda X, U, t: np.sum(((U[0] - t) / S) ** 2) + 1e-4 * np.sum((U[1:] / S) ** 2),
    edges=lambda X, w: abs(X[1:, 1]) - w + 0.05,
    lateral=lambda X, U, g: X[:-1, 3] ** 2 * g * np.tan(U[:, 1]) / 1.6,
    circle=lambda a, lateral, G: (a**2 + lateral**2) / (0.98 * G) ** 2 - 1,
    end=lambda X: X[-1, 3],
):
    def least_change(X, U, target, half_width, grip, gain):
        return J(X, U, target), edges(X, half_width), circle(U[:, 0], lateral(X, U, gain), grip), end(X)

    return least_change


def in_a_loop(X, U, target, half_width, grip, gain):
    """Loop over the stages."""
    N, J = len(U), 0
    edges, circle = np.zeros(N), np.zeros(N)
    for k in range(N):
        d = (U[k] - target) / S if k == 0 else U[k] / S
        J += (1 if k == 0 else 1e-4) * d @ d
        edges[k] = abs(X[k + 1][1]) - (half_width - 0.05)
        circle[k] = np.hypot(U[k][0], race.acceleration(X[k], U[k], gain)[1]) ** 2 / (0.98 * grip) ** 2 - 1
    return [J, edges.tolist(), circle.tolist(), X[N][3]]


def loop_starts_at_one(X, U, target, half_width, grip, gain):
    """Leave the first stage out of the circle: N - 1 rows."""
    J, edges, circle, end = _least()(X, U, target, half_width, grip, gain)
    return J, edges, circle[1:], end


def speeds_of_all(X, U, target, half_width, grip, gain):
    """Use N + 1 speeds with N inputs: an error."""
    return _least(lateral=lambda X, U, g: X[:, 3] ** 2 * g * np.tan(U[:, 1]) / 1.6)(
        X, U, target, half_width, grip, gain
    )


# ------------------------------------------------------------------------------------------------------- item 4


def _certify(
    act=lambda x, U, k, p: U[k] if k < len(U) else braking(x, p),
    move=lambda x, u, p: race.driven(x, u, p),
    N=lambda N, U: N,
    ok=lambda X, w: bool(np.all(np.abs(X[1:, 1]) <= w) and X[-1, 3] <= 1e-3),
    answer=lambda X, ok: (X, ok),
):
    def certificate(x, U, N_, p, half_width):
        X = [x]
        for k in range(N(N_, U)):
            X.append(move(X[-1], act(X[-1], U, k, p), p))
        X = np.array(X)
        return answer(X, ok(X, half_width))

    def named(x, U, N, p, half_width):
        return certificate(x, U, N, p, half_width)

    return named


def first_violation_ends(x, U, N, p, half_width):
    """Stop the roll-out at the first violation."""
    X = [x]
    for k in range(N):
        X.append(race.driven(X[-1], U[k] if k < len(U) else braking(X[-1], p), p))
        if abs(X[-1][1]) > half_width:
            return np.array(X), False
    return np.array(X), X[-1][3] <= 1e-3


def stacked(x, U, N, p, half_width):
    """Stack the states as columns, and turn them at the end."""
    X = np.asarray(x, float)[:, None]
    for k in range(N):
        u = U[k] if k < U.shape[0] else braking(X[:, -1], p)
        X = np.hstack([X, race.driven(X[:, -1], u, p)[:, None]])
    return X.T, int(abs(X[1, 1:]).max() <= half_width and X[3, -1] <= 0.001)


def same_array(x, U, N, p, half_width):
    """Write each new state into the one array that the list holds N + 1 times."""
    now, X = np.array(x, float), []
    X.append(now)
    for k in range(N):
        now[:] = race.driven(now, U[k] if k < len(U) else braking(now, p), p)
        X.append(now)
    return np.array(X), bool(np.all(abs(np.array(X)[1:, 1]) <= half_width) and now[3] <= 1e-3)


def unclipped_sum(x, U, N, p, half_width):
    """Ask for a mean |n| on the track."""
    return _certify(ok=lambda X, w: bool(np.mean(abs(X[1:, 1])) <= w and X[-1, 3] <= 1e-3))(x, U, N, p, half_width)


# ------------------------------------------------------------------------------------------------------- item 5


def _behind(
    rows=lambda safe, box: safe,
    a=lambda asked, low, high: np.clip(asked, low, high),
    kept=lambda a, asked, store: a if store == "applied" else asked,
    q_at=lambda a, asked, kept: kept,
    paid=lambda a, asked: a,
    td=lambda L, V, Q, g: L + g * V - Q,
    tightened=lambda h, H: h - np.maximum(0, -0.1 * H[:, 0]),
    push=lambda e: np.array([e, 0]),
    v_at=lambda s, s_next: s_next,
):
    def behind_filter(s, asked, e, safe, box, critic, gamma, store):
        out = []
        H, h = rows(safe, box)
        for x, wanted, d in zip(s, asked, e):
            up, room = H @ linear.B, tightened(h, H) - H @ linear.A @ x
            low = max(-1, max(room[up < 0] / up[up < 0]))
            high = min(1, min(room[up > 0] / up[up > 0]))
            acting = a(wanted, low, high)
            stored = kept(acting, wanted, store)
            s_next = linear.A @ x + linear.B * acting + push(d)
            L, V = critic.cost(x, paid(acting, wanted)), critic.V(v_at(x, s_next))
            out.append((acting, stored, td(L, V, critic.Q(x, q_at(acting, wanted, stored)), gamma)))
        return tuple(np.array(out).T)

    return behind_filter


def both_sets(s, asked, e, safe, box, critic, gamma, store):
    """Keep the rows of both: the box's say nothing more."""
    rows = np.vstack([safe[0], box[0]]), np.append(safe[1], box[1])
    return _behind(lambda *_: rows)(s, asked, e, safe, box, critic, gamma, store)


WRONG = [
    (1, "top speed", 12.0),
    (1, "no gas", 11.7),
    (1, "one too many", "11.8"),
    (1, "tyres", 14.9),
    (1, "rounded down", 11.0),
    (1, "kilometres an hour", 41.4),
    (2, "first stage", _track(lambda s, X, U, g: (*X[0, 1:], U[0, 0], g * np.tan(U[0, 1]) / 1.6))),
    (2, "last stage", _track(lambda s, X, U, g: (*X[-1, 1:], U[-1, 0], g * np.tan(U[-1, 1]) / 1.6))),
    (2, "a share, rounded", rounded),
    (2, "no gain in the plan", _track(lambda s, X, U, g: _look(s, X, U, 1.0))),
    (2, "no gain in the angle", _track(delta=lambda c, g: np.clip(np.arctan(1.6 * c), -0.35, 0.35))),
    (2, "gain multiplied", _track(delta=lambda c, g: np.clip(np.arctan(1.6 * c * g), -0.35, 0.35))),
    (2, "arctan of c", _track(delta=lambda c, g: np.clip(np.arctan(c / g), -0.35, 0.35))),
    (2, "no arctan", _track(delta=lambda c, g: np.clip(1.6 * c / g, -0.35, 0.35))),
    (2, "tan for arctan", _track(delta=lambda c, g: np.clip(np.tan(1.6 * c / g), -0.35, 0.35))),
    (2, "c alone", _track(delta=lambda c, g: c)),
    (2, "no limit", _track(delta=lambda c, g: np.arctan(1.6 * c / g))),
    (2, "limit above only", _track(delta=lambda c, g: min(np.arctan(1.6 * c / g), 0.35))),
    (2, "angle times gain", _track(delta=lambda c, g: np.clip(np.arctan(1.6 * c), -0.35, 0.35) / g)),
    (2, "v minus v_r", _track(a=lambda z, r, x: z[0] * r[3] + z[1] * (x[3] - r[2]))),
    (2, "plus offsets", _track(c=lambda z, r, x: z[2] * r[4] + z[3] * (x[1] - r[0]) + z[4] * (x[2] - r[1]))),
    (2, "plus the heading", _track(c=lambda z, r, x: z[2] * r[4] - z[3] * (x[1] - r[0]) + z[4] * (x[2] - r[1]))),
    (2, "heading and offset", _track(c=lambda z, r, x: z[2] * r[4] - z[3] * (x[2] - r[1]) - z[4] * (x[1] - r[0]))),
    (2, "no z₀", _track(a=lambda z, r, x: r[3] + z[1] * (r[2] - x[3]))),
    (2, "no z₂", _track(c=lambda z, r, x: r[4] - z[3] * (x[1] - r[0]) - z[4] * (x[2] - r[1]))),
    (2, "z₁ twice", _track(c=lambda z, r, x: z[1] * r[4] - z[3] * (x[1] - r[0]) - z[4] * (x[2] - r[1]))),
    (2, "feedback of n and μ alone", _track(c=lambda z, r, x: z[2] * r[4] - z[3] * x[1] - z[4] * x[2])),
    (2, "angles all along", _track(lambda s, X, U, g: _look(s, X, U, g, lambda d, g: d))),
    (2, "degrees", degrees_in),
    (2, "a stage late", _track(lambda s, X, U, g: _look(s, X, U, g, lengths=lambda X: X[1:, 0]))),
    (2, "all lengths", with_all_lengths),
    (2, "beyond the end", extrapolated),
    (2, "the other way round", _track(answer=lambda a, delta: np.array([delta, a]))),
    (2, "steering alone", _track(answer=lambda a, delta: delta)),
    (3, "u itself", _least(J=lambda X, U, t: np.sum((U[0] / S) ** 2) + 1e-4 * np.sum((U[1:] / S) ** 2))),
    (3, "all u", _least(J=lambda X, U, t: np.sum(((U - t) / S) ** 2))),
    (3, "no scales", _least(J=lambda X, U, t: np.sum((U[0] - t) ** 2) + 1e-4 * np.sum(U[1:] ** 2))),
    (3, "half", _least(J=lambda X, U, t: 0.5 * (np.sum(((U[0] - t) / S) ** 2) + 1e-4 * np.sum((U[1:] / S) ** 2)))),
    (3, "length", _least(J=lambda X, U, t: np.linalg.norm((U[0] - t) / S) + 1e-4 * np.linalg.norm(U[1:] / S))),
    (3, "all stages small", _least(J=lambda X, U, t: np.sum(((U[0] - t) / S) ** 2) + 1e-4 * np.sum((U / S) ** 2))),
    (3, "1e-3", _least(J=lambda X, U, t: np.sum(((U[0] - t) / S) ** 2) + 1e-3 * np.sum((U[1:] / S) ** 2))),
    (3, "last left out", _least(J=lambda X, U, t: np.sum(((U[0] - t) / S) ** 2) + 1e-4 * np.sum((U[1:-1] / S) ** 2))),
    (3, "per input", _least(J=lambda X, U, t: ((U[0] - t) / S) ** 2 + 1e-4 * np.sum((U[1:] / S) ** 2, axis=0))),
    (3, "n without abs", _least(edges=lambda X, w: X[1:, 1] - w + 0.05)),
    (3, "all N + 1", _least(edges=lambda X, w: abs(X[:, 1]) - w + 0.05)),
    (3, "0 … N - 1", _least(edges=lambda X, w: abs(X[:-1, 1]) - w + 0.05)),
    (3, "s for n", _least(edges=lambda X, w: abs(X[1:, 0]) - w + 0.05)),
    (3, "margin away", _least(edges=lambda X, w: abs(X[1:, 1]) - w - 0.05)),
    (3, "positive inside", _least(edges=lambda X, w: w - 0.05 - abs(X[1:, 1]))),
    (3, "v c", _least(lateral=lambda X, U, g: X[:-1, 3] * g * np.tan(U[:, 1]) / 1.6)),
    (3, "v of the next", _least(lateral=lambda X, U, g: X[1:, 3] ** 2 * g * np.tan(U[:, 1]) / 1.6)),
    (3, "sin", _least(lateral=lambda X, U, g: X[:-1, 3] ** 2 * g * np.sin(U[:, 1]) / 1.6)),
    (3, "gain forgotten", _least(lateral=lambda X, U, g: X[:-1, 3] ** 2 * np.tan(U[:, 1]) / 1.6)),
    (3, "gain within", _least(lateral=lambda X, U, g: X[:-1, 3] ** 2 * np.tan(g * U[:, 1]) / 1.6)),
    (3, "grip once", _least(circle=lambda a, b, G: (a**2 + b**2) / (0.98 * G) - 1)),
    (3, "without - 1", _least(circle=lambda a, b, G: (a**2 + b**2) / (0.98 * G) ** 2)),
    (3, "root", _least(circle=lambda a, b, G: np.sqrt(a**2 + b**2) / (0.98 * G) - 1)),
    (3, "in m/s²", _least(circle=lambda a, b, G: a**2 + b**2 - (0.98 * G) ** 2)),
    (3, "box for circle", _least(circle=lambda a, b, G: np.maximum(abs(a), abs(b)) / (0.98 * G) - 1)),
    (3, "plus share", _least(circle=lambda a, b, G: (a**2 + b**2) / (1.02 * G) ** 2 - 1)),
    (3, "nothing at the end", _least(end=lambda X: 0.0)),
    (3, "v and μ", _least(end=lambda X: X[-1, 2:])),
    (3, "all of x_N", _least(end=lambda X: X[-1])),
    (3, "n at the end", _least(end=lambda X: X[-1, 1])),
    (3, "change of speed", _least(end=lambda X: X[-1, 3] - X[-2, 3])),
    (3, "one row too few", loop_starts_at_one),
    (3, "all speeds", speeds_of_all),
    (4, "end not asked", _certify(ok=lambda X, w: bool(np.all(abs(X[1:, 1]) <= w)))),
    (4, "track not asked", _certify(ok=lambda X, w: X[-1, 3] <= 1e-3)),
    (4, "from x_0", _certify(ok=lambda X, w: bool(np.all(abs(X[:, 1]) <= w) and X[-1, 3] <= 1e-3))),
    (4, "last n", _certify(ok=lambda X, w: bool(abs(X[-1, 1]) <= w and X[-1, 3] <= 1e-3))),
    (4, "no abs", _certify(ok=lambda X, w: bool(np.all(X[1:, 1] <= w) and X[-1, 3] <= 1e-3))),
    (4, "strictly inside", _certify(ok=lambda X, w: bool(np.all(abs(X[1:, 1]) < w) and X[-1, 3] <= 1e-3))),
    (4, "2.5 m", _certify(ok=lambda X, w: bool(np.all(abs(X[1:, 1]) <= 2.5) and X[-1, 3] <= 1e-3))),
    (4, "full width", _certify(ok=lambda X, w: bool(np.all(abs(X[1:, 1]) <= w / 2) and X[-1, 3] <= 1e-3))),
    (4, "stood at some time", _certify(ok=lambda X, w: bool(np.all(abs(X[1:, 1]) <= w) and X[:, 3].min() <= 1e-3))),
    (4, "v is 0", _certify(ok=lambda X, w: bool(np.all(abs(X[1:, 1]) <= w) and X[-1, 3] == 0))),
    (4, "or", _certify(ok=lambda X, w: bool(np.all(abs(X[1:, 1]) <= w) or X[-1, 3] <= 1e-3))),
    (4, "mean", unclipped_sum),
    (4, "ok for each state", _certify(ok=lambda X, w: abs(X[1:, 1]) <= w)),
    (4, "ok alone", _certify(answer=lambda X, ok: ok)),
    (4, "the other order", _certify(answer=lambda X, ok: (ok, X))),
    (4, "without x_0", _certify(answer=lambda X, ok: (X[1:], ok))),
    (4, "columns", _certify(answer=lambda X, ok: (X.T, ok))),
    (4, "dynamics", _certify(move=lambda x, u, p: race.dynamics(x, u, p))),
    (4, "p forgotten in the step", _certify(move=lambda x, u, p: race.driven(x, u))),
    (4, "p forgotten in the brakes", _certify(lambda x, U, k, p: U[k] if k < len(U) else braking(x, race.CAR))),
    (4, "brakes only", _certify(lambda x, U, k, p: braking(x, p))),
    (4, "never brakes", _certify(lambda x, U, k, p: U[k] if k < len(U) else [0, 0])),
    (4, "first input only", _certify(lambda x, U, k, p: U[0] if k == 0 and len(U) else braking(x, p))),
    (4, "m + N", _certify(N=lambda N, U: N + len(U))),
    (4, "full brakes", _certify(lambda x, U, k, p: U[k] if k < len(U) else np.array([-6.0, 0.0]))),
    (4, "stops early", first_violation_ends),
    (4, "one array", same_array),
    (5, "the clip alone", _behind(lambda safe, box: box, q_at=lambda a, asked, kept: asked)),
    (5, "the set alone", _behind(a=lambda asked, low, high: np.clip(0, low, high), q_at=lambda a, asked, kept: asked)),
    (5, "Q alone", _behind(lambda safe, box: box, lambda asked, low, high: np.clip(0, low, high))),
    (5, "box left", _behind(lambda safe, box: box)),
    (5, "zero left", _behind(a=lambda asked, low, high: np.clip(0, low, high))),
    (5, "Q left", _behind(q_at=lambda a, asked, kept: asked)),
    (5, "Q at what acted", _behind(q_at=lambda a, asked, kept: a)),
    (5, "acted stored", _behind(kept=lambda a, asked, store: a)),
    (5, "asked stored", _behind(kept=lambda a, asked, store: asked)),
    (5, "cost of the asked one", _behind(paid=lambda a, asked: asked)),
    (5, "not filtered", _behind(a=lambda asked, low, high: np.clip(asked, -1, 1))),
    (5, "above only", _behind(a=lambda asked, low, high: min(asked, high))),
    (5, "low and high", _behind(a=lambda asked, low, high: np.clip(asked, -high, -low))),
    (
        5,
        "the farther end",
        _behind(a=lambda asked, low, high: asked if low <= asked <= high else (high if asked < low else low)),
    ),
    (5, "no discount", _behind(td=lambda L, V, Q, g: L + V - Q)),
    (5, "sign of the TD error", _behind(td=lambda L, V, Q, g: Q - L - g * V)),
    (5, "V at s", _behind(v_at=lambda s, s_next: s)),
    (5, "no disturbance in the rows", _behind(tightened=lambda h, H: h)),
    (5, "no disturbance in the step", _behind(push=lambda e: np.zeros(2))),
    (6, "all of it", {"grip": 8, "track": 2.5}),
    (6, "the least grip", {"grip": 6.4, "track": 2.5}),
    (6, "the least grip, narrow", {"grip": 6.4, "track": 2.1}),
    (6, "very careful", {"grip": 5.6, "track": 1.3}),
    (6, "between", {"grip": 7.2, "track": 2.2}),
    (6, "a little narrower", {"grip": 8, "track": 2.2}),
    (6, "a little of both", {"grip": 7.6, "track": 2.2}),
    (6, "a pair", (8.0, 1.7)),
    (6, "too narrow", {"grip": 8.0, "track": 1.0}),
    (7, "failed", ("a", [2])),
    (7, "longer", ("c", [1])),
    (7, "all true ones", ("f", [1, 2, 3, 4])),
    (7, "recursive", ("f", [1, 6])),
    (7, "one reason", ("f", 2)),
    (7, "better driver", ("d", [2])),
]

RIGHT = [
    (1, "a comma", "11,5"),
    (1, "a fraction", "23/2"),
    (2, "in parts", _track()),
    (2, "by arctan2", _track(delta=lambda c, g: np.clip(np.arctan2(1.6 * c, g), -0.35, 0.35))),
    (2, "a list", _track(answer=lambda a, delta: [a, delta])),
    (3, "a loop", in_a_loop),
    (3, "in parts", _least()),
    (4, "columns turned", stacked),
    (4, "in parts", _certify()),
    (4, "0 or 1", _certify(answer=lambda X, ok: [X.tolist(), int(ok)])),
    (5, "in parts", _behind()),
    (5, "the rows of both", both_sets),
    (6, "whole numbers", {"grip": 8, "track": 1.5}),
    (6, "others", {"track": 1.8, "grip": 7.7}),
    (7, "in words", ("F)", "1, 2 and 4")),
]
