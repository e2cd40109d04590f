"""A critic that is part learned, part MPC: policy iteration with a blend, on the linear plant without bounds.

    evaluate   Q_w: LSTD on the ten features of a pair, from M transitions under the present policy
    blend      Q = (1 - beta) Q_w + beta Q^MPC
    improve    pi(s) = argmin_a Q(s, a)

or, as Bhardwaj, Choudhury & Boots (ICLR 2021) blend, a mixture over the lengths of roll-outs of the model, each
ending in Q_w: Q^0 = Q_w,  Q^h(s, a) = L(s, a) + gamma min_a' Q^(h-1)(f(s, a), a'), the minimum taken of the mixture,

    Q_lambda = (1 - lambda) Q^0 + (1 - lambda) lambda Q^1 + … + lambda^H Q^H

Q^MPC errs where its model does (bias), and Q_w where the data do (variance).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcrl_course.learners.behaviour import as_schedule, at
from mpcrl_course.learners.run import Learner
from mpcrl_course.own import answering
from mpcrl_course.problems import quadratic
from mpcrl_course.problems.quadratic import DISCOUNT, STAGE, NoLeastAction, Quadratic, QuadraticMPC, Transitions
from mpcrl_course.validation import function, instance, real, reals, whole


def blend(q_learned, q_mpc, beta: float) -> np.ndarray:
    """Return (1 - beta) q_learned + beta q_mpc: of action values, or of the weights of functions linear in them.

    `q_learned` and `q_mpc` have one shape; beta is in [0, 1].
    """
    q_learned, q_mpc, beta = reals(q_learned, "q_learned"), reals(q_mpc, "q_mpc"), real(beta, "beta", 0.0, 1.0)
    if q_learned.shape != q_mpc.shape:
        raise ValueError(
            f"q_learned and q_mpc are of the same pairs, not of shapes {q_learned.shape} and {q_mpc.shape}"
        )
    return (1.0 - beta) * q_learned + beta * q_mpc


def lstd_q(features, features_next, cost, gamma: float, ridge: float = 1e-6) -> np.ndarray:
    """Return the weights omega of Q^pi = omega'features: (mean of z (z - gamma z+)' + ridge I)^-1 mean of z L.

    Parameters
    ----------
    features, features_next : array_like, shape (M, n)
        z of (s, a), and z+ of (s+, pi(s+)), with the action that the policy takes there, not the one that was tried.
    cost : array_like, shape (M,)
        L.
    gamma, ridge : float
        Discount; added to the diagonal. It has to be small against the matrix's smallest singular value, or it
        pulls the weights towards 0 however many data there are.
    """
    z = reals(features, "features", (None, None))
    z_next, cost = reals(features_next, "features_next", z.shape), reals(cost, "cost", z.shape[:1])
    gamma, ridge = real(gamma, "gamma", 0.0, 1.0), real(ridge, "ridge", 0.0)
    M = z.T @ (z - gamma * z_next) / len(z) + ridge * np.eye(z.shape[1])
    try:
        return np.linalg.solve(M, z.T @ cost / len(z))
    except np.linalg.LinAlgError:
        raise ValueError("the features do not tell all weights apart: give a ridge above 0") from None


def learned_omega(data: Transitions, K, k, ridge: float = 1e-6) -> np.ndarray:
    """Return the weights (10,) of Q_w, the critic of a policy, that `lstd_q` finds in `data` with its `ridge`.

    The policy is -K s - k, K (1, 2) and k (1,).
    """
    z, z_next = quadratic.features(data.s, data.a), quadratic.features(data.s_next, -data.s_next @ K.T - k)
    return lstd_q(z, z_next, data.cost, DISCOUNT, ridge)


def mixture(omega, F, b, lam: float, H: int) -> np.ndarray:
    """Return the weights (10,) of Q_lambda, for Q_w of the weights omega (10,) and the model x+ = F (x, u) + b.

    It is an LQ problem: Q_h = (1 - lambda) Q_w + lambda (L + gamma min Q_(h-1)), H steps of the backward recursion.

    Parameters
    ----------
    omega : array_like, shape (10,)
    F, b : array_like, shapes (2, 3), (2,)
    lam : float
        lambda, in [0, 1]: 0 is Q_w alone, 1 the model for H steps and Q_w behind them.
    H : int

    Raises
    ------
    NoLeastAction
        Q_w, or a mixture, is not curved upwards in a.
    """
    lam, F, b = real(lam, "lam", 0.0, 1.0), reals(F, "F", (2, 3)), reals(b, "b", (2,))
    M, q, c = q_w = quadratic.quadratic_of(omega)
    if whole(H, "H", 0) == 0 or lam == 0.0:
        return quadratic.weights_of(q_w)
    K, k = quadratic.greedy_policy(omega)
    end = Quadratic(M[:2, :2] - M[:2, 2:] @ K, q[:2] - M[:2, 2] * k, c - q[2] * k[0])  # min_a Q_w
    stage = Quadratic((1.0 - lam) * M + lam * STAGE, (1.0 - lam) * q, (1.0 - lam) * c)
    return quadratic.weights_of(quadratic.backward(F, b, stage, DISCOUNT * lam, end, H))


class BlendedIteration(Learner):
    """Policy iteration with a blended critic; a step is an evaluation and an improvement.

    Parameters
    ----------
    mpc : QuadraticMPC
        Its policy is the first one, and its Q^MPC a part of every critic.
    phi : array_like, shape (9,)
        Of the MPC.
    rng : numpy.random.Generator
    beta : float or schedule
        Share of Q^MPC, at iteration j.
    M : int or callable (j) -> int
        Transitions of iteration j, in episodes of 20 steps.
    lengths : int, optional
        H: the mixture over lengths in the place of the blend; then beta is lambda.
    ridge, exploration : float
        See `lstd_q`; standard deviation of the noise on the input.
    blend : callable (q_learned, q_mpc, beta) -> q, optional
        A reader's own, of arrays of action values, in the place of (1 - beta) Q_w + beta Q^MPC. It is applied to
        their weights, which is the same if it is linear in both.

    Attributes
    ----------
    K, offset : ndarray, shapes (1, 2), (1,)
        The present policy -K s - offset.
    q_mpc, q_learned, critic : ndarray, shape (10,)
        Weights of Q^MPC, of the latest Q_w, and of the latest blend.
    data : Transitions
        The latest.
    log : Log
        ratio: J/J* of the policy, with a row before the first step; beta; M. The run stops where the critic has no
        least action, or the policy does not stabilise the plant: the ratio is then infinite.
    """

    name = "blended policy iteration"
    kept = ("K", "offset", "q_learned", "critic")

    def __init__(
        self,
        mpc: QuadraticMPC,
        phi,
        rng: np.random.Generator,
        *,
        beta: float | Callable = 0.5,
        M: int | Callable = 60,
        lengths: int | None = None,
        ridge: float = 1e-6,
        exploration: float = 0.3,
        blend: Callable = blend,
    ):
        self.phi = instance(mpc, QuadraticMPC, "mpc").parameters.check(phi, name="phi").copy()
        self.beta, self.M = as_schedule(beta, "beta", 1.0), M if callable(M) else whole(M, "M", 1)
        self.lengths = None if lengths is None else whole(lengths, "lengths", 0)
        self.ridge, self.exploration = real(ridge, "ridge", 0.0), real(exploration, "exploration", 0.0)
        self.blend = answering("blend", function(blend, "blend"), lambda q, *_: q.shape)
        self.K, self.offset = mpc.policy(self.phi)
        self.q_mpc, self.q_learned = mpc.omega(self.phi), np.zeros(10)
        self.critic, p = self.q_mpc.copy(), mpc.parameters.unpack(self.phi)
        self.model = np.hstack([p.A, p.B[:, None]]), p.b
        self.data: Transitions | None = None
        self.least = quadratic.least_cost()
        super().__init__(None, rng, ratio=self.ratio())

    def ratio(self) -> float:
        """Return J/J*: the expected cost of the present policy over that of the best one."""
        return quadratic.expected_cost(self.K, self.offset) / self.least

    def step(self) -> None:
        """Evaluate the policy from fresh data, blend, improve."""
        beta, M = at(self.beta, self.k, "beta", 1.0), self.M(self.k) if callable(self.M) else self.M
        self.data = quadratic.collect(self.K, self.offset, M, self.rng, self.exploration)
        self.q_learned = learned_omega(self.data, self.K, self.offset, self.ridge)
        ratio = np.inf
        try:
            self.critic = self.blended(beta)
            self.K, self.offset = quadratic.greedy_policy(self.critic)
            ratio = self.ratio()
            if ratio == np.inf:
                self.log.stopped = "the policy no longer stabilises the plant"
        except NoLeastAction as error:
            self.log.stopped = str(error)
        self.log.add(ratio=ratio, beta=beta, M=M)

    def blended(self, beta: float) -> np.ndarray:
        """Return the weights (10,) of the critic: Q_w and Q^MPC blended, or Q_lambda with lambda = beta."""
        if self.lengths is not None:
            return mixture(self.q_learned, *self.model, beta, self.lengths)
        return self.blend(self.q_learned.copy(), self.q_mpc.copy(), beta)
