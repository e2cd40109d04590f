"""Exercise 10, on what stands before and after the policy.

Seven items: which cars a filter lets pass, a tracker that follows a plan, the problem of a safety filter, the
certificate that it believes, a filter with three faults and the TD error behind it, what a filter is told so that it
survives grips nobody told it, and safe against live.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from mpcrl_course import places
from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.closed_loop import Run, run
from mpcrl_course.envs import linear, race
from mpcrl_course.envs.race import BASE, CAR, DT, LOWER, MAX_SPEED, UPPER, WIDTH, RaceParameters
from mpcrl_course.policies import Filter, RaceSafety, Receding
from mpcrl_course.policies.race_filter import STANDING, braking
from mpcrl_course.policies.safe_set import robust_invariant_set
from mpcrl_course.problems.race import SAFE_MARGIN, SAFE_SHARE, SCALE, SMALL, race_mpc, safety_mpc

# ------------------------------------------------------------------------------------- 1: which cars the filter passes

STAGES = 40
GAS, BRAKE = float(UPPER[0]), float(-LOWER[0])  # m/s^2


def _fastest(brakes: float = BRAKE, stages: int = STAGES - 1, gas: float = GAS * DT) -> float:
    """Return the highest speed from which a car stands after one step of gas and so many of braking."""
    return stages * brakes * DT - gas


predict = Predict(
    1,
    "which cars the filter passes",
    reference=_fastest(),
    rtol=0.0,
    atol=0.05,
    when_right="The wanted input takes a stage of the horizon: what is left of it must stop the car.",
    hints=[
        "The horizon has 40 stages. How many of them are left for braking?",
        "39 stages of braking take 39 · 0.05 · 6 m/s away. What did the first stage add?",
    ],
    mistakes=[
        Mistake("all stages brake",
                "You have braked for 40 stages after the gas: the wanted input is the first of the 40.",
                _fastest(stages=STAGES)),
        Mistake("gas costs nothing",
                "39 stages of braking it is. But the first stage has made the car faster: that must be stopped, too.",
                _fastest(gas=0.0)),
        Mistake("braking only",
                "This is the speed from which the car stops in 40 stages if it brakes at once; it is to give gas "
                "first.", _fastest(stages=STAGES, gas=0.0)),
        Mistake("sign of the gas", "Gas makes the car faster: it lowers the speed that passes.",
                _fastest(gas=-GAS * DT)),
        Mistake("one stage too few", "39 stages are left after the first, not 38.", _fastest(stages=STAGES - 2)),
        Mistake("gas for a second", "4 m/s² for one stage of 0.05 s is 0.2 m/s, not 4 m/s.", _fastest(gas=GAS)),
        Mistake("brakes with the grip",
                "The tyres would hold 8 m/s², but the brakes give 6 m/s² at most.",
                (_fastest(0.95 * CAR.grip), _fastest(CAR.grip, STAGES, 0.0))),
        Mistake("brakes like gas", "It brakes with up to 6 m/s²; 4 m/s² is what the gas gives.",
                _fastest(GAS)),
        Mistake("without dt", "Each stage takes 0.05 s: braking with 6 m/s² takes 0.3 m/s away in a stage, not 6.",
                (200.0, 250.0)),
        Mistake("in km/h", "This is in km/h; m/s are asked for.", (41.0, 41.8)),
        Mistake("gas throughout",
                "The driver wants gas, but after one stage the filter's plan brakes: that is what it looks at.",
                (0.0, 4.0)),
    ],
)  # fmt: skip

# ----------------------------------------------------------------------------------------------------- 2: a tracker


def track(x, X, U, z, gain):
    """Return the input (2,) of a tracker in state x (4,) = (s, n, mu, v).

    It follows the plan with states X (N + 1, 4) and inputs U (N, 2), made for a steering `gain`; z (5,) are its
    numbers.
    """
    return _tracker()(x, X, U, z, gain)


def _at_length(p):
    s, along = p.x[0], p.X[:, 0]
    n, mu, v = (np.interp(s, along, p.X[:, i]) for i in (1, 2, 3))
    return SimpleNamespace(n=n, mu=mu, v=v, a=np.interp(s, along[:-1], p.U[:, 0]),
                           c=np.interp(s, along[:-1], p.gain * np.tan(p.U[:, 1]) / BASE))  # fmt: skip


def _at_stage(k: int):
    def look(p):
        return SimpleNamespace(n=p.X[k, 1], mu=p.X[k, 2], v=p.X[k, 3], a=p.U[k, 0],
                               c=p.gain * np.tan(p.U[k, 1]) / BASE)  # fmt: skip

    return look


def _nearest(p):
    return _at_stage(min(int(np.abs(p.X[:, 0] - p.x[0]).argmin()), len(p.U) - 1))(p)


def _before(p):
    return _at_stage(int(np.clip(np.searchsorted(p.X[:, 0], p.x[0]) - 1, 0, len(p.U) - 1)))(p)


def _curvatures(how: Callable):
    def look(p):
        r = _at_length(p)
        r.c = np.interp(p.x[0], p.X[:-1, 0], how(p))
        return r

    return look


def _one_stage_late(p):
    r = _at_length(p)
    r.a = np.interp(p.x[0], p.X[1:, 0], p.U[:, 0])
    r.c = np.interp(p.x[0], p.X[1:, 0], p.gain * np.tan(p.U[:, 1]) / BASE)
    return r


def _angle_interpolated(p):
    r = _at_length(p)
    r.c = p.gain * np.tan(np.interp(p.x[0], p.X[:-1, 0], p.U[:, 1])) / BASE
    return r


def _steer(p, c):
    return np.clip(np.arctan(BASE * c / p.gain), LOWER[1], UPPER[1])


def _tracker(
    look: Callable = _at_length,
    a: Callable = lambda p, r: p.z[0] * r.a + p.z[1] * (r.v - p.x[3]),
    c: Callable = lambda p, r: p.z[2] * r.c - p.z[3] * (p.x[1] - r.n) - p.z[4] * (p.x[2] - r.mu),
    steer: Callable = _steer,
) -> Callable:
    """Make a tracker from its parts; each may be replaced by a faulty one."""

    def tracking(x, X, U, z, gain):
        p = SimpleNamespace(x=x, X=X, U=U, z=z, gain=gain)
        r = look(p)
        return np.array([a(p, r), steer(p, c(p, r))])

    return tracking


def _by_matrix(x, X, U, z, gain):
    """The tracker as linear feedback of what differs from the plan."""
    planned = np.array([np.interp(x[0], X[:, 0], column) for column in X[:, 1:].T])
    e = x[1:] - planned
    fed = np.array([np.interp(x[0], X[:-1, 0], column) for column in (U[:, 0], np.tan(U[:, 1]))])
    a, tangent = z[[0, 2]] * fed - np.array([[0, 0, z[1]], BASE / gain * np.array([z[3], z[4], 0])]) @ e
    return a, min(max(np.arctan(tangent), LOWER[1]), UPPER[1])


def _by_hand(x, X, U, z, gain):
    """The tracker with an interpolation of one's own."""

    def between(s, y):
        if x[0] <= s[0]:
            return y[0]
        if x[0] >= s[-1]:
            return y[-1]
        k = max(k for k in range(len(s) - 1) if s[k] <= x[0])
        return y[k] + (y[k + 1] - y[k]) * (x[0] - s[k]) / (s[k + 1] - s[k])

    n, mu, v = (between(X[:, 0], X[:, i]) for i in (1, 2, 3))
    c = [gain * np.tan(delta) / BASE for delta in U[:, 1]]
    wanted = z[2] * between(X[:-1, 0], c) + z[3] * (n - x[1]) + z[4] * (mu - x[2])
    delta = np.arctan2(BASE * wanted, gain)
    return [z[1] * (v - x[3]) + z[0] * between(X[:-1, 0], U[:, 0]), float(np.clip(delta, -0.35, 0.35))]


