"""The MPC as a layer of PyTorch: checked, and timed against the same questions without PyTorch.

Run by the Python of the peer `torch` (see `peers.py`), which has what `mpcrl_course.mpc` needs, too. It

1. checks V, Q and pi and their gradients: `gradcheck` (differences) in theta, s and a, off kinks, of a quadratic
   problem with active limits and soft rows and of one that is not quadratic; against the door's own derivatives; one
   theta for all and one a sample; refused second derivatives; a kink; and a training that finds a known gain;
2. times a batch of 64 forward and backward, and the same by the door alone;
3. prints one line of JSON. An assertion that fails ends it with exit code 1.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mpcrl_course.mpc import MPC, OptimalControlProblem, Parameters, riccati  # noqa: E402
from mpcrl_course.mpc.torch_layer import MPCLayer  # noqa: E402
from mpcrl_course.problems.linear import linear_mpc  # noqa: E402

BATCH, ROUNDS = 64, 9


def regulator(horizon=10):
    """Return the MPC of a double integrator with wide limits; its parameters are the weights of its cost."""
    A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
    return A, B, MPC(
        OptimalControlProblem(
            n_states=2, n_inputs=1, horizon=horizon, parameters=Parameters(w=[0.0, 0.0]), discount=0.95,
            dynamics=lambda x, u, p: A @ x + B @ u,
            stage_cost=lambda k, x, u, p: 0.95**k * (x.T @ (np.e**p.w * x) + 0.1 * u[0] ** 2),
            terminal_cost=lambda x, p: 0.0 * x[0], input_lower=-100.0, input_upper=100.0,
        )
    )  # fmt: skip


def curved():
    """Return an MPC that is not quadratic: a pendulum held by a limited torque."""

    def dynamics(x, u, p):
        from casadi import sin, vertcat

        return vertcat(x[0] + 0.1 * x[1], x[1] + 0.1 * (p.g * sin(x[0]) + u[0]))

    return MPC(
        OptimalControlProblem(
            n_states=2, n_inputs=1, horizon=5, parameters=Parameters(g=1.0, r=0.1), discount=1.0, dynamics=dynamics,
            stage_cost=lambda k, x, u, p: x.T @ x + p.r * u.T @ u, terminal_cost=lambda x, p: 5.0 * x.T @ x,
            input_lower=-2.0, input_upper=2.0,
        )
    )  # fmt: skip


def strict_states(mpc, theta, rng, n):
    """Return states (n, 2) and actions (n, 1) whose V and Q are smooth nearby."""
    found = []
    pushing = 0
    while len(found) < n or not pushing:
        s, a = rng.uniform([-0.1, -0.5], [0.8, 0.5]), rng.uniform(-0.8, 0.8, 1)
        answers = mpc.V(theta, s), mpc.Q(theta, s, a)
        if all(answer.strict and answer.activity.margin > 1e-3 for answer in answers):
            found = [*found[-n + 1 :], (s, a)]
            pushing = sum(mpc.V(theta, x).activity.pushing for x, _ in found)
    return (torch.tensor(np.array(column), requires_grad=True) for column in zip(*found))


def check():
    """Check everything; return the largest difference to the door's own gradients."""
    rng, worst = np.random.default_rng(0), 0.0
    for mpc, tolerance in ((linear_mpc(5), 1e-5), (curved(), 1e-4)):
        layer, start = MPCLayer(mpc), mpc.parameters.initial()
        s, a = strict_states(mpc, start, rng, 4)
        one = torch.tensor(start, requires_grad=True)
        many = torch.tensor(np.tile(start, (4, 1)) * (1 + 1e-3 * rng.standard_normal((4, 1))), requires_grad=True)
        for theta in (one, many):
            for ask in (layer.V, layer.Q, layer):
                given = (s, a, theta) if ask == layer.Q else (s, theta)
                assert torch.autograd.gradcheck(ask, given, eps=1e-5, atol=tolerance, rtol=tolerance)
        layer.Q(s, a).sum().backward()
        layer(s).sum().backward()
        own = [mpc.Q(start, x.detach().numpy(), u.detach().numpy()).gradient() for x, u in zip(s, a)]
        own += [mpc.V(start, x.detach().numpy()).policy_jacobian()[0] for x in s]
        worst = max(worst, float(np.abs(layer.theta.grad.numpy() - np.sum(own, axis=0)).max()))
        with torch.no_grad():  # the batch of the door, without multipliers
            assert torch.allclose(layer(s), layer(s.detach(), one.detach()), atol=1e-7)
            assert torch.allclose(
                layer.V(s), torch.tensor([mpc.V(start, x.numpy()).value for x in s]).double(), atol=1e-7
            )
        assert layer(s.float()).dtype == torch.float32
        grad = torch.autograd.grad(layer.V(s, one).sum(), one, create_graph=True)[0]
        try:
            grad.sum().backward()
        except RuntimeError as error:
            assert "differentiat" in str(error) or "grad" in str(error)
        else:
            raise AssertionError("a second derivative was not refused")
        for wrong in ((s[0], None), (s, one[:-1])):
            try:
                layer.V(*wrong)
            except ValueError as error:
                assert "shape" in str(error)
            else:
                raise AssertionError("a wrong shape was taken")
    assert worst < 1e-9, worst
    at_kinks()
    return worst


