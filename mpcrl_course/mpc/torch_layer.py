"""An MPC as a layer of PyTorch (extra `[torch]`): batched V, Q and pi, with exact gradients in theta, s and a.

    layer = MPCLayer(linear_mpc())              theta is layer.theta, a torch.nn.Parameter
    loss = (layer(s) - u).square().mean()       pi_theta(s) for s (B, n_states)
    loss.backward()                             dpi/dtheta from the KKT system of each solution

    dV/dtheta = dL/dtheta,   dV/ds = -nu_0,   dQ/da = dL/du_0      envelope theorem: multipliers alone
    dpi/dtheta, dpi/ds                                             implicit function theorem

At a kink (`Solution.strict` is False) a derivative is one of several, and where the KKT system is singular there is
none: see `skip_kinks`. Second derivatives are refused; `Solution.hessian` has them. All is computed in float64,
whatever the tensors are. Nothing in the course imports this file.

Source of the idea: Amos & Kolter, OptNet, ICML 2017; Amos et al., Differentiable MPC, NeurIPS 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpcrl_course.mpc.door import MPC
from mpcrl_course.mpc.errors import SolverError
from mpcrl_course.mpc.sensitivities import classified
from mpcrl_course.mpc.solution import Solution
from mpcrl_course.validation import flag, instance

try:
    import torch
    from torch.autograd.function import once_differentiable
except ImportError as error:
    raise ImportError(
        "the layer needs PyTorch, which the course itself does not: python -m pip install torch --index-url"
        " https://download.pytorch.org/whl/cpu, or the extra mpcrl-course[torch]"
    ) from error


class MPCLayer(torch.nn.Module):
    """An MPC whose theta is a parameter of PyTorch; or is given with each question, by a network say.

    Parameters
    ----------
    mpc : MPC
    theta : array_like, optional
        By default the initial one.
    skip_kinks : bool
        Whether samples whose KKT system is singular count with a gradient of zero, instead of raising a SolverError.

    Attributes
    ----------
    theta : torch.nn.Parameter, shape (n_theta,), float64
    kinks, skipped : int
        Of the latest backward pass through pi: samples at a kink; samples without a derivative.
    """

    def __init__(self, mpc: MPC, theta=None, skip_kinks: bool = False):
        super().__init__()
        self.mpc: MPC = instance(mpc, MPC, "mpc")
        self.theta = torch.nn.Parameter(torch.tensor(mpc.parameters.pack(theta), dtype=torch.float64))
        self.skip_kinks, self.kinks, self.skipped = flag(skip_kinks, "skip_kinks"), 0, 0

    def V(self, s, theta=None):
        """Return V_theta(s), shape (B,), of states s (B, n_states); theta (n_theta,) or (B, n_theta), by default own.

        Raises
        ------
        SolverError
            At the first state that cannot be solved.
        """
        return self._ask("V", theta, s, None)

    def Q(self, s, a, theta=None):
        """Return Q_theta(s, a), shape (B,), of states s (B, n_states) and actions a (B, n_actions); otherwise as V."""
        return self._ask("Q", theta, s, a)

    def forward(self, s, theta=None):
        """Return pi_theta(s), shape (B, n_actions), of states s (B, n_states); otherwise as V."""
        return self._ask("policy", theta, s, None)

    def _ask(self, kind: str, theta, s, a):
        theta, problem = self.theta if theta is None else theta, self.mpc.problem
        size, n, m = self.mpc.parameters.size, problem.n_states, problem.n_actions
        if s.dim() != 2 or s.shape[1] != n:
            raise ValueError(f"s has shape {tuple(s.shape)}, but needs (B, {n})")
        if tuple(theta.shape) not in ((size,), (len(s), size)):
            raise ValueError(f"theta has shape {tuple(theta.shape)}, but needs ({size},) or ({len(s)}, {size})")
        if a is not None and tuple(a.shape) != (len(s), m):
            raise ValueError(f"a has shape {tuple(a.shape)}, but needs ({len(s)}, {m})")
        return _Ask.apply(theta, s, a, self, kind, torch.is_grad_enabled())


class _Ask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, theta, s, a, layer: MPCLayer, kind: str, differentiated: bool):
        mpc, m = layer.mpc, layer.mpc.problem.n_actions
        p, x, u = map(_numbers, (theta, s, a))
        ctx.layer, ctx.kind, ctx.dtypes = layer, kind, [part if part is None else part.dtype for part in (theta, s, a)]
        ctx.shared = p.ndim == 1
        if ctx.shared and not (
            differentiated and any(ctx.needs_input_grad)
        ):  # nobody will differentiate: one batch, no multipliers
            values, first = mpc.values(p, x, u)
        else:
            rows = zip(np.broadcast_to(p, (len(x), p.shape[-1])), x, *(() if u is None else (u,)))
            ctx.solutions = [mpc.V(*row) if u is None else mpc.Q(*row) for row in rows]
            values = np.array([v.value for v in ctx.solutions])
            first = np.array([v.u0[:m] for v in ctx.solutions]).reshape(len(x), m)
        return torch.as_tensor(first if kind == "policy" else values).to(s)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream) -> Any:
        """Return what comes from above, (B,) or (B, m), times the derivative in theta, s and a."""
        weights, n = _numbers(upstream), len(upstream)
        if ctx.kind == "policy":
            slopes = [_policy_slopes(v, ctx.layer) for v in ctx.solutions]
            ctx.layer.kinks = sum(not classified(v).strict for v in ctx.solutions)
            ctx.layer.skipped = sum(slope is None for slope in slopes)
            weighed = lambda i: [0.0 if z is None else w @ z[i][: len(w)] for w, z in zip(weights, slopes)]  # noqa: E731
        else:
            ways = (Solution.gradient, Solution.gradient_state, Solution.gradient_action)
            weighed = lambda i: [w * ways[i](v) for w, v in zip(weights, ctx.solutions)]  # noqa: E731
        given: list[Any] = []
        problem, size = ctx.layer.mpc.problem, ctx.layer.mpc.parameters.size
        for i, width in enumerate((size, problem.n_states, problem.n_actions)):
            if not ctx.needs_input_grad[i]:
                given.append(None)
                continue
            rows = np.array([np.broadcast_to(row, width) for row in weighed(i)]).reshape(n, width)
            rows = rows.sum(axis=0) if i == 0 and ctx.shared else rows
            given.append(torch.as_tensor(rows).to(upstream.device, ctx.dtypes[i]))
        return *given, None, None, None


def _numbers(part) -> Any:
    """Return a tensor as an array of float64, or None."""
    return None if part is None else part.detach().cpu().double().numpy()


def _policy_slopes(solution: Solution, layer: MPCLayer):
    """Return dpi/dtheta and dpi/ds of a solution, or None at a singular kink that is to be skipped."""
    try:
        return solution.policy_jacobian(state=True)
    except SolverError:
        if not layer.skip_kinks:
            raise
        return None