def _some_plans(rng: np.random.Generator) -> list[dict]:
    """Return plans and cars between two stages, nearer to the later one, before the plan and beyond it."""
    probes = []
    for N, where, off, gain in ((4, 2.7, 0.3, 0.85), (5, 1.65, -0.3, 1.15), (4, 9.0, 0.3, 0.9), (6, -1.0, 0.3, 1.2),
                                (5, 3.4, 2.6, 0.7), (4, 0.6, -2.6, 1.3), (3, 2.8, -0.2, 0.75)):  # fmt: skip
        along = np.round(rng.uniform(5, 150) + np.cumsum(rng.uniform(0.3, 0.6, N + 1)), 2)
        sides = [rng.uniform(low, high, N + 1) for low, high in ((-1.0, 1.0), (-0.2, 0.2), (4.0, 7.0))]
        X = np.round(np.column_stack([along, *sides]), 2)
        U = np.round(np.column_stack([rng.uniform(-1.5, 1.5, N), rng.uniform(0.1, 0.3, N)]), 2)
        U[:, 1] *= -np.sign(off)  # where the car is far off, feedback and plan steer the same way
        s = np.interp(where, np.arange(N + 1), along) + 0.3 * ((where > N) - float(where < 0))
        x = np.round([s, X[:, 1].mean() + off, X[:, 2].mean() + 0.1 * off, rng.uniform(5, 6)], 2)
        z = np.round(rng.uniform([0.6, 0.5, 0.7, 0.1, 0.3], [0.95, 0.9, 0.95, 0.2, 0.5]), 2)
        probes.append({"x": x, "X": X, "U": U, "z": z, "gain": gain})
    return probes


follow = Fill(
    2,
    "a tracker",
    reference=track,
    probes=_some_plans,
    compare=close(rtol=1e-6, atol=1e-9, blocks={"a": 0, "δ": 1}),
    when_right="A plan is read where the car is, not when: a car that is late is asked for what belongs there.",
    hints=[
        "What stands along the plan's axis: stages, or lengths? `np.interp(s, lengths, values)` reads between them and "
        "holds the ends.",
        "The inputs belong to the first N of the N + 1 states: c = np.interp(x[0], X[:-1, 0], gain * np.tan(U[:, 1]) "
        "/ 1.6).",
        "From a curvature to an angle: tan δ = 1.6 c / g, then the limit of 0.35 rad.",
    ],
    mistakes=[
        Mistake("the plan's beginning",
                "This is what the plan asks for at its first stage. It is read at the length s where the car is.",
                _tracker(_at_stage(0))),
        Mistake("the second stage",
                "This is what the plan asks for at its second stage. It is read at the length s where the car is.",
                _tracker(_at_stage(1))),
        Mistake("the nearest stage", "The nearest stage of the plan is not exact: read between the stages, linearly.",
                _tracker(_nearest)),
        Mistake("the stage before", "This is the stage that the car has just passed: read between the stages.",
                _tracker(_before)),
        Mistake("inputs one stage late",
                "The planned inputs stand at the wrong lengths: the k-th acts from the k-th state on, so X[:-1].",
                _tracker(_one_stage_late)),
        Mistake("angle for curvature",
                "You have interpolated the planned steering angles. What the plan asks for is a *curvature*: convert "
                "first, then interpolate.", _tracker(_angle_interpolated)),
        Mistake("plan's gain forgotten", "The plan's curvatures lack the gain: c = g tan δ / 1.6.",
                _tracker(_curvatures(lambda p: np.tan(p.U[:, 1]) / BASE))),
        Mistake("own gain forgotten", "Your own angle lacks the gain: tan δ = 1.6 c / g.",
                _tracker(steer=lambda p, c: np.clip(np.arctan(BASE * c), LOWER[1], UPPER[1]))),
        Mistake("gain nowhere",
                "The gain g does not enter: it is in the plan's curvatures and in your own steering angle.",
                _tracker(_curvatures(lambda p: np.tan(p.U[:, 1]) / BASE),
                         steer=lambda p, c: np.clip(np.arctan(BASE * c), LOWER[1], UPPER[1]))),
        Mistake("gain upside down", "To turn by c with a gain g one needs tan δ = 1.6 c / g; you have multiplied by g.",
                _tracker(steer=lambda p, c: np.clip(np.arctan(BASE * c * p.gain), LOWER[1], UPPER[1]))),
        Mistake("tan forgotten in the plan", "The plan's curvature is g tan δ / 1.6; the tan is missing.",
                _tracker(_curvatures(lambda p: p.gain * p.U[:, 1] / BASE))),
        Mistake("arctan forgotten", "1.6 c / g is the tangent of the angle, not the angle.",
                _tracker(steer=lambda p, c: np.clip(BASE * c / p.gain, LOWER[1], UPPER[1]))),
        Mistake("angles for curvatures",
                "Your feedback adds angles and curvatures: convert the planned δ to c = g tan δ / 1.6, and the sum "
                "back.", _tracker(_curvatures(lambda p: p.U[:, 1]), steer=lambda p, c: np.clip(c, LOWER[1], UPPER[1]))),
        Mistake("curvature steered", "The second entry is c. The car is steered by an angle: tan δ = 1.6 c / g.",
                _tracker(steer=lambda p, c: c)),
        Mistake("steering not limited", "The steering angle is beyond 0.35 rad here: limit it.",
                _tracker(steer=lambda p, c: np.arctan(BASE * c / p.gain))),
        Mistake("curvature limited", "You have limited the curvature c to 0.35. What has that limit is the angle δ.",
                _tracker(steer=lambda p, c: np.arctan(BASE * np.clip(c, LOWER[1], UPPER[1]) / p.gain))),
        Mistake("in degrees", "The angle is in degrees; radians are expected.",
                _tracker(steer=lambda p, c: np.degrees(_steer(p, c)))),
        Mistake("sign of the speed's error", "A car slower than the plan must be sped up: + z₁ (v_r − v).",
                _tracker(a=lambda p, r: p.z[0] * r.a - p.z[1] * (r.v - p.x[3]))),
        Mistake("sign of the offset's error",
                "A car to the left of the plan (n > n_r) must turn right: the sign of z₃ (n − n_r) is minus.",
                _tracker(c=lambda p, r: p.z[2] * r.c + p.z[3] * (p.x[1] - r.n) - p.z[4] * (p.x[2] - r.mu))),
        Mistake("sign of the heading's error",
                "A car that heads further left than the plan must turn right: the sign of z₄ (μ − μ_r) is minus.",
                _tracker(c=lambda p, r: p.z[2] * r.c - p.z[3] * (p.x[1] - r.n) + p.z[4] * (p.x[2] - r.mu))),
        Mistake("both signs of the steering",
                "Your feedback steers away from the plan: both errors enter with a minus.",
                _tracker(c=lambda p, r: p.z[2] * r.c + p.z[3] * (p.x[1] - r.n) + p.z[4] * (p.x[2] - r.mu))),
        Mistake("z₃ and z₄ swapped", "z₃ belongs to the offset n, z₄ to the heading μ.",
                _tracker(c=lambda p, r: p.z[2] * r.c - p.z[4] * (p.x[1] - r.n) - p.z[3] * (p.x[2] - r.mu))),
        Mistake("z₀ and z₁ swapped", "z₀ belongs to the planned acceleration, z₁ to the error in speed.",
                _tracker(a=lambda p, r: p.z[1] * r.a + p.z[0] * (r.v - p.x[3]))),
        Mistake("no planned acceleration", "The planned acceleration is missing: the tracker only reacts.",
                _tracker(a=lambda p, r: p.z[1] * (r.v - p.x[3]))),
        Mistake("no planned curvature", "The planned curvature is missing: in a bend the car is always late.",
                _tracker(c=lambda p, r: -p.z[3] * (p.x[1] - r.n) - p.z[4] * (p.x[2] - r.mu))),
        Mistake("plan held", "This is the plan's own input at s: the state's errors do not enter.",
                _tracker(a=lambda p, r: r.a, c=lambda p, r: r.c)),
        Mistake("to the centre line",
                "You steer to the centre line: the plan has an offset and a heading of its own, n_r and μ_r.",
                _tracker(c=lambda p, r: p.z[2] * r.c - p.z[3] * p.x[1] - p.z[4] * p.x[2])),
        Mistake("steering first", "The input is (a, δ), in this order.",
                lambda x, X, U, z, gain: _tracker()(x, X, U, z, gain)[::-1]),
    ],
    variants=[_by_matrix, _by_hand],
)  # fmt: skip

# --------------------------------------------------------------------------------------- 3: the problem of the filter


