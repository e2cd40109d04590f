"""The house beyond one convex problem: a heat pump that is on or off, and several forecasts at once.

A linear program as in `mpcrl_course.problems.home`, without its trace of curvature, for each of n forecasts i. The
first `decided` steps are stage one: they are decided before it is known which forecast comes true, and in them the heat
pump is on or off. The rest is stage two, which each forecast has for itself, and in which any power will do:

    min  1/n sum_i (cost of forecast i)     s.t. the rows of each forecast, and for k < decided
         P_ik = P_max on_k,  on_k in {0, 1}                         or, if it need not be on or off, P_ik = P_1k
         c_ik = c_1k,  d_ik = d_1k
         start_k >= on_k - on_{k-1},  start_k >= 0,   sum of start_j over k - run_time < j <= k  <=  on_k

The last row is the minimum run time: where the heat pump was started less than run_time steps ago, it is on (Rajan &
Takriti, IBM Research Report RC23628, 2005: no row could say it more tightly).

One forecast and decided = 0 is the linear program; one and decided = N the mixed-integer one. It is solved by HiGHS
(`scipy.optimize.milp`), which stops where the best plan found costs at most (1 + gap) times what it has proved no plan
to cost less than: two costs closer than that are not to be compared.

Sources: Birge & Louveaux, Introduction to Stochastic Programming, 2011 (two stages); Huangfu & Hall, Math. Programming
Computation 10, 2018 (HiGHS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_diag, csr_matrix, hstack, vstack

from mpcrl_course.envs.home import DT, NOMINAL, HomeParameters, Weather
from mpcrl_course.mpc import Question, SolverError
from mpcrl_course.problems.home import N_Z, C, D, HomeMPC, Q
from mpcrl_course.validation import flag, generator, instance, real, reals, sequence, whole


class HomePlan(NamedTuple):
    """A plan of the house.

    Attributes
    ----------
    value, bound : float
        What it costs, €, on the mean of all forecasts, and what no plan costs less than.
    u : ndarray, shape (n, N, 2)
        Inputs (P, B) of each forecast, kW; those of stage one are the same in all.
    z : ndarray, shape (n, N, 10)
        Unknowns, in the order of `problems.home.NAMES`.
    on : ndarray of bool, shape (decided,)
        Whether the heat pump is on, in the steps in which it is on or off.
    """

    value: float
    bound: float
    u: np.ndarray
    z: np.ndarray
    on: np.ndarray


class HomeProgram:
    """A mixed-integer or two-stage stochastic linear program of the house, asked for a plan from a state.

    Parameters
    ----------
    plant : HomeParameters
    horizon : int
        Stages N of 15 minutes.
    decided : int
        Steps of stage one; by default none.
    on_off : bool
        Whether the heat pump is on or off in stage one.
    run_time : int
        Steps that it runs at least, once on.
    forecasts : int
        n; 1 is the forecast itself, more are drawn around it (`weathers`).
    perfect : bool
        Whether what will be takes the place of the forecast.
    gap : float
        Relative one, at which the search ends.
    seed : int
        Of the forecasts that are drawn: the same state is asked about the same ones.
    """

    def __init__(
        self,
        plant: HomeParameters = NOMINAL,
        horizon: int = 96,
        *,
        decided: int = 0,
        on_off: bool = True,
        run_time: int = 1,
        forecasts: int = 1,
        perfect: bool = False,
        gap: float = 0.01,
        seed: int = 0,
    ):
        self.mpc = HomeMPC(plant, horizon, perfect=perfect, curvature=0.0)
        self.plant, self.horizon = plant, self.mpc.problem.horizon
        self.decided, self.on_off = whole(decided, "decided", 0), flag(on_off, "on_off")
        if self.decided > self.horizon:
            raise ValueError(f"decided is a part of the horizon of {self.horizon} steps, not {self.decided}")
        self.run_time, self.forecasts = whole(run_time, "run_time", 1), whole(forecasts, "forecasts", 1)
        self.gap, self.seed = real(gap, "gap", 0.0), whole(seed, "seed", 0)

    def plan(self, s, on: bool = False, left: int = 0, known: Sequence[Weather] | None = None) -> HomePlan:
        """Return the best plan from a state.

        Parameters
        ----------
        s : array_like, shape (5,)
        on : bool
            Whether the heat pump is on in the step before.
        left : int
            Steps that it still has to run.
        known : sequence of Weather, optional
            What is planned for, in the place of `forecasts` that are drawn; all equally likely.

        Raises
        ------
        SolverError
            There is none.
        """
        theta = self.mpc.parameters.initial()
        s, on, left = reals(s, "s", (5,)), flag(on, "on"), whole(left, "left", 0)
        question, N = Question(theta, s, None), self.horizon
        every = (
            [self.mpc.known(s)] if known is None else [instance(w, Weather, "known") for w in sequence(known, "known")]
        )
        if known is None and self.forecasts > 1:
            rng = np.random.default_rng([self.seed, abs(round(s[3])), abs(round(s[4]))])
            every = weathers(every[0], self.forecasts, rng)
        n = len(every)
        data = [self.mpc.data(question, w) for w in every]
        switches = self.decided if self.on_off else 0
        rows = [self.mpc.rows(d) for d in data]
        blank = [csr_matrix((n * each.shape[0], 2 * switches)) for each in rows[0]]
        b, h = np.concatenate([d.b.ravel() for d in data]), np.concatenate([d.h.ravel() for d in data])
        constraints = [
            LinearConstraint(hstack([block_diag([A for A, _ in rows]), blank[0]]), b, b),
            LinearConstraint(hstack([block_diag([G for _, G in rows]), blank[1]]), -np.inf, h),
        ]
        equal, (alike, floor) = self._stage_one(data, switches), self._run(switches, n * N * N_Z, on)
        if equal.shape[0]:
            constraints.append(LinearConstraint(equal, 0.0, 0.0))
        if alike.shape[0]:
            constraints.append(LinearConstraint(alike, -np.inf, floor))
        none = np.zeros(switches)
        low = np.concatenate([*(d.low.ravel() for d in data), (np.arange(switches) < left) * 1.0, none])
        high = np.concatenate([*(d.high.ravel() for d in data), np.ones(2 * switches)])
        cost = np.concatenate([*(d.c.ravel() / n for d in data), none, none])
        integer = np.repeat([0, 1, 0], [n * N * N_Z, switches, switches])  # starts are whole by themselves
        found = milp(
            cost,
            integrality=integer,
            bounds=Bounds(low, np.where(high > 1e20, np.inf, high)),
            constraints=constraints,
            options={"mip_rel_gap": self.gap},
        )
        if found.x is None:
            raise SolverError("not converged", f"milp: {found.message}", s, None, theta)
        z = found.x[: n * N * N_Z].reshape(n, N, N_Z)
        P = z[:, :, Q] / np.array([d.cop for d in data])
        bound = found.fun if found.mip_dual_bound is None else found.mip_dual_bound
        return HomePlan(
            float(found.fun),
            float(bound),
            np.stack([P, z[:, :, C] - z[:, :, D]], axis=2),
            z,
            found.x[n * N * N_Z :][:switches] > 0.5,
        )

    def _stage_one(self, data, switches: int) -> csr_matrix:
        """Return rows whose product with the unknowns is 0: what all forecasts have in common in stage one."""
        N, n, most, rows = self.horizon, len(data), self.plant.limit[0], []
        size = n * N * N_Z
        for k in range(self.decided):
            for i, d in enumerate(data):
                at = (i * N + k) * N_Z
                if switches:
                    rows.append({at + Q: 1.0 / d.cop[k], size + k: -most})
                elif i:
                    rows.append({at + Q: 1.0 / d.cop[k], k * N_Z + Q: -1.0 / data[0].cop[k]})
                if i:
                    rows += [{at + j: 1.0, k * N_Z + j: -1.0} for j in (C, D)]
        return _sparse(rows, size + 2 * switches)

    def _run(self, switches: int, size: int, on: bool) -> tuple[csr_matrix, np.ndarray]:
        """Return rows and the numbers that their product with the unknowns does not exceed: who starts goes on."""
        rows, most, start = [], [], size + switches
        for k in range(switches):
            rows.append({size + k: 1.0, start + k: -1.0} | ({size + k - 1: -1.0} if k else {}))
            rows.append({start + j: 1.0 for j in range(max(0, k - self.run_time + 1), k + 1)} | {size + k: -1.0})
            most += [float(on) if k == 0 else 0.0, 0.0]
        return _sparse(rows, size + 2 * switches), np.array(most)


def _sparse(rows: list[dict], size: int) -> csr_matrix:
    """Return rows, each a dict of column to value, as a matrix of so many columns."""
    if not rows:
        return csr_matrix((0, size))
    return vstack([csr_matrix((list(r.values()), ([0] * len(r), list(r))), (1, size)) for r in rows]).tocsr()


def weathers(known: Weather, n: int, rng) -> list[Weather]:
    """Return n weathers that a forecast may turn out to be, with errors of about the law of `Days`.

    Parameters
    ----------
    known : Weather
        The forecast; what is measured now, in its first step, is the same in all.
    n : int
    rng : numpy.random.Generator or seed
    """
    n, rng, N = whole(n, "n", 1), generator(rng, seeds=True), len(known.price)
    found = []
    for _ in range(n):
        warmer, load = (_autoregression(rng, rho, N) for rho in (0.99, 0.8))
        sunnier = np.where(np.arange(N) > 0, np.clip(1.0 + 0.5 * rng.standard_normal(), 0.0, 2.0), 1.0)
        grown = np.where(np.arange(N) > 0, np.exp(0.25 * load - 0.03), 1.0)
        found.append(
            Weather(
                known.outdoor + 1.5 * np.sqrt(np.arange(N) * DT / 24.0) * warmer,
                0.25 + (known.gain - 0.25) * sunnier,
                known.pv * sunnier,
                known.load * grown,
                known.price,
            )
        )
    return found


def _autoregression(rng, rho: float, n: int) -> np.ndarray:
    """Return n steps of an autoregression of deviation 1 in which rho of a step is left in the next."""
    x = rng.standard_normal(n)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + np.sqrt(1.0 - rho * rho) * x[i]
    return x
