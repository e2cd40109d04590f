"""Real-time iteration with a part of the dynamics outside of CasADi: a network, for all stages at once.

    x_{k+1} = f(x_k, u_k, theta) + phi(x_k, u_k)

CasADi writes a step of the iteration as scalar operations, in which a network of some thousand weights, at every stage
with its Jacobian, soon costs more than all else. NumPy's matrix products give phi and its Jacobian of the whole horizon
in a tenth of that time. The step is the same: phi enters the gaps, and their Jacobian, at the very same places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import casadi as ca
import numpy as np

from mpcrl_course.mpc.fast import BufferedFunction
from mpcrl_course.mpc.lifted import LiftedSolver
from mpcrl_course.mpc.real_time import RealTimeSolver
from mpcrl_course.mpc.transcription import Transcription
from mpcrl_course.validation import function, short


class SplitRealTimeSolver(RealTimeSolver):
    """A `RealTimeSolver` of dynamics f + phi.

    Parameters
    ----------
    transcription : Transcription
        Of the whole problem: ipopt and the derivatives of a solution go by it.
    split : (f, phi)
        ``f(x, u, p)`` in CasADi, and ``phi(x, u, slopes)`` in NumPy: for x (N, n_states) and u (N, n_inputs) it returns
        values (N, n_states) and, if `slopes`, the Jacobian in (x, u), (N, n_states, n_states + n_inputs), else None.
    **options
        Those of `RealTimeSolver`.

    Raises
    ------
    ValueError
        Entries of the Jacobian that phi has and f has not, or at a random point f + phi is not the whole.
    """

    def __init__(self, transcription: Transcription, split: tuple[Callable, Callable], **options):
        if not isinstance(split, tuple) or len(split) != 2:
            raise ValueError(f"split is a pair (f, phi), not {short(split)}")
        f, self.phi = (function(part, f"{name} of split") for name, part in zip(("f", "phi"), split))
        only_f = Transcription(replace(transcription.problem, dynamics=f))
        super().__init__(only_f, **options)
        self._linearise_f, self._evaluate_f = self._linearise, self._evaluate
        self._gaps = BufferedFunction("gaps", [only_f.theta, only_f.X, only_f.U], [only_f.gaps])
        self.t, self.ipopt = transcription, LiftedSolver(transcription, "ipopt")
        self._first = self._costate(transcription)
        self._linearise, self._evaluate = self._linearise_both, self._evaluate_both  # type: ignore[assignment]
        for qp in self.qps:
            qp.varies[1] = True  # also where f is linear
        self._places(only_f)
        self._compare()

    def _places(self, only_f: Transcription) -> None:
        """Find where the Jacobian of phi goes among the entries of that of the gaps."""
        t, problem = self.t, self.t.problem
        nx, nu, N = problem.n_states, problem.n_inputs, problem.horizon
        A = self.qps[0].matrices[1]
        column = np.repeat(np.arange(A.shape[1]), np.diff(A.indptr))
        place = {at: entry for entry, at in enumerate(zip(A.indices.tolist(), column.tolist(), strict=True))}
        whole, part = (
            np.array(ca.DM(ca.jacobian_sparsity(s.next[0], ca.vertcat(s.X[:, 0], s.U[:, 0])), 1.0), bool)
            for s in (t, only_f)
        )
        if (whole & ~part).any():
            i, j = np.argwhere(whole & ~part)[0]
            raise ValueError(f"split: phi's Jacobian has an entry ({i}, {j}) that f's has not: no place is kept for it")
        stages, rows, columns = np.nonzero(np.tile(whole, (N, 1, 1)))
        inside = (stages > 0) | (columns >= nx)  # x_0 is no unknown
        self._from = k, i, j = tuple(each[inside] for each in (stages, rows, columns))
        unknown = np.where(j < nx, (k - 1) * nx + j, N * nx + k * nu + j - nx)
        self._to = np.array([place[at] for at in zip((k * nx + i).tolist(), unknown.tolist(), strict=True)])

    def _compare(self) -> None:
        """Compare f + phi with the dynamics of the whole problem, at a point."""
        t, rng = self.t, np.random.default_rng(0)
        theta, problem = t.problem.parameters.initial(), t.problem
        N = problem.horizon
        x, u = rng.uniform(-1, 1, (N + 1, problem.n_states)), rng.uniform(-1, 1, (N, problem.n_inputs))
        whole = np.array([t.step(theta, x[k], u[k])[0] for k in range(N)])
        gaps = self._gaps(theta, x.ravel(), u.ravel())[0] - self._at(x.ravel(), u.ravel(), False)[0]
        apart = np.abs(x[1:] - gaps.reshape(whole.shape) - whole).max()
        if not apart <= 1e-9 * (1.0 + np.abs(whole).max()):
            raise ValueError(f"split: f + phi differs from the dynamics of the problem by {apart:.1e}")

    def _at(self, x, u, slopes: bool):
        """Return phi, flat, and its Jacobian along a path of flat states and inputs."""
        problem = self.t.problem
        with np.errstate(invalid="ignore", over="ignore"):  # a guess that is not finite is refused for its merit
            value, J = self.phi(x.reshape(-1, problem.n_states)[:-1], u.reshape(-1, problem.n_inputs), slopes)
        return value.ravel(), J

    def _linearise_both(self, theta, x, u, q):
        merit, H, A, G, g, b, *bounds = self._linearise_f(theta, x, u, q)
        value, slopes = self._at(x, u, True)
        both = b + value  # b = f - x_{k+1}
        A[self._to] -= slopes[self._from]
        merit[2] += np.abs(both).sum() - np.abs(b).sum()
        return [merit, H, A, G, g, both, *bounds]

    def _evaluate_both(self, theta, x, u, q):
        merit, *rest = self._evaluate_f(theta, x, u, q)
        gaps, (value, _) = self._gaps(theta, x, u)[0], self._at(x, u, False)
        merit[2] += np.abs(gaps - value).sum() - np.abs(gaps).sum()
        return [merit, *rest]