def least_change(X, U, target, half_width, grip, gain):
    """Return what a safety filter minimises, J, and what it asks of a plan.

    Rows `edges` (N,), of stages 1 … N, and `circle` (N,), of stages 0 … N - 1, that must not be above 0, and what must
    be 0 at the `end`; for states X (N + 1, 4), inputs U (N, 2) and the input `target` (2,) that is wanted. The filter
    believes in `half_width`, `grip` and `gain`.
    """
    return _filter_problem()(X, U, target, half_width, grip, gain)


def _changes(p):
    return ((p.U[0] - p.target) / SCALE) ** 2


def _later(p):
    return (p.U[1:] / SCALE) ** 2


def _lateral(p):
    return p.X[:-1, 3] ** 2 * p.gain * np.tan(p.U[:, 1]) / BASE


def _filter_problem(
    J: Callable = lambda p: _changes(p).sum() + SMALL * _later(p).sum(),
    edges: Callable = lambda p: np.abs(p.X[1:, 1]) - (p.half_width - SAFE_MARGIN),
    circle: Callable = lambda p: (p.U[:, 0] ** 2 + _lateral(p) ** 2) / (SAFE_SHARE * p.grip) ** 2 - 1.0,
    end: Callable = lambda p: p.X[-1, 3],
) -> Callable:
    """Make the filter's problem from its parts; each may be replaced by a faulty one."""

    def problem(X, U, target, half_width, grip, gain):
        p = SimpleNamespace(X=X, U=U, target=target, half_width=half_width, grip=grip, gain=gain)
        return J(p), edges(p), circle(p), end(p)

    return problem


def _stage_by_stage(X, U, target, half_width, grip, gain):
    J, edges, circle = 0.0, [], []
    for k, (a, delta) in enumerate(U):
        wanted_a, wanted_delta, weight = (*target, 1.0) if k == 0 else (0.0, 0.0, 1e-4)
        J += weight * (((a - wanted_a) / 5.0) ** 2 + ((delta - wanted_delta) / 0.35) ** 2)
        edges.append(max(X[k + 1, 1], -X[k + 1, 1]) + 0.05 - half_width)
        lateral = X[k, 3] ** 2 * gain * np.tan(delta) / 1.6
        circle.append((a * a + lateral * lateral) / (0.98 * grip) ** 2 - 1)
    return J, edges, circle, X[-1, 3]


def _by_norms(X, U, target, half_width, grip, gain):
    W = np.diag(1 / SCALE)
    J = np.linalg.norm(W @ (U[0] - target)) ** 2 + SMALL * np.linalg.norm(U[1:] @ W) ** 2
    asked = race.acceleration(X[:-1], U, gain)
    circle = np.einsum("ki,ki->k", asked, asked) / (SAFE_SHARE * grip) ** 2 - 1
    return {"J": J, "edges": np.sqrt(X[1:, 1] ** 2) + SAFE_MARGIN - half_width, "circle": circle, "end": X[-1, -1]}


def _some_solutions(rng: np.random.Generator) -> list[dict]:
    probes = []
    for N in (3, 2, 4, 3):
        X = np.column_stack([np.cumsum(rng.uniform(0.2, 0.5, N + 1)), rng.uniform(0.5, 2.2, N + 1),
                             rng.uniform(-0.3, 0.3, N + 1), rng.uniform(2.0, 6.0, N + 1)])  # fmt: skip
        X[:, 1] *= np.where(np.arange(N + 1) % 2 == N % 2, -1.0, 1.0)
        U = rng.uniform([-5.0, 0.1], [-1.5, 0.33], (N, 2)) * rng.choice([-1, 1], (N, 2))
        target = rng.uniform([0.8, 0.1], [3.5, 0.3]) * rng.choice([-1, 1], 2)
        probes.append({"X": np.round(X, 2), "U": np.round(U, 2), "target": np.round(target, 2),
                       "half_width": float(np.round(rng.uniform(1.6, 2.4), 2)),
                       "grip": float(np.round(rng.uniform(6.0, 9.0), 1)),
                       "gain": float(np.round(rng.uniform(0.75, 0.9), 2))})  # fmt: skip
    return probes


def _rows(*places: int) -> Callable:
    """Make the circle without the squares at these places: 0 of a, 1 of the lateral acceleration, 2 of the grip."""

    def circle(p):
        powers = [1 if place in places else 2 for place in range(3)]
        return (p.U[:, 0] ** powers[0] + _lateral(p) ** powers[1]) / (SAFE_SHARE * p.grip) ** powers[2] - 1.0

    return circle


def _circle(lateral: Callable, share: float = SAFE_SHARE) -> Callable:
    return lambda p: (p.U[:, 0] ** 2 + lateral(p) ** 2) / (share * p.grip) ** 2 - 1.0


