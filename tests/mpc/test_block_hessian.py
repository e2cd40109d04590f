"""The convexity check of the sparse back end: the blocks of a Hessian, and costs that are convex along the dynamics."""

import casadi as ca
import numpy as np
import pytest

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, SolverError
from mpcrl_course.mpc.lifted import BlockHessian
from mpcrl_course.mpc.transcription import Transcription
from mpcrl_course.network import star
from mpcrl_course.problems.network import network_mpc


def problem(horizon=4):
    """Blocks of three sizes: states 1 and 2 with the input, state 3 alone, and states 1 and 2 at the end."""
    return OptimalControlProblem(
        n_states=3, n_inputs=1, horizon=horizon, parameters=Parameters(q=[1.0, 2.0, 0.5], c=0.3, r=1.0),
        dynamics=lambda x, u, p: ca.vertcat(0.9 * x[0] + u, 0.5 * x[1] - u, 0.7 * x[2] + u),
        stage_cost=lambda k, x, u, p: (
            ca.dot(p.q, x**2) + 2 * p.c * x[0] * x[1] + p.r * u**2 + 2 * p.c * x[1] * u
        ),
        terminal_cost=lambda x, p: ca.dot(p.q, x**2) + p.c * x[0] * x[1],
    )  # fmt: skip


@pytest.mark.parametrize("declared", [problem(), network_mpc(4, star(4), horizon=3).problem], ids=["mixed", "network"])
def test_the_blocks_have_the_eigenvalues_of_the_whole(declared):
    t, rng = Transcription(declared), np.random.default_rng(0)
    blocks = BlockHessian(t)
    xu = ca.vertcat(ca.vec(t.X), ca.vec(t.U))
    whole = ca.Function("whole", [t.theta], [ca.hessian(t.cost, xu)[0]])
    for _ in range(5):
        theta = declared.parameters.initial() + 0.5 * rng.standard_normal(declared.parameters.size)
        ours = np.sort(np.concatenate([np.linalg.eigvalsh(block).ravel() for block in blocks(theta)]))
        np.testing.assert_allclose(ours, np.linalg.eigvalsh(whole(theta).full()), atol=1e-12)
    assert sum(block.shape[0] * block.shape[1] for block in blocks(theta)) == xu.numel()


def test_sizes_of_the_blocks():
    blocks = BlockHessian(Transcription(problem()))(problem().parameters.initial())
    assert [block.shape for block in blocks] == [(5, 1, 1), (1, 2, 2), (4, 3, 3)]


def test_convex_along_the_dynamics_only():
    """u enters with -0.2 u^2, but moves three states that cost more: convex, and answered as daqp does; -8 u^2: not."""
    sparse, condensed = MPC(problem(), "piqp"), MPC(problem(), "daqp")
    theta, s = sparse.parameters.pack(r=-0.2, c=0.0), [0.4, -0.3, 0.2]
    assert min(np.linalg.eigvalsh(block).min() for block in BlockHessian(sparse.transcription)(theta)) < -0.1
    for ask in (lambda mpc: mpc.V(theta, s), lambda mpc: mpc.Q(theta, s, [0.3])):
        assert ask(sparse).value == pytest.approx(ask(condensed).value, abs=1e-8)
    for mpc in (sparse, condensed):
        with pytest.raises(SolverError, match="unbounded: the cost is not convex"):
            mpc.V(sparse.parameters.pack(r=-8.0), s)
