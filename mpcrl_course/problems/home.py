"""The house's MPC: a linear program of the next hours, from the forecast of weather, load and tariff.

With heat q, charge c and discharge d of the battery, bought and sold power b and e, degrees of discomfort below and
above, sigma, all not negative, and steps of length dt:

    min  V0 + sum_k gamma^k [ dt (price_k b_k - sell e_k) + dt comfort (sigma_k + tau_k) ] - value of what is left
    s.t. T_{k+1} = A T_k + B_q (q_k + g gain_k) + B_o T_o,k,    E_{k+1} = E_k + dt (eta c_k - d_k / eta),  0 <= E <= cap
         b_k - e_k = load_k + q_k / cop_k + c_k - d_k - pv_k,    q_k <= cop_k P_max,   c_k, d_k <= B_max,
         low_{k+1} + back_off - sigma_k <= T_i,k+1 <= 23 + tau_k
    left: gamma^N mean price (eta E_N + v_T C T_N / mean cop)

`home_mpc()` has the model of the plant, A and B those of two temperatures held over dt (2R2C). `home_mpc(simple=True)`
has one temperature (1R1C), a = exp(-dt / (C R)), B_q = (1 - a) R, B_o = 1 - a, and is meant to be learned: C, R,
back_off, v_T, g and V0 are its theta.

**A vertex.** A linear program has its optimum in a corner, and which corner does not change with a small change of the
cost. So a trace of curvature is added, which makes the plan unique: 1/2 (rho |(q, c, d)|^2 + 10 rho |(sigma, tau)|^2)
with rho = 1e-3. It is solved by the sparse interior-point method piqp, made once, with new numbers at every step: it is
an MPC with its own back end, as forecasts change cost and rows at every step. A solution knows its gradient in theta,
from the multipliers (envelope theorem).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import piqp
from scipy.sparse import bmat, csc_matrix, diags, identity
from scipy.sparse.linalg import splu

from mpcrl_course.envs import home
from mpcrl_course.envs.home import DAY, DT, NOMINAL, HomeParameters, Weather, cop, held, lower
from mpcrl_course.mpc import MPC, Parameters, Question
from mpcrl_course.mpc.solution import Answer
from mpcrl_course.validation import flag, instance, real, share, whole

#: Unknowns of a stage.
NAMES = ("q", "c", "d", "b", "e", "sigma", "tau", "T_i", "T_m", "E")
N_Z = len(NAMES)
Q, C, D, BUY, SELL, BELOW, ABOVE, T_I, T_M, E = range(N_Z)
#: Rows of a stage: two temperatures, the battery, the grid.
N_ROWS = 4
#: Larger ones than this are no bounds.
FREE = 1e30


@dataclass(frozen=True, eq=False)
class HomeSolution(Answer):
    """A plan of the house, with its multipliers.

    Attributes
    ----------
    question : Question
        What was asked; see `Answer`.
    value : float
        V or Q, €.
    z : ndarray, shape (N, 10)
        Unknowns of each stage, in the order of `NAMES`; temperatures and charge at its end.
    u : ndarray, shape (N, 2)
        Planned inputs (P, B), kW.
    y, lam : ndarray, shapes (N, 4) and (N, 2)
        Multipliers of the rows, written as left - right = 0 with T+ - A T - …, and of the bounds of comfort.
    held : ndarray of bool, shape (N, 12)
        Which bounds hold with equality and push: of the unknowns (N, 10), and of comfort (N, 2).
    data : SimpleNamespace
        The numbers of the problem.
    time : float
        Seconds spent.
    status : str
    """

    question: Question
    value: float
    z: np.ndarray
    u: np.ndarray
    y: np.ndarray
    lam: np.ndarray
    held: np.ndarray
    data: SimpleNamespace
    time: float
    status: str = "solved"

    @property
    def x(self) -> np.ndarray:
        """Predicted (T_i, T_m, E), shape (N + 1, 3); the first are those of the state."""
        return np.vstack([self.state[:3], self.z[:, T_I:]])

    def gradient(self) -> np.ndarray:
        """Return dV/dtheta (or dQ/dtheta), shape (n_theta,): the Lagrangian's partial derivative at the solution."""
        return self.data.mpc.lagrangian_gradient(self.theta, self.z, self.y, self.lam, self.data)

    def hessian(self, exact: bool = True) -> np.ndarray:
        """Raise ValueError: there is none, `exact` or not; learn without it, ``hessian="none"``."""
        raise ValueError("a plan of the house has no Hessian: give Q-learning hessian='none'")

    def policy_jacobian(self) -> np.ndarray:
        """Return dpi/dtheta, shape (2, n_theta), with the bounds that hold now held: see `HomeMPC.plan_jacobian`."""
        slopes = self.data.mpc.plan_jacobian(self)[:3]
        return np.array([slopes[Q] / self.data.cop[0], slopes[C] - slopes[D]])