def at_kinks():
    """Let a limit be reached exactly, where the input does not push: a derivative is one of several, and counted."""
    A, B, mpc = regulator(1)
    layer = MPCLayer(mpc)
    s = torch.zeros((2, 2), dtype=torch.float64)
    layer(s).sum().backward()
    assert layer.kinks == 0 == layer.skipped
    edge = MPCLayer(linear_mpc(5))
    edge(torch.tensor([[0.0, 0.0], [0.3, 0.1]], dtype=torch.float64)).sum().backward()
    assert edge.kinks >= 1


def train():
    """Learn weights whose MPC is the LQR of known weights, from its actions alone; return the error of the gain."""
    A, B, mpc = regulator(30)
    wanted = riccati(A, B, np.diag([3.0, 0.5]), np.array([[0.1]]), 0.95)[1]
    layer, rng = MPCLayer(mpc), np.random.default_rng(1)
    adam, states = torch.optim.Adam(layer.parameters(), lr=0.05), rng.uniform(-1, 1, (8, 2))
    s, u = torch.tensor(states), torch.tensor(-states @ wanted.T)
    losses = []
    for _ in range(150):
        loss = (layer(s) - u).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    gain = (
        -mpc.V(layer.theta.detach().numpy(), [1.0, 0.0]).u0[0],
        -mpc.V(layer.theta.detach().numpy(), [0.0, 1.0]).u0[0],
    )
    error = float(np.abs(np.array(gain) - wanted[0]).max() / np.abs(wanted).max())
    assert losses[-1] < 1e-3 * losses[0] and error < 0.02, (losses[0], losses[-1], error)
    return error


def timed(ways):
    """Return the median CPU seconds of each of the ways, measured in turn."""
    seconds = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(some[1:]) for name, some in seconds.items()}


def main():
    """Check, time, print."""
    torch.set_num_threads(1)
    answer = {"torch": torch.__version__, "error": check(), "gain": train()}
    mpc = linear_mpc()
    layer, theta, rng = MPCLayer(mpc), mpc.parameters.initial(), np.random.default_rng(0)
    states, actions = rng.uniform([0.0, -0.5], [0.8, 0.5], (BATCH, 2)), rng.uniform(-1, 1, (BATCH, 1))
    s, a = torch.tensor(states), torch.tensor(actions)

    def silent(ask):
        with torch.no_grad():
            return ask()

    answer["seconds"] = timed(
        {
            "V, forward and backward, layer": lambda: layer.V(s).sum().backward(),
            "V, forward and backward, door": lambda: sum(mpc.V(theta, x).gradient() for x in states),
            "Q, forward and backward, layer": lambda: layer.Q(s, a).sum().backward(),
            "Q, forward and backward, door": lambda: sum(
                mpc.Q(theta, x, u).gradient() for x, u in zip(states, actions)
            ),
            "pi, forward and backward, layer": lambda: layer(s).sum().backward(),
            "pi, forward and backward, door": lambda: sum(mpc.V(theta, x).policy_jacobian() for x in states),
            "pi, forward only, layer": lambda: silent(lambda: layer(s)),
            "pi, forward only, door": lambda: mpc.values(theta, states),
        }
    )
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