problem = Fill(
    3,
    "the problem of a safety filter",
    reference=least_change,
    probes=_some_solutions,
    compare=close(rtol=1e-6, atol=1e-10, names=("J", "edges", "circle", "end")),
    when_right="Where the wanted input allows a stop, J is nearly 0: the filter is not felt.",
    hints=[
        "What would J be if the filter changed nothing? So what is squared at stage 0?",
        "Divide the two inputs by their scales first: a change of 5 m/s² counts as much as one of 0.35 rad.",
        "edges: X[1:, 1], since x_0 is as it is. circle: v of the stage itself, X[:-1, 3]. end: the car stands.",
    ],
    mistakes=[
        Mistake("u for u − u_RL",
                "You minimise u_0 itself: this filter brakes whatever the driver wants. What is to be small is the "
                "*change*, u_0 − target.", _filter_problem(lambda p: SMALL * _later(p).sum()
                                                          + ((p.U[0] / SCALE) ** 2).sum())),
        Mistake("target at every stage",
                "You ask all stages to be near the target. Only the first input is the driver's; the rest is to stop.",
                _filter_problem(lambda p: _changes(p).sum() + SMALL * (((p.U[1:] - p.target) / SCALE) ** 2).sum())),
        Mistake("target at every stage, in full",
                "You ask all stages to be near the target, and in full: then the driver's gas costs what braking "
                "later saves. Only the first input is the driver's.",
                _filter_problem(lambda p: (((p.U - p.target) / SCALE) ** 2).sum())),
        Mistake("target added", "J has u_0 + target: the change is the difference.",
                _filter_problem(lambda p: (((p.U[0] + p.target) / SCALE) ** 2).sum() + SMALL * _later(p).sum())),
        Mistake("without scales", "The scales are missing: divide by (5, 0.35), else the steering hardly counts.",
                _filter_problem(lambda p: ((p.U[0] - p.target) ** 2).sum() + SMALL * (p.U[1:] ** 2).sum())),
        Mistake("later inputs without scales", "The later inputs are to be divided by (5, 0.35) as well.",
                _filter_problem(lambda p: _changes(p).sum() + SMALL * (p.U[1:] ** 2).sum())),
        Mistake("scales multiplied", "You have multiplied by (5, 0.35): divide by these scales.",
                _filter_problem(lambda p: (((p.U[0] - p.target) * SCALE) ** 2).sum()
                                + SMALL * ((p.U[1:] * SCALE) ** 2).sum())),
        Mistake("scales not squared", "The scales stand inside the square: ((u − target) / scale)².",
                _filter_problem(lambda p: ((p.U[0] - p.target) ** 2 / SCALE).sum()
                                + SMALL * (p.U[1:] ** 2 / SCALE).sum())),
        Mistake("norm not squared", "J takes the length of the change; its square is asked for.",
                _filter_problem(lambda p: np.sqrt(_changes(p).sum()) + SMALL * _later(p).sum())),
        Mistake("absolute values", "J adds absolute values; squares are asked for.",
                _filter_problem(lambda p: np.sqrt(_changes(p)).sum() + SMALL * np.sqrt(_later(p)).sum())),
        Mistake("later inputs free", "The small part is missing: 1e-4 of the later inputs, scaled and squared.",
                _filter_problem(lambda p: _changes(p).sum())),
        Mistake("later inputs in full",
                "The weight 1e-4 is missing: so the filter gives up the driver's input in order to brake gently later.",
                _filter_problem(lambda p: _changes(p).sum() + _later(p).sum())),
        Mistake("first input twice", "The small part begins at stage 1: u_0 is paid for already.",
                _filter_problem(lambda p: _changes(p).sum() + SMALL * ((p.U / SCALE) ** 2).sum())),
        Mistake("weight squared", "1e-4 stands before the square; you have squared it, too.",
                _filter_problem(lambda p: _changes(p).sum() + SMALL**2 * _later(p).sum())),
        Mistake("mean for sum", "The later inputs are summed up; you have taken a mean.",
                _filter_problem(lambda p: _changes(p).sum() + SMALL * _later(p).mean())),
        Mistake("edges from stage 0", "`edges` begins at x_0, which nobody can change: stages 1 … N.",
                _filter_problem(edges=lambda p: np.abs(p.X[:-1, 1]) - (p.half_width - SAFE_MARGIN))),
        Mistake("edges without margin", "`edges` lacks the margin of 0.05 m.",
                _filter_problem(edges=lambda p: np.abs(p.X[1:, 1]) - p.half_width)),
        Mistake("margin outwards", "The margin makes the track *narrower*: half_width − 0.05 m.",
                _filter_problem(edges=lambda p: np.abs(p.X[1:, 1]) - p.half_width - SAFE_MARGIN)),
        Mistake("one edge only", "|n|, not n: there are two edges.",
                _filter_problem(edges=lambda p: p.X[1:, 1] - (p.half_width - SAFE_MARGIN))),
        Mistake("sign of the edges", "`edges` is above 0 where the car is on the track: turn it round.",
                _filter_problem(edges=lambda p: p.half_width - SAFE_MARGIN - np.abs(p.X[1:, 1]))),
        Mistake("heading for offset", "The edges bound n, X[:, 1]; this is the heading.",
                _filter_problem(edges=lambda p: np.abs(p.X[1:, 2]) - (p.half_width - SAFE_MARGIN))),
        Mistake("sign of the circle", "`circle` is above 0 where the tyres hold: turn it round.",
                _filter_problem(circle=lambda p: 1.0 - (p.U[:, 0] ** 2 + _lateral(p) ** 2)
                                / (SAFE_SHARE * p.grip) ** 2)),
        Mistake("circle without share", "`circle` lacks the share of 0.98.",
                _filter_problem(circle=_circle(_lateral, 1.0))),
        Mistake("share outside the square", "0.98 stands inside the square, with the grip.",
                _filter_problem(circle=_circle(_lateral, np.sqrt(SAFE_SHARE)))),
        Mistake("grip not squared", "Accelerations are squared: so must the grip be, with its share.",
                _filter_problem(circle=_rows(2))),
        Mistake("a not squared", "a is not squared in `circle`.", _filter_problem(circle=_rows(0))),
        Mistake("lateral not squared", "v² c is an acceleration: it must be squared in `circle`, as a is.",
                _filter_problem(circle=_rows(1))),
        Mistake("speed not squared", "The lateral acceleration is v² c; yours is v c.",
                _filter_problem(circle=_circle(lambda p: _lateral(p) / p.X[:-1, 3]))),
        Mistake("circle's gain", "The curvature lacks the gain: c = g tan δ / 1.6.",
                _filter_problem(circle=_circle(lambda p: _lateral(p) / p.gain))),
        Mistake("circle's tan", "The curvature is g tan δ / 1.6; the tan is missing.",
                _filter_problem(circle=_circle(lambda p: p.X[:-1, 3] ** 2 * p.gain * p.U[:, 1] / BASE))),
        Mistake("circle's 1.6", "The curvature is g tan δ / 1.6; 1.6 m, the distance of the axles, is missing.",
                _filter_problem(circle=_circle(lambda p: BASE * _lateral(p)))),
        Mistake("circle a stage late", "In `circle` the speed is that of the next state: stage k has v_k and u_k.",
                _filter_problem(circle=_circle(lambda p: p.X[1:, 3] ** 2 * p.gain * np.tan(p.U[:, 1]) / BASE))),
        Mistake("sum within the square", "a and v² c are perpendicular: square each, then add.",
                _filter_problem(circle=lambda p: (p.U[:, 0] + _lateral(p)) ** 2 / (SAFE_SHARE * p.grip) ** 2 - 1.0)),
        Mistake("no terminal condition",
                "Nothing is asked of the end: such a plan may race towards the edge that begins one stage after it. "
                "At the end the car must stand.", _filter_problem(end=lambda p: 0.0)),
        Mistake("one state too early", "`end` is the speed before the last state: X[-1] is where the plan ends.",
                _filter_problem(end=lambda p: p.X[-2, 3])),
        Mistake("ends in the middle",
                "`end` asks the car to end on the centre line. It may end anywhere on the track, if it stands.",
                _filter_problem(end=lambda p: p.X[-1, 1])),
        Mistake("ends straight", "`end` asks the car to end straight. It may end in any direction, if it stands.",
                _filter_problem(end=lambda p: p.X[-1, 2])),
        Mistake("last input for the end", "`end` asks that the last acceleration is 0: a car may roll on with that.",
                _filter_problem(end=lambda p: p.U[-1, 0])),
    ],
    variants=[_stage_by_stage, _by_norms],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------- 4: the certificate


def certificate(x, U, N, p, half_width):
    """Return the states X (N + 1, 4) of a roll-out in the filter's model p, and whether they are a certificate.

    From x (4,): first the inputs U (m, 2), m <= N, then braking, N steps in all; they keep |n| <= `half_width`.
    """
    return _certificate()(x, U, N, p, half_width)


def _certificate(
    act: Callable = lambda q, k, x: q.U[k] if k < len(q.U) else braking(x, q.p),
    step: Callable = lambda q, x, u: race.driven(x, u, q.p),
    steps: Callable = lambda q: q.N,
    edges: Callable = lambda q, X: (np.abs(X[1:, 1]) <= q.half_width).all(),
    end: Callable = lambda q, X: X[-1, 3] <= STANDING,
    told: Callable = lambda edges, end: bool(edges and end),
) -> Callable:
    """Make the certificate from its parts; each may be replaced by a faulty one."""

    def certify(x, U, N, p, half_width):
        q = SimpleNamespace(U=U, N=N, p=p, half_width=half_width)
        states = [np.array(x, dtype=float)]
        for k in range(steps(q)):
            states.append(step(q, states[-1], act(q, k, states[-1])))
        X = np.array(states)
        return X, told(edges(q, X), end(q, X))

    return certify


def _two_loops(x, U, N, p, half_width):
    """First follow, then brake; the worst is kept on the way."""
    X, worst = np.zeros((N + 1, 4)), 0.0
    X[0] = x
    for k, u in enumerate(U):
        X[k + 1] = race.driven(X[k], u, p)
        worst = max(worst, abs(X[k + 1, 1]))
    for k in range(len(U), N):
        X[k + 1] = race.driven(X[k], braking(X[k], p), p)
        worst = max(worst, abs(X[k + 1, 1]))
    return X, worst <= half_width and not X[N, 3] > 1e-3


def _limited_by_hand(x, U, N, p, half_width):
    """Shorten accelerations to the grip, and keep the speed within its limits, oneself."""
    states = [x]
    for k in range(N):
        a, delta = U[k] if k < len(U) else braking(states[k], p)
        v, c = states[k][3], p.gain * np.tan(delta) / BASE
        held = min(1.0, p.grip / max(np.hypot(a, v * v * c), 1e-12))
        a, c = np.clip(held * a, -v / DT, (MAX_SPEED - v) / DT), held * c
        ahead = np.array(race.advance(states[k], a, c))
        ahead[3] = np.clip(ahead[3], 0.0, MAX_SPEED)
        states.append(ahead)
    X = np.array(states)
    return X, X[-1, 3] <= STANDING and -half_width <= X[1:, 1].min() and X[1:, 1].max() <= half_width


def _some_cars(rng: np.random.Generator) -> list[dict]:
    """Return cars for every reason to be refused, and for every model that is not the filter's."""
    weak, strong = RaceParameters(grip=5.5, gain=0.85), RaceParameters(grip=7.5, gain=1.1)

    def car(x, U, N, p, width: Callable, exactly: bool = False):
        x = x if exactly else np.round(np.array(x) + rng.uniform(-1, 1, 4) * [5.0, 0.05, 0.01, 0.05], 3)
        U = np.reshape(np.array(U, dtype=float), (-1, 2))
        n = np.abs(certificate(x, U, N, p, WIDTH)[0][:, 1])
        return {"x": x, "U": U, "N": N, "p": p, "half_width": float(np.round(width(n), 4))}

    def between(low: Callable, high: Callable) -> Callable:
        return lambda n: 0.5 * (low(n) + high(n))

    wide, last, first = lambda n: n.max() + 0.2, lambda n: n[-1], lambda n: n[0]
    passing = between(lambda n: max(n[1], n[-1]), lambda n: n.max())
    returning = between(lambda n: n[2:].max(), lambda n: n[1])
    little = RaceParameters(grip=4.0, gain=0.8)
    return [
        car([30.0, 0.6, 0.05, 2.4], [[3.5, 0.2]], 11, weak, wide),  # certified
        car([52.0, -0.8, -0.1, 3.4], [[2.0, -0.25], [-3.0, 0.3]], 8, strong, wide),  # does not stand
        car([70.0, 1.6, 0.4, 2.27], [[1.0, 0.1]], 9, strong, between(lambda n: n[:-1].max(), last)),  # off in the end
        car([60.0, 1.5, 0.15, 3.2], [[0.0, -0.35]] * 18, 31, strong, passing),  # … in between only
        car([10.0, -1.5, -0.15, 3.2], [[0.0, 0.35]] * 18, 31, strong, passing),  # … on the other side
        car([130.0, 1.5, -0.3, 2.0], [[0.5, 0.05]], 10, strong, between(lambda n: n[1:].max(), first)),  # at first only
        car([140.0, 1.5, -0.3, 2.0], [[0.5, 0.05]], 10, weak, returning),  # … longer
        car([160.0, 2.36, 0.4, 2.6], [[0.5, 0.05]], 12, strong, lambda n: 2.46),  # beyond the plant's edge, too
        car([170.0, 2.6, 0.2, 1.0], [[0.5, 0.05]], 6, strong, lambda n: 2.2),  # outside all the time
        car([175.0, 2.3, 0.1, 1.0], [[0.5, 0.05]], 6, strong, lambda n: 2.2),  # … but within the plant's edge
        car([180.0, -2.6, 0.2, 3.0], [[0.5, 0.05]], 4, weak, lambda n: 2.2),  # outside, and still driving
        car([150.0, 0.4, 0.1, 6.0], [[3.8, 0.34], [3.8, 0.34]], 9, weak, wide),  # beyond the grip
        car([20.0, -0.5, 0.1, 11.9], [[3.9, 0.02], [3.9, -0.03]], 5, strong, wide),  # at full speed
        car([60.0, 0.2, 0.05, 1.6], [], 8, weak, lambda n: n.max() + 0.9),  # brakes at once
        car([105.0, 0.2, 0.05, 6.5], [[1.0, 0.3]], 40, little, wide),  # in a bend
        car(np.array([40.0, 1.7, 0.4, 0.0]), [], 3, strong, first, True),  # stands on the very edge
        car(np.array([80.0, -1.1, 0.2, STANDING]), [[0.0, 0.1]] * 2, 2, weak, wide, True),  # as slow as one that stands
        car(np.array([85.0, 1.1, 0.2, 1.5 * STANDING]), [[0.0, 0.1]] * 2, 2, weak, wide, True),  # a little faster
        car([35.0, -0.4, 0.1, 0.2], [[-6.0, 0.1], [3.0, 0.1]], 2, strong, wide),  # stands, and goes on
    ]


certify = Fill(
    4,
    "the certificate",
    reference=certificate,
    probes=_some_cars,
    compare=close(rtol=1e-6, atol=1e-9, names=("X", "ok")),
    when_right="What is promised is the roll-out's, not the solver's: a plan that would break it is refused.",
    hints=[
        "A loop of N steps: what acts at step k, if k < len(U)? And afterwards?",
        "`race.driven(x, u, p)` is the plant of the filter's model: it shortens accelerations to the grip. "
        "`race.dynamics` does not.",
        "A certificate: every |n| after x_0, and the last speed. An end that stands can be held for ever.",
    ],
    mistakes=[
        Mistake("may end driving",
                "`ok` does not ask how the plan ends: one that still drives may leave the track at the next stage. It "
                "must stand.", _certificate(end=lambda q, X: True)),
        Mistake("edges not asked", "`ok` asks only that the car stands: it must also have kept to the track.",
                _certificate(edges=lambda q, X: True)),
        Mistake("edge at the end only", "`ok` looks at |n| of the last state only: all states 1 … N must keep it.",
                _certificate(edges=lambda q, X: np.abs(X[-1, 1]) <= q.half_width)),
        Mistake("edge at the next state only", "`ok` looks at |n| of the next state only: all of 1 … N must keep it.",
                _certificate(edges=lambda q, X: np.abs(X[1, 1]) <= q.half_width)),
        Mistake("start asked, too",
                "`ok` also refuses x_0, which is as it is: a car outside of a narrowed track may come back.",
                _certificate(edges=lambda q, X: (np.abs(X[:, 1]) <= q.half_width).all())),
        Mistake("last state not asked", "`ok` forgets the last state: 1 … N must be on the track.",
                _certificate(edges=lambda q, X: (np.abs(X[1:-1, 1]) <= q.half_width).all())),
        Mistake("one edge only", "|n|, not n: there are two edges.",
                _certificate(edges=lambda q, X: (X[1:, 1] <= q.half_width).all())),
        Mistake("half width of the plant",
                "You have compared with 2.5 m: the filter is told a `half_width`, and that may be less.",
                _certificate(edges=lambda q, X: (np.abs(X[1:, 1]) <= WIDTH).all())),
        Mistake("half of the half width", "`half_width` is one side already: do not halve it.",
                _certificate(edges=lambda q, X: (np.abs(X[1:, 1]) <= 0.5 * q.half_width).all())),
        Mistake("mean offset", "On the track in the mean is not enough: each state must be.",
                _certificate(edges=lambda q, X: np.abs(X[1:, 1]).mean() <= q.half_width)),
        Mistake("stands at some time",
                "It is not enough that the car stands at some time: it must at the end, so that the plan can be held.",
                _certificate(end=lambda q, X: X[:, 3].min() <= STANDING)),
        Mistake("any for all", "One state on the track is not enough: all of them.",
                _certificate(edges=lambda q, X: (np.abs(X[1:, 1]) <= q.half_width).any())),
        Mistake("either is enough", "Both must hold: on the track, *and* standing at the end.",
                _certificate(told=lambda edges, end: bool(edges or end))),
        Mistake("the opposite", "`ok` is true where it should be false.",
                _certificate(told=lambda edges, end: not (edges and end))),
        Mistake("speed exactly 0", "v = 0 exactly is too much to ask: up to 1e-3 m/s a car stands.",
                _certificate(end=lambda q, X: X[-1, 3] == 0.0)),
        Mistake("another entry for the speed",
                "The end is judged by its offset or heading here: it is the speed that must be at most 1e-3.",
                _certificate(end=lambda q, X: np.abs(X[-1, 2]) <= STANDING)),
        Mistake("always right", "`ok` does not depend on X.", _certificate(told=lambda edges, end: True)),
        Mistake("no grip",
                "Your car keeps accelerations that no tyre holds: roll out with `race.driven`, the plant of the model, "
                "instead of `race.dynamics`.", _certificate(step=lambda q, x, u: race.dynamics(x, u, q.p))),
        Mistake("the nominal car",
                "You roll out the nominal car: the filter's model p has another grip and gain.",
                _certificate(lambda q, k, x: q.U[k] if k < len(q.U) else braking(x, CAR),
                             lambda q, x, u: race.driven(x, u))),
        Mistake("steps of the nominal car",
                "Your steps are those of the nominal car: pass the filter's model p to `race.driven`.",
                _certificate(step=lambda q, x, u: race.driven(x, u))),
        Mistake("brakes of the nominal car",
                "Your brakes are those of the nominal car: with less grip they must be gentler. Pass p to `braking`.",
                _certificate(lambda q, k, x: q.U[k] if k < len(q.U) else braking(x, CAR))),
        Mistake("brakes at once", "U does not act: its inputs come first.",
                _certificate(lambda q, k, x: braking(x, q.p))),
        Mistake("first input only", "Only the first input of U acts: all of them do, then come the brakes.",
                _certificate(lambda q, k, x: q.U[k] if k < min(len(q.U), 1) else braking(x, q.p))),
        Mistake("brakes one step late", "The brakes come one step too late: the last input of U acts once.",
                _certificate(lambda q, k, x: q.U[min(k, len(q.U) - 1)] if k <= len(q.U) and len(q.U)
                             else braking(x, q.p))),
        Mistake("brakes one step early", "The last input of U does not act: the brakes come too early.",
                _certificate(lambda q, k, x: q.U[k] if k < len(q.U) - 1 else braking(x, q.p))),
        Mistake("last input held", "After U its last input is held: the car must brake.",
                _certificate(lambda q, k, x: q.U[min(k, len(q.U) - 1)] if len(q.U) else braking(x, q.p))),
        Mistake("rolls out", "After U nothing is done, and the car rolls on: it must brake.",
                _certificate(lambda q, k, x: q.U[k] if k < len(q.U) else np.zeros(2))),
        Mistake("brakes planned ahead",
                "The braking input is computed once, in the state where braking begins: it depends on the state, so "
                "compute it anew at each step.", lambda x, U, N, p, half_width: _braked_once(x, U, N, p, half_width)),
        Mistake("straight brakes", "Your car brakes without steering: `braking(x, p)` gives both inputs.",
                _certificate(lambda q, k, x: q.U[k] if k < len(q.U) else braking(x, q.p) * [1.0, 0.0])),
        Mistake("one step too few", "X has a state too few: N steps give N + 1 states.",
                _certificate(steps=lambda q: q.N - 1)),
        Mistake("N steps after U", "You have braked for N steps after U: there are N steps in all.",
                _certificate(steps=lambda q: q.N + len(q.U))),
    ],
    variants=[_two_loops, _limited_by_hand],
)  # fmt: skip


def _braked_once(x, U, N, p, half_width):
    held: list[np.ndarray] = []

    def act(q, k, x):
        if k < len(q.U):
            return q.U[k]
        if not held:
            held.append(braking(x, q.p))
        return held[0]

    return _certificate(act)(x, U, N, p, half_width)


def stopped(x, wanted, p=CAR, N: int = STAGES, half_width: float = WIDTH):
    """Return what `certificate` finds if the input `wanted` (2,) acts for one step: the filter's first question.

    Parameters
    ----------
    x : array_like, shape (4,)
    wanted : array_like, shape (2,)
    p : RaceParameters
    N : int
    half_width : float
    """
    return certificate(np.asarray(x, dtype=float), np.reshape(wanted, (1, 2)), N, p, half_width)


# ------------------------------------------------------------------------------ 5: a filter with three faults, and TD

DISTURBANCE = 0.1  # w of the linear plant: -0.1 <= e_1 <= 0
BOX = np.vstack([np.eye(2), -np.eye(2)]), np.append(linear.UPPER, -linear.LOWER)


@cache
def safe_set() -> tuple[np.ndarray, np.ndarray]:
    """Return the rows H (13, 2) and h (13,) of the linear plant's robust invariant set."""
    return tuple(robust_invariant_set(DISTURBANCE))  # type: ignore[return-value]


class Critic:
    """A quadratic critic of the linear plant, for probes: what a learner has of Q, V and the stage cost.

    Parameters
    ----------
    omega : array_like, shape (5,)
        Q(s, a) = omega_0 |s|^2 + omega_1 s_1 + omega_2 a s_2 + omega_3 a + omega_4 a^2, with omega_4 > 0.
    """

    def __init__(self, omega):
        self.omega = np.array(omega, dtype=float)

    def __repr__(self) -> str:
        return f"Critic({self.omega.tolist()})"

    def cost(self, s, a: float) -> float:
        """Return what the plant charges in state s (2,) for an input a that acts: |s|^2 + s_1 / 5 + (a + 0.6)^2 / 4."""
        return float(s @ s + 0.2 * s[0] + 0.25 * (a + 0.6) ** 2)

    def Q(self, s, a: float) -> float:
        """Return Q(s, a)."""
        return float(self.omega @ [s @ s, s[0], a * s[1], a, a**2])

    def V(self, s) -> float:
        """Return the least Q(s, a) of |a| <= 1."""
        return self.Q(s, float(np.clip(-0.5 * (self.omega[2] * s[1] + self.omega[3]) / self.omega[4], -1.0, 1.0)))


def behind_filter(s, asked, e, safe, box, critic, gamma, store):
    """Return what acted, what is stored, and the TD error, each (M,), of M steps of a plant behind its filter.

    States s (M, 2), inputs `asked` (M,) and disturbances e (M,); `safe` and `box` are pairs (H, h) of rows H x <= h;
    `store` is "applied" or "raw"; `critic` has cost, Q and V, and `gamma` is the discount.
    """
    return _filtered()(s, asked, e, safe, box, critic, gamma, store)


def _interval(q, rows, s):
    H, h = rows
    up = H @ linear.B
    room = h - np.maximum(0.0, -DISTURBANCE * H[:, 0]) - H @ linear.A @ s
    low = max(-1.0, (room[up < 0] / up[up < 0]).max())
    return low, min(1.0, (room[up > 0] / up[up > 0]).min())


def _filtered(
    rows: Callable = lambda q: q.safe,
    act: Callable = lambda q, i, low, high: np.clip(q.asked[i], low, high),
    kept: Callable = lambda q, i, a: a if q.store == "applied" else q.asked[i],
    judged: Callable | None = None,
    paid: Callable = lambda q, i, a: a,
    after: Callable = lambda q, i, a, s: linear.A @ s + linear.B * a + np.array([q.e[i], 0.0]),
    target: Callable = lambda q, cost, s_next: cost + q.gamma * q.critic.V(s_next),
    interval: Callable = _interval,
) -> Callable:
    """Make the steps behind the filter from their parts; each may be replaced by a faulty one."""

    def steps(s, asked, e, safe, box, critic, gamma, store):
        q = SimpleNamespace(asked=asked, e=e, safe=safe, box=box, critic=critic, gamma=gamma, store=store)
        rows_of = []
        for i in range(len(s)):
            a = float(act(q, i, *interval(q, rows(q), s[i])))
            y = target(q, critic.cost(s[i], paid(q, i, a)), after(q, i, a, s[i]))
            stored = float(kept(q, i, a))
            rows_of.append((a, stored, y - critic.Q(s[i], float((judged or kept)(q, i, a)))))
        return tuple(np.array(rows_of).T)

    return steps


def _raw(q, i, a):
    return q.asked[i]


def _least(q, i, low, high):
    return np.clip(0.0, low, high)


def behind_filter_as_given(s, asked, e, safe, box, critic, gamma, store):
    """Return what the faulty function of item 5 does.

    Parameters
    ----------
    s, asked, e, safe, box, critic, gamma, store
        As in `behind_filter`.
    """
    return _filtered(lambda q: q.box, _least, judged=_raw)(s, asked, e, safe, box, critic, gamma, store)


def _all_at_once(s, asked, e, safe, box, critic, gamma, store):
    """The steps with the inputs of all rows at once, and the interval by its definition."""
    H, h = safe
    up, left = H @ linear.B, h + np.minimum(0.0, DISTURBANCE * H[:, 0]) - s @ linear.A.T @ H.T
    with np.errstate(divide="ignore"):
        bound = left / up
    high = np.where(up > 0, bound, 1.0).min(axis=1, initial=1.0)
    low = np.where(up < 0, bound, -1.0).max(axis=1, initial=-1.0)
    acted = np.minimum(np.maximum(asked, low), high)
    stored = acted if store == "applied" else asked
    s_next = s @ linear.A.T + np.outer(acted, linear.B)
    s_next[:, 0] += e
    y = [critic.cost(*one) + gamma * critic.V(ahead) for one, ahead in zip(zip(s, acted), s_next)]
    return acted, stored, np.array(y) - [critic.Q(*one) for one in zip(s, stored)]


def _by_the_package(s, asked, e, safe, box, critic, gamma, store):
    """The steps with the filter of the lecture."""
    from mpcrl_course.policies.safe_set import Clip, Polytope

    acted = Clip(Polytope(*safe), DISTURBANCE)(s, asked[:, None])[:, 0]
    td = []
    for x, wanted, a, push in zip(s, asked, acted, e):
        ahead = linear.A @ x + linear.B * a + [push, 0.0]
        td.append(critic.cost(x, a) + gamma * critic.V(ahead) - critic.Q(x, wanted if store == "raw" else a))
    return acted, {"applied": acted, "raw": asked}[store], td


def _some_steps(rng: np.random.Generator) -> list[dict]:
    H, h = safe_set()
    probes = []
    for M, store in ((3, "applied"), (3, "raw"), (5, "applied"), (5, "raw")):
        s: list[np.ndarray] = []
        asked: list[float] = []
        while len(s) < M:
            x = np.round(rng.uniform([0.0, -0.9], [1.0, 0.9]), 2)
            if (H @ x > h - 1e-3).any():
                continue
            (low, high), (box_low, box_high), kind = _interval(None, (H, h), x), _interval(None, BOX, x), len(s)
            if kind == 0:  # allowed, and not 0
                wanted, fits = np.round(low + (high - low) * rng.uniform(0.3, 0.7), 2), high - low > 0.3
            elif kind == 1:  # too small, though the box would allow less
                wanted, fits = np.round(low - rng.uniform(0.2, 0.4), 2), box_low < low - 0.1 and 0.1 < low < 0.7
            elif kind == 4:  # beyond the motor's limit, which is all that counts
                side = -1.0 if store == "raw" else 1.0
                wanted, fits = np.round(side * rng.uniform(1.2, 1.5), 2), (low if store == "raw" else high) == side
            elif kind == 2:  # beyond the motor's limit and that of the box
                side = -1.0 if box_low > -0.9 else 1.0
                wanted, fits = np.round(side * rng.uniform(1.2, 1.5), 2), box_low > -0.9 or box_high < 0.9
            else:  # too large
                wanted, fits = np.round(high + rng.uniform(0.2, 0.4), 2), box_high > high + 0.1 and -0.7 < high < -0.1
            if fits and (kind or abs(wanted - np.clip(0.0, low, high)) > 0.05):
                s, asked = [*s, x], [*asked, float(wanted)]
        omega = np.round(rng.uniform([1.2, 0.1, 0.4, 0.2, 0.6], [2.0, 0.4, 0.8, 0.5, 1.2]), 2)
        probes.append({"s": np.array(s), "asked": np.array(asked), "e": np.round(rng.uniform(-0.1, -0.02, M), 3),
                       "safe": (H, h), "box": BOX, "critic": Critic(omega),
                       "gamma": float(np.round(rng.uniform(0.75, 0.95), 2)), "store": store})  # fmt: skip
    return probes


BOX_LEFT = (
    "The inputs are still those after which the *next* state lies in the box: from some of these states no input keeps "
    "the one after that. What must hold the next state is the invariant set."
)
LEAST_LEFT = "The filter still takes the smallest input that is allowed, whatever was asked for. "
MISMATCH_LEFT = 'With "applied" the target is still that of the action that acted, and Q that of the one asked for.'

debug = Debug(
    5,
    "a filter with three faults",
    reference=behind_filter,
    given=behind_filter_as_given,
    probes=_some_steps,
    compare=close(rtol=1e-6, atol=1e-9, names=("acted", "stored", "td")),
    when_right="Least change, a set that can be kept, and one action in the transition: each fault alone is enough.",
    hints=[
        "Where is the input that was asked for, if it is allowed? Which number is clipped?",
        "In Q(s, a), a TD error's action is the one that is stored. Which one stands there for \"applied\"?",
        "A state in the box may be one from which the box cannot be kept any more: which set is made so that it can?",
    ],
    mistakes=[
        Mistake("only the change repaired",
                f"The filter changes least now. {BOX_LEFT} And one more: {MISMATCH_LEFT}",
                _filtered(lambda q: q.box, judged=_raw)),
        Mistake("only the set repaired", f"The set is right now. {LEAST_LEFT}And one more: {MISMATCH_LEFT}",
                _filtered(act=_least, judged=_raw)),
        Mistake("only the action repaired",
                f"What is stored is what is judged now. {LEAST_LEFT}And one more: {BOX_LEFT}",
                _filtered(lambda q: q.box, _least)),
        Mistake("action still wrong", f"The filter is right now. {MISMATCH_LEFT}", _filtered(judged=_raw)),
        Mistake("set still wrong", f"Two of three are repaired. {BOX_LEFT}", _filtered(lambda q: q.box)),
        Mistake("change still wrong", f"Two of three are repaired. {LEAST_LEFT}What is to be small is u − u_RL.",
                _filtered(act=_least)),
        Mistake("raw as applied",
                "Now Q is always asked at the action that acted, also where \"raw\" is stored: action and TD error "
                "belong together in both cases.", _filtered(judged=lambda q, i, a: a)),
        Mistake("always the applied one", "\"raw\" stores what was asked for: you have changed what is stored.",
                _filtered(kept=lambda q, i, a: a)),
        Mistake("always the raw one",
                "\"applied\" stores what acted. What is learned from the other pairs is the plant *and* the filter: it "
                "fails when the filter is taken off.", _filtered(kept=_raw)),
        Mistake("choice turned round", "\"applied\" and \"raw\" have changed places.",
                _filtered(kept=lambda q, i, a: q.asked[i] if q.store == "applied" else a)),
        Mistake("filter gone", "Nothing is filtered now: what was asked for acts, within −1 … 1.",
                _filtered(act=lambda q, i, low, high: np.clip(q.asked[i], -1.0, 1.0))),
        Mistake("nothing clipped", "Nothing is filtered now: what was asked for acts, whatever it is.",
                _filtered(act=lambda q, i, low, high: q.asked[i])),
        Mistake("cost of the asked one",
                "The plant charges for what acts: the cost of a_asked was never paid.",
                _filtered(paid=lambda q, i, a: q.asked[i])),
        Mistake("asked one drives", "The next state is that after the input that was asked for; another one acted.",
                _filtered(after=lambda q, i, a, s: linear.A @ s + linear.B * q.asked[i] + np.array([q.e[i], 0.0]))),
        Mistake("refused as a whole",
                "You brake to the middle of the interval whenever the asked input is refused: the *least* change is to "
                "its nearer end.", _filtered(act=lambda q, i, low, high: q.asked[i]
                                             if low <= q.asked[i] <= high else 0.5 * (low + high))),
        Mistake("action from the target",
                "Q is asked at the action that acted and the target's cost at the one asked for: they have changed "
                "places.", _filtered(paid=lambda q, i, a: q.asked[i], judged=lambda q, i, a: a)),
        Mistake("disturbance left out of the rows",
                "The rows lack the disturbance: the next state must be in the set for every e, so they are tightened "
                "by the most it can do.",
                _filtered(interval=lambda q, rows, s: _interval(q, (rows[0], rows[1] + np.maximum(
                    0.0, -DISTURBANCE * rows[0][:, 0])), s))),
    ],
    variants=[_all_at_once, _by_the_package],
)  # fmt: skip

# --------------------------------------------------------------------------- 6: what a filter is told on an unknown day

#: On dry days the car has 8 m/s^2; on wet ones less: see `data/make_10_tightening.py`.
MOST_OUTSIDE, MOST_LAP = 0, 19.1
LEAST_GRIP, LEAST_TRACK = 5.4, 1.1


@cache
def _table() -> SimpleNamespace:
    """Return what `data/make_10_tightening.py` has measured."""
    with places.data("tightening_10.npz") as file:
        return SimpleNamespace(**{name: file[name].astype(float) for name in file.files})


def tightened(grip: float, track: float) -> tuple[int, float]:
    """Return how many wet episodes leave the track, and the time (s) of a dry lap, behind a filter that is told this.

    Parameters
    ----------
    grip : float
        m/s^2, from 5.4 to 8.2; what counts is the nearest of 5.6, 6.0, … 8.0.
    track : float
        Half width in m, from 1.1 to 2.7; what counts is the nearest of 1.3, 1.7, 2.1 and 2.5.
    """
    table = _table()
    i, j = np.abs(table.grip - grip).argmin(), np.abs(table.track - track).argmin()
    return int((table.outside[i, j] > 0).sum()), float(table.lap[i, j])


def _measured(answer, seed: int) -> dict[str, float]:
    if not isinstance(answer, dict) or set(answer) != {"grip", "track"}:
        raise TypeError("give a dict with the keys grip and track")
    told = {name: float(np.asarray(value, dtype=float).item()) for name, value in answer.items()}
    if not LEAST_GRIP <= told["grip"] <= 8.2:
        raise ValueError(f"the grip must lie between {LEAST_GRIP} and 8.2 m/s², and is {told['grip']:g}")
    if not LEAST_TRACK <= told["track"] <= 2.7:
        raise ValueError(f"the half width must lie between {LEAST_TRACK} and 2.7 m, and is {told['track']:g}")
    outside, lap = tightened(**told)
    return {"wet episodes outside": outside, "dry lap": lap}


def _told(test: Callable[[float, float], bool]) -> Callable:
    """Make a predicate from `test(grip, track)`."""
    return lambda answer, measured: test(float(answer["grip"]), float(answer["track"]))


def drive(grip: float, track: float, wet: float = 6.8, n: int = 6) -> tuple[Run, Run]:
    """Drive behind a filter that is told this grip and this half width of the track.

    Parameters
    ----------
    grip, track : float
        m/s^2, m.
    wet : float
        The grip of the wet day, which may be seen: it is none of the check's.
    n : int
        Episodes.

    Returns
    -------
    Run, Run
        n episodes of 5 s of the random driver on a wet day, and 21.5 s of the driving MPC on a dry one.
    """
    mpc, driver, starts = _drivers()
    safety = RaceSafety(model=RaceParameters(grip=grip), track=track, mpc=mpc)
    plant = RaceParameters(grip=wet)
    asked = iter(np.random.default_rng(1).uniform([-2.0, LOWER[1]], UPPER, (10, n, 2)).repeat(10, axis=0))
    rainy = run(Filter(lambda y: next(asked), safety), plant, starts[:n], plant.draw(0, n, 100))
    return rainy, run(Filter(driver, safety), CAR, [[0.0, 0.0, 0.0, 5.0]], CAR.draw(0, 1, 430))


@cache
def _drivers() -> tuple[Any, Receding, np.ndarray]:
    mpc, rng = safety_mpc(), np.random.default_rng(1)
    strict = RaceSafety(model=RaceParameters(grip=5.6), track=1.3, mpc=mpc)
    starts: list[np.ndarray] = []  # from which the strictest filter can stop
    while len(starts) < 20:
        x = rng.uniform([0.0, -1.3, -0.4, 0.0], [race.LENGTH, 1.3, 0.4, MAX_SPEED])
        if strict.certified(strict.stop(x)[0]):
            starts.append(x)
    return mpc, Receding(race_mpc()), np.array(starts)


design = Design(
    6,
    "what to tell a filter on an unknown day",
    reference={"grip": 8.0, "track": 1.7},
    measure=_measured,
    targets={"wet episodes outside": ("<=", MOST_OUTSIDE), "dry lap": ("<=", MOST_LAP)},
    when_right="What the model does not know needs room; where that room costs nothing, take it there.",
    hints=[
        "Try each number alone with `look`: which of the two costs lap time on a dry day, and which one does not?",
        "Who is told less grip brakes earlier, everywhere. Who is told a narrower track stays off the edge: does the "
        "driving MPC behind the filter go there at all?",
        "Tell it the dry grip, or nearly, and take as much room as it needs from the track.",
    ],
    mistakes=[
        Mistake("told what is true on dry days",
                "With this grip and the whole track, every plan may use the last bit of both: on a wet day a car that "
                "brakes at the edge slides over it.", _told(lambda g, w: g >= 7.4 and w >= 2.3),
                {"grip": 8.0, "track": 2.5}),
        Mistake("less grip, whole track",
                "Less grip, but plans up to the very edge: there any error is a violation, whatever the filter "
                "believes of the tyres.", _told(lambda g, w: 6.6 <= g < 7.4 and w >= 2.3), {"grip": 6.8, "track": 2.5}),
        Mistake("far less grip, whole track",
                "So little grip costs more than a second a lap. And the room for errors is still missing where it "
                "counts, at the edge.", _told(lambda g, w: g < 6.6 and w >= 2.3), {"grip": 6.0, "track": 2.5}),
        Mistake("afraid of everything",
                "It survives, and each lap takes a second longer than it need: one of the two numbers costs all of "
                "that, the other one nothing.", _told(lambda g, w: g < 6.6 and w < 2.3), {"grip": 5.6, "track": 1.3}),
        Mistake("less grip than needed",
                "It survives, but is slow: it brakes for wet bends on dry days. Which of the two numbers could do "
                "without?", _told(lambda g, w: 6.6 <= g < 7.4 and w < 2.3), {"grip": 6.8, "track": 1.7}),
        Mistake("not enough room",
                "The lap is as fast as it gets, and nearly all episodes stay on the track, but not all: a little more "
                "room at the edge.", _told(lambda g, w: g >= 7.8 and 1.9 <= w < 2.3), {"grip": 8.0, "track": 2.1}),
        Mistake("half of both",
                "It survives, and is a little too slow: more room at the edge would let you give back some grip.",
                _told(lambda g, w: 7.4 <= g < 7.8 and 1.9 <= w < 2.3), {"grip": 7.6, "track": 2.1}),
    ],
    variants=[{"grip": 7.6, "track": 1.7}, {"grip": 8.0, "track": 1.3}, {"grip": 7.9, "track": 1.6}],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------- 7: safe, but not live

explain = Explain(
    7,
    "safe, but not live",
    reference="f",
    choices={
        "a": "The filter has failed: at the edge no plan of its is certified any more, so it can only hold the car.",
        "b": "The solver: one real-time iteration finds no way back to the middle; more of them would.",
        "c": "The horizon: 40 stages are too short to see that the car could drive on; with 50 it would.",
        "d": "The driver: a random one got the car there, and a good one would drive on from there.",
        "e": "The least change: the filter only corrects and never acts, so nothing ever moves the car inwards.",
        "f": "The terminal condition: a car may stand anywhere on the track, also where every way on leads off it.",
    },
    reasons={
        1: "To stand still is certified at every later step, so the filter keeps its promise for ever.",
        2: "There is no reverse gear, and from there even the tightest turn leads over the edge: it is refused.",
        3: "No episode of the 60 leaves the track, so with 95 % confidence fewer than 5 % do.",
        4: "With a terminal condition that asks a standing car to be where it can drive on, no car leaves the track "
        "either, and wherever one stands, the driving MPC gets on from there.",
        5: "A filter that keeps a plan is no function of the state alone.",
        6: "Recursive feasibility says that from a certified state a certified one follows, and so also that the car "
        "gets on.",
    },
    carrying=(1, 2, 4),
    when_right="A filter promises what its terminal set promises: nothing bad, and nothing more.",
    hints=[
        "Is anything violated where the car stands? Then which of the filter's rows has it met by standing there?",
        "Which of the claims can be tried: another solver, another horizon, another driver? The table has tried them.",
        "Three reasons: one why it may stand, one why it cannot leave, one what changes if that condition is changed.",
    ],
    mistakes=[
        Mistake("still certified",
                "To stand still is a plan, and it is certified: at each step, for ever. That is the trouble.", "a"),
        Mistake("not the solver",
                "With five iterations no fewer cars stand there. No solver finds what does not exist: without a "
                "reverse gear no plan leads away from there.", "b"),
        Mistake("not the horizon",
                "With 50 stages nearly as many cars end there: a longer plan may end standing at the edge, too.", "c"),
        Mistake("not the driver",
                "The driving MPC behind the same filter moves none of these cars by a metre: what it asks for is "
                "refused, and rightly.", "d"),
        Mistake("not the objective",
                "Another objective chooses among certified plans, and from there none of them leads away: without a "
                "reverse gear the car cannot.", "e"),
        Mistake("about safe only",
                "Reason 3 is true, but it says that the filter is safe. The question is why it is not live.", 3),
        Mistake("carries nothing", "Reason 5 is true, and carries nothing here: the car stands, plan or no plan.", 5),
        Mistake("feasible is not live",
                "The first half of reason 6 is true, and the second does not follow: the certified state that follows "
                "may be the same one.", 6),
    ],
)  # fmt: skip

exercise = Exercise(
    10,
    "Before and after the policy?",
    [predict, follow, problem, certify, debug, design, explain],
)