class HomeMPC(MPC):
    """The house's MPC; asked as any other: V, Q, policy of theta and a state (T_i, T_m, E, k, w).

    Parameters
    ----------
    plant : HomeParameters
        Whose tariff and forecasts it looks up, and whose model it has.
    horizon : int
        Stages N.
    stride : int
        Steps of the plant in a stage: 4 plans in hours.
    simple : bool
        Whether the model has one temperature, with theta = (C, R, back_off, v_T, gain, V0).
    perfect : bool
        Whether what will be takes the place of the forecast.
    discount : float
        A step of the plant.
    curvature : float
        rho; 0 is the linear program itself, which may have many optima.
    """

    def __init__(
        self,
        plant: HomeParameters = NOMINAL,
        horizon: int = 96,
        *,
        stride: int = 1,
        simple: bool = False,
        perfect: bool = False,
        discount: float = 1.0,
        curvature: float = 1e-3,
    ):
        self.plant: HomeParameters = instance(plant, HomeParameters, "plant")
        N, self.stride = whole(horizon, "horizon", 1), whole(stride, "stride", 1)
        self.simple, self.perfect = flag(simple, "simple"), flag(perfect, "perfect")
        self.discount, self.curvature = share(discount, "discount"), real(curvature, "curvature", 0.0)
        self.dt, self.solver = DT * self.stride, "piqp"
        A, B = held(plant, self.dt)
        self._house = A[:2, :2], B[:2]
        model = {"C": plant.C_i + plant.C_m, "R": plant.R_o} if self.simple else {}
        self.parameters = Parameters(**model, back_off=0.0, v_T=0.0, gain=1.0, V0=0.0)
        self.problem: Any = SimpleNamespace(
            n_states=home.NOMINAL.n_states, n_inputs=2, n_actions=2, horizon=N, parameters=self.parameters,
            input_lower=plant.input_lower, input_upper=plant.input_upper, input_scale=None, guesses=None,
            discount=self.discount,
        )  # fmt: skip
        self.weights = self.discount ** (self.stride * np.arange(N))
        self._pattern(N)
        self._solvers: dict[str, Any] = {}

    def _pattern(self, N: int) -> None:
        """Write down once where the entries of rows, comfort rows and curvature stand; some values change later."""
        curved = np.zeros(N_Z)
        curved[[Q, C, D]], curved[[BELOW, ABOVE]] = self.curvature, 10.0 * self.curvature
        self._P = csc_matrix((np.outer(self.weights, curved).ravel(), (np.arange(N_Z * N),) * 2))
        entries: list[tuple] = []  # (row, column, value), or a name in the place of a value that changes
        dt, eta = self.dt, self.plant.efficiency
        for k in range(N):
            at, before, row = N_Z * k, N_Z * (k - 1), N_ROWS * k
            for i in (0, 1):
                entries += [(row + i, at + T_I + i, 1.0), (row + i, at + Q, f"B{i}")]
                entries += [(row + i, before + T_I + j, f"A{i}{j}") for j in (0, 1) if k]
            entries += [(row + 2, at + E, 1.0), (row + 2, at + C, -dt * eta), (row + 2, at + D, dt / eta)]
            entries += [(row + 2, before + E, -1.0)] if k else []
            entries += [(row + 3, at + BUY, 1.0), (row + 3, at + SELL, -1.0), (row + 3, at + C, -1.0),
                        (row + 3, at + D, 1.0), (row + 3, at + Q, "cop")]  # fmt: skip
        rows, columns, values = zip(*entries, strict=True)
        self._values = np.array([v if isinstance(v, float) else 0.0 for v in values])
        self._where = {name: np.array([i for i, v in enumerate(values) if v == name], dtype=int)
                       for name in ("A00", "A01", "A10", "A11", "B0", "B1", "cop")}  # fmt: skip
        numbered = csc_matrix((np.arange(1.0, len(values) + 1.0), (rows, columns)), (N_ROWS * N, N_Z * N))
        self._order = numbered.data.astype(int) - 1
        self._A = numbered
        stages = np.arange(N)
        side = np.concatenate([2 * stages, 2 * stages, 2 * stages + 1, 2 * stages + 1])
        of = np.concatenate([N_Z * stages + j for j in (T_I, BELOW, T_I, ABOVE)])
        self._G = csc_matrix((np.repeat([-1.0, -1.0, 1.0, -1.0], N), (side, of)), (2 * N, N_Z * N))

    def model(self, theta) -> tuple[np.ndarray, np.ndarray]:
        """Return A (2, 2) and B (2, 2) of the model at theta: T+ = A T + B (heat, T_o)."""
        if not self.simple:
            return self._house
        p = self.parameters.unpack(theta)
        if not (p.C > 0.0 and p.R > 0.0):
            raise ValueError(f"a house has a positive capacity and resistance, not {p.C:.3g} and {p.R:.3g}")
        a = np.exp(-self.dt / (p.C * p.R))
        return np.array([[a, 0.0], [0.0, 0.0]]), np.array([[(1.0 - a) * p.R, 1.0 - a], [0.0, 0.0]])

    def known(self, s) -> Weather:
        """Return what is forecast at a state s (5,), the mean of each stage, arrays (N,)."""
        N = self.problem.horizon
        found = self.plant.forecast(s[3], s[4], N * self.stride, self.perfect)
        return Weather(*(part.reshape(N, self.stride).mean(axis=1) for part in found))

    def rows(self, d: SimpleNamespace) -> tuple[csc_matrix, csc_matrix]:
        """Return A and G of the rows A z = b and G z <= h that the data d make, of all unknowns stage by stage."""
        A = self._A.copy()
        A.data = d.values[self._order]
        return A, self._G

    def data(self, question: Question, weather: Weather | None = None) -> SimpleNamespace:
        """Return the numbers that a `question` makes: c, values of the rows, b, h, bounds, and what they come from.

        A `weather` takes the place of what is known.
        """
        theta, s, plant, N = question.theta, question.state, self.plant, self.problem.horizon
        p, w, (A, B) = self.parameters.unpack(theta), weather or self.known(s), self.model(theta)
        heat_per_power, mean = cop(w.outdoor), w.price.mean()
        values = self._values.copy()
        for name, value in (("A00", A[0, 0]), ("A01", A[0, 1]), ("A10", A[1, 0]), ("A11", A[1, 1]),
                            ("B0", B[0, 0]), ("B1", B[1, 0])):  # fmt: skip
            values[self._where[name]] = -value
        values[self._where["cop"]] = -1.0 / heat_per_power
        E_0 = min(max(s[2], 0.0), plant.capacity)
        b = np.zeros((N, N_ROWS))
        b[:, :2] = np.outer(p.gain * w.gain, B[:, 0]) + np.outer(w.outdoor, B[:, 1])
        b[:, 3] = w.load - w.pv
        b[0, :2] += A @ s[:2]
        b[0, 2] = E_0
        c = np.zeros((N, N_Z))
        c[:, BUY], c[:, SELL] = self.weights * self.dt * w.price, -self.weights * self.dt * plant.sell
        c[:, BELOW] = c[:, ABOVE] = self.weights * self.dt * plant.comfort
        last = self.discount ** (self.stride * N)
        heat_price = last * mean / heat_per_power.mean()
        stores = np.array([p.C]) if self.simple else np.array([plant.C_i, plant.C_m])
        c[-1, E], c[-1, T_I : T_I + len(stores)] = -last * mean * plant.efficiency, -p.v_T * heat_price * stores
        # of several steps in a stage, the strictest band: a mean of them would be late
        ends = round(s[3]) + self.stride * (np.arange(N)[:, None] + 1) + np.arange(1 - self.stride, self.stride)
        h = np.column_stack([-(lower(ends).max(axis=1) + p.back_off), np.full(N, home.HIGH)])
        low, high = np.zeros((N, N_Z)), np.full((N, N_Z), FREE)
        low[:, [T_I, T_M]] = -FREE
        high[:, Q], high[:, [C, D]], high[:, E] = plant.limit[0] * heat_per_power, plant.limit[1], plant.capacity
        if question.action is not None:
            P, charge = question.action
            for j, value in ((Q, P * heat_per_power[0]), (C, max(charge, 0.0)), (D, max(-charge, 0.0))):
                low[0, j] = high[0, j] = value
            E_1 = E_0 + self.dt * (plant.efficiency * low[0, C] - low[0, D] / plant.efficiency)
            low[0, E], high[0, E] = min(0.0, E_1), max(plant.capacity, E_1)  # what is done is done
        return SimpleNamespace(mpc=self, A=A, B=B, w=w, cop=heat_per_power, values=values, b=b, c=c, h=h, low=low,
                               high=high, heat_price=heat_price, T_0=s[0])  # fmt: skip

    def answer(self, question: Question, warm_start=None) -> Any:
        """Answer a question that has been checked, as `MPC.answer`; a `warm_start` is not used.

        Raises
        ------
        SolverError
            If piqp finds no solution, of a problem made anew too.
        """
        began, d, N = time.perf_counter(), self.data(question), self.problem.horizon
        rows, _ = self.rows(d)
        numbers = (d.c.ravel(), rows, d.b.ravel())
        bounds = (None, d.h.ravel(), d.low.ravel(), d.high.ravel())
        solver = self._solvers.pop(question.kind, None)  # only one that succeeded is put back
        if solver is not None:
            solver.update(None, *numbers, None, *bounds)
        if solver is None or solver.solve() != piqp.PIQP_SOLVED:
            solver = piqp.SparseSolver()
            solver.settings.eps_abs, solver.settings.eps_rel = 1e-8, 1e-9
            solver.settings.max_iter = 500
            solver.setup(self._P, *numbers, self._G, *bounds)
            if (status := solver.solve()) != piqp.PIQP_SOLVED:
                question.fail("not converged", f"piqp: {status}")
        self._solvers[question.kind] = solver
        z = solver.result.x.reshape(N, N_Z).copy()
        theta = self.parameters.unpack(question.theta)
        value = float(d.c.ravel() @ solver.result.x + 0.5 * (self._P.diagonal() @ solver.result.x**2) + theta.V0)
        return HomeSolution(
            question=question,
            value=value,
            z=z,
            u=np.column_stack([z[:, Q] / d.cop, z[:, C] - z[:, D]]),
            y=solver.result.y.reshape(N, N_ROWS).copy(),
            lam=solver.result.z_u.reshape(N, 2).copy(),
            held=np.column_stack(
                [
                    ((solver.result.z_bl > solver.result.s_bl) | (solver.result.z_bu > solver.result.s_bu)).reshape(
                        N, N_Z
                    ),
                    (solver.result.z_u > solver.result.s_u).reshape(N, 2),
                ]
            ),
            data=d,
            time=time.perf_counter() - began,
        )

    @property
    def lagrangian_is_affine(self) -> bool:  # type: ignore[override]
        """Whether the Lagrangian is affine in theta: but for C and R of the simple model it is."""
        return not self.simple

    def values(self, theta, states, actions=None) -> tuple[np.ndarray, np.ndarray]:
        """Return values and first inputs for many states (and actions) at one theta, one after the other."""
        asked = [None] * len(states) if actions is None else actions
        found = [self.V(theta, s) if a is None else self.Q(theta, s, a) for s, a in zip(states, asked, strict=True)]
        first = np.array([each.u0 for each in found]).reshape(-1, 2) if actions is None else np.array(actions, float)
        return np.array([each.value for each in found]), first

    def lagrangian_gradient(self, theta, z, y, lam, d: SimpleNamespace) -> np.ndarray:
        """Return dL/dtheta at theta, unknowns z (N, 10), multipliers y (N, 4) and lam (N, 2), of the data d.

        The rows are T+ - a T - (1 - a) (R (q + g gain) + T_o) = 0, the lower bound low + back_off - sigma - T <= 0.
        """
        p, w, T = self.parameters.unpack(theta), d.w, np.append(0.0, z[:-1, T_I])
        of = {"back_off": lam[:, 0].sum(), "V0": 1.0}
        of["gain"] = -(y[:, :2] @ d.B[:, 0]) @ w.gain
        if not self.simple:
            left = self.plant.C_i * z[-1, T_I] + self.plant.C_m * z[-1, T_M]
            return self.parameters.pack(**of, v_T=-d.heat_price * left)
        a, heat = d.A[0, 0], z[:, Q] + p.gain * w.gain
        T[0] = d.T_0
        of_a = y[:, 0] @ (p.R * heat + w.outdoor - T)
        left = z[-1, T_I]
        of["v_T"] = -d.heat_price * p.C * left
        of["C"] = of_a * a * self.dt / (p.C**2 * p.R) - p.v_T * d.heat_price * left
        of["R"] = of_a * a * self.dt / (p.C * p.R**2) - (1.0 - a) * (y[:, 0] @ heat)
        return self.parameters.pack(**of)

    def plan_jacobian(self, plan: HomeSolution) -> np.ndarray:
        """Return dz/dtheta of a plan, shape (10 N, n_theta), by the implicit function theorem.

        What is held stays held nearby; the KKT system of the rest is

            [ P   A'  G' ] [ dz ]      [ d(c + A'y + G'lam)/dtheta ]
            [ A   0   0  ] [ dy ]  = - [ d(A z - b)/dtheta         ]
            [ G   0   0  ] [ dm ]      [ d(G z - h)/dtheta         ]

        without the unknowns on their bounds, and with the rows G of comfort that hold. Where the plan is a vertex there
        is nothing left to move, and all is zero: so it is at nearly all states if rho = 0. A regularisation of 1e-9
        decides where the system is singular.
        """
        d, N, p = plan.data, self.problem.horizon, self.parameters.unpack(plan.theta)
        n, n_theta, y, z = N_Z * N, self.parameters.size, plan.y, plan.z
        at = {name: self.parameters.index(name).start for name in vars(p)}
        stationary, rows, comfort = (
            np.zeros((N, N_Z, n_theta)),
            np.zeros((N, N_ROWS, n_theta)),
            np.zeros((2 * N, n_theta)),
        )
        for i in (0, 1):
            rows[:, i, at["gain"]] = -d.B[i, 0] * d.w.gain
        stores = np.array([p.C]) if self.simple else np.array([self.plant.C_i, self.plant.C_m])
        stationary[-1, T_I : T_I + len(stores), at["v_T"]] = -d.heat_price * stores
        comfort[::2, at["back_off"]] = 1.0
        if self.simple:
            a, heat, T = d.A[0, 0], z[:, Q] + p.gain * d.w.gain, np.append(d.T_0, z[:-1, T_I])
            for name, of_a, of_R in (
                ("C", a * self.dt / (p.C**2 * p.R), 0.0),
                ("R", a * self.dt / (p.C * p.R**2), 1.0),
            ):
                of_B = (1.0 - a) * of_R - p.R * of_a  # of B_q = (1 - a) R
                rows[:, 0, at[name]] = -of_a * T - of_B * heat + of_a * d.w.outdoor
                stationary[:, Q, at[name]] = -of_B * y[:, 0]
                stationary[:-1, T_I, at[name]] = -of_a * y[1:, 0]
            stationary[-1, T_I, at["C"]] -= p.v_T * d.heat_price
        free = np.flatnonzero(~plan.held[:, :N_Z].ravel())
        tight = np.flatnonzero(plan.held[:, N_Z:].ravel())
        A, G = self.rows(d)
        A, G, small = A.tocsc()[:, free], G.tocsc()[tight][:, free], 1e-9
        P = self._P.diagonal()[free] + small
        K = bmat([[diags(P), A.T, G.T], [A, -small * identity(A.shape[0]), None],
                  [G, None, -small * identity(len(tight)) if len(tight) else None]], format="csc")  # fmt: skip
        right = -np.vstack([stationary.reshape(n, -1)[free], rows.reshape(-1, n_theta), comfort[tight]])
        dz = np.zeros((n, n_theta))
        dz[free] = splu(K).solve(right)[: len(free)]
        return dz


def home_mpc(simple: bool = False, horizon: int | None = None, plant: HomeParameters = NOMINAL, **options) -> HomeMPC:
    """Return the house's MPC: that of the whole model over a day, or the `simple` one over half a day.

    Parameters
    ----------
    simple : bool
        One temperature instead of two.
    horizon : int, optional
    plant : HomeParameters
    **options
        See `HomeMPC`.
    """
    simple = flag(simple, "simple")
    N = (DAY // 2 if simple else DAY) if horizon is None else horizon
    return HomeMPC(plant, N, simple=simple, **options)
