"""Exercise 12, on whether the network learns faster by a second-order step, and on what is shared for it.

Seven items: numbers sent, the regularised inverse, the matrix C by consensus, the local step, batches with a fault, how
much agreement is enough, and what a neighbour can see.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np

from mpcrl_course.checks.engine import Debug, Design, Exercise, Explain, Fill, Mistake, Predict, close
from mpcrl_course.learners import distributed as learner
from mpcrl_course.learners.team import TeamIteration
from mpcrl_course.network import average, laplacian, line, mixing_matrix, neighbours_of, ring, star
from mpcrl_course.problems.team import LinearTeam

# ------------------------------------------------------------------------------------------------ 1: numbers sent

AGENTS, BATCH, ROUNDS, PARAMETERS = 10, 15, 100, 22


def numbers_sent(agents: int, T: int, rounds: int) -> int:
    """Return how many numbers travel along a line of agents for one TD error and one matrix C.

    C has shape (T, T); both are mixed for so many `rounds`.
    """
    return 2 * (agents - 1) * rounds * (T**2 + 1)


predict = Predict(
    1,
    "numbers sent",
    reference=float(numbers_sent(AGENTS, BATCH, ROUNDS)),
    rtol=0.0,
    when_right="It does not depend on how many parameters an agent has. But a centre would need far fewer numbers: see "
    "the discussion.",
    hints=[
        "How many pairs of neighbours are there on a line of ten? In a round, how many messages travel between a pair?",
        "A message about C holds T × T numbers, one about δ holds a single one.",
    ],
    mistakes=[
        Mistake("one way", "In a round every agent tells *and* hears: each pair of neighbours exchanges two messages.",
                numbers_sent(AGENTS, BATCH, ROUNDS) / 2),
        Mistake("everybody with everybody", "Agents talk to their neighbours only, not to all others.",
                AGENTS * (AGENTS - 1.0) * ROUNDS * (BATCH**2 + 1)),
        Mistake("δ forgotten", "That is C alone; δ is agreed on in the same way.",
                2.0 * (AGENTS - 1) * ROUNDS * BATCH**2),
        Mistake("T numbers for C", "C is a matrix, T × T.", 2.0 * (AGENTS - 1) * ROUNDS * (BATCH + 1)),
        Mistake("T TD errors",
                "In an update one δ is new, that of the latest step; those of the replayed transitions were agreed "
                "on in their own time.", 2.0 * (AGENTS - 1) * ROUNDS * (BATCH**2 + BATCH)),
        Mistake("one round", "That is one round; there are a hundred.", 2.0 * (AGENTS - 1) * (BATCH**2 + 1)),
        Mistake("messages for numbers", "Those are the messages. Count the numbers in them.",
                2.0 * (AGENTS - 1) * ROUNDS * 2),
        Mistake("upper triangle",
                "C is symmetric and half of it would do, but here the whole matrix is sent.",
                2.0 * (AGENTS - 1) * ROUNDS * (BATCH * (BATCH + 1) / 2 + 1)),
        Mistake("matrices of parameters",
                "You have counted 22 × 22 matrices. What has the size of θ_i stays with the agent.",
                2.0 * (AGENTS - 1) * ROUNDS * (PARAMETERS**2 + 1)),
        Mistake("parameters for C", "You have counted θ_i, 22 numbers. It stays with the agent; C is T × T.",
                2.0 * (AGENTS - 1) * ROUNDS * (PARAMETERS + 1)),
        Mistake("matrices of all parameters",
                "You have counted matrices of the size of all θ together. What has the size of θ stays with the "
                "agents; C is T × T.", 2.0 * (AGENTS - 1) * ROUNDS * ((AGENTS * PARAMETERS) ** 2 + 1)),
        Mistake("one message an agent",
                "You have counted one message an agent and round. To two neighbours it sends two; those at the ends "
                "have one neighbour.", 1.0 * AGENTS * ROUNDS * (BATCH**2 + 1)),
        Mistake("two messages an agent",
                "That is ten pairs of neighbours, or two messages an agent and round. A line of ten has nine pairs: "
                "those at its ends have one neighbour only.", 2.0 * AGENTS * ROUNDS * (BATCH**2 + 1)),
        Mistake("gradients", "You have counted 22 × 15 gradients. They stay with the agent.",
                2.0 * (AGENTS - 1) * ROUNDS * (PARAMETERS * BATCH + 1)),
        Mistake("not exact", "That is close, but it is to be exact: every factor is a whole number.",
                (400_000.0, 412_000.0)),
    ],
)  # fmt: skip

# -------------------------------------------------------------------------------------- 2: the regularised inverse


def regularised_inverse(hessians, td, sigma):
    """Return the inverse of T sigma I - K, with K = sum of td h and its indefinite part left out.

    `hessians` (T, n, n) are the h of the samples, `td` (T,) their TD errors, `sigma` is the regularisation of a sample.
    """
    return learner.regularised_inverse(np.tensordot(td, hessians, 1), len(td), sigma)


def _inverse(
    K: Callable = lambda td, h: np.tensordot(td, h, 1),
    bend: Callable = lambda e: np.maximum(e, 0.0),
    add: Callable = lambda T, n, sigma: T * sigma,
    join: Callable = lambda E, values: (E * values) @ E.T,
    value: Callable = lambda e: 1.0 / e,
    sign: float = -1.0,
) -> Callable:
    """Make the inverse from its parts; each may be replaced by a faulty one."""

    def inverse(hessians, td, sigma):
        e, E = np.linalg.eigh(sign * K(td, hessians))
        return join(E, value(bend(e) + add(len(td), len(e), sigma)))

    return inverse


def _inverse_of_clipped(hessians, td, sigma):
    K = sum(delta * h for delta, h in zip(td, hessians))
    e, E = np.linalg.eig(K)
    e, E = np.real(e), np.real(E)
    kept = E @ np.diag(np.where(e < 0, e, 0.0)) @ np.linalg.inv(E)
    return np.linalg.inv(len(td) * sigma * np.eye(len(K)) - kept)


def _inverse_by_modulus(hessians, td, sigma):
    K = np.einsum("t,tij->ij", td, hessians)
    left, values, right = np.linalg.svd(K)
    modulus = right.T @ np.diag(values) @ right  # |K|, from K'K
    return np.linalg.solve(len(td) * sigma * np.eye(len(K)) + (modulus - K) / 2, np.eye(len(K)))


def _inverse_shifted(hessians, td, sigma):
    K = np.tensordot(td, hessians, 1)
    matrix = len(td) * sigma * np.eye(len(K)) - K
    return np.linalg.inv(matrix + max(0.0, np.linalg.eigvalsh(K)[-1]) * np.eye(len(K)))


def _inverse_clipped_late(hessians, td, sigma):
    K = np.tensordot(td, hessians, 1)
    e, E = np.linalg.eigh(len(td) * sigma * np.eye(len(K)) - K)
    return (E / np.maximum(e, 0.0)) @ E.T


def _inverse_floored_late(hessians, td, sigma):
    e, E = np.linalg.eigh(len(td) * sigma * np.eye(hessians.shape[1]) - np.tensordot(td, hessians, 1))
    return (E / np.maximum(e, 1e-3 * len(td) * sigma)) @ E.T


def _inverse_of_larger(hessians, td, sigma):
    e, E = np.linalg.eigh(-np.tensordot(td, hessians, 1))
    return (E / np.maximum(e, len(td) * sigma)) @ E.T


def _inverse_of_clipped_entries(hessians, td, sigma):
    return np.linalg.inv(len(td) * sigma * np.eye(hessians.shape[1]) + np.maximum(-np.tensordot(td, hessians, 1), 0.0))


def _inverse_by_entries(hessians, td, sigma):
    return 1.0 / np.linalg.inv(regularised_inverse(hessians, td, sigma))


def _inverse_clipped_by_sample(hessians, td, sigma):
    total = len(td) * sigma * np.eye(hessians.shape[1])
    for delta, h in zip(td, hessians):
        e, E = np.linalg.eigh(-delta * h)
        total += (E * np.maximum(e, 0.0)) @ E.T
    return np.linalg.inv(total)


def _some_hessians(rng: np.random.Generator, T: int, n: int) -> np.ndarray:
    half = rng.normal(size=(T, n, n))
    return half + half.transpose(0, 2, 1)


def _inverse_probes(rng: np.random.Generator) -> list[tuple]:
    return [
        (_some_hessians(rng, T, n), rng.uniform(0.3, 2.0, T) * rng.choice([-1, 1], T), rng.uniform(0.05, 0.4))
        for T, n in ((4, 3), (3, 5), (6, 4), (5, 6))
    ]


inverse = Fill(
    2,
    "the regularised inverse",
    reference=regularised_inverse,
    probes=_inverse_probes,
    compare=close(rtol=1e-6, atol=1e-8),
    when_right="A local matter: what the agent leaves out it need not tell, and C stays positive semidefinite.",
    hints=[
        "K is a weighted sum of matrices: np.tensordot(td, hessians, 1). Then e, E = np.linalg.eigh(-K).",
        "In the directions with a negative eigenvalue of −K only TςI is left: np.maximum(e, 0). Then invert: the "
        "inverse has the same eigenvectors, and (E * values) @ E.T puts a matrix together again.",
    ],
    mistakes=[
        Mistake("mean for sum",
                "K is the mean over the batch; it is a sum, as G Gᵀ is, and TςI grows with T for that reason.",
                _inverse(K=lambda td, h: np.tensordot(td, h, 1) / len(td))),
        Mistake("ς without T", "The regularisation of a batch of T is Tς: ς is that of one sample.",
                _inverse(add=lambda T, n, sigma: sigma)),
        Mistake("ς divided by T", "The regularisation is T times ς, not divided by T.",
                _inverse(add=lambda T, n, sigma: sigma / T)),
        Mistake("ς times n", "The regularisation is ς times the number of samples, T, not times the size of a Hessian.",
                _inverse(add=lambda T, n, sigma: n * sigma)),
        Mistake("means for sums",
                "K and the regularisation are means over the batch. Both are sums: this is T times the inverse.",
                lambda hessians, td, sigma: len(td) * regularised_inverse(hessians, td, sigma)),
        Mistake("larger of both",
                "Each eigenvalue is the larger one of e and Tς. Tς is added to all of them.", _inverse_of_larger),
        Mistake("floor after adding",
                "TςI was added first, and what was still below a small number was raised to it: there the inverse is "
                "huge. First clip, then add: then nothing is below Tς.", _inverse_floored_late),
        Mistake("δ clipped",
                "The δ have been clipped, not the eigenvalues of −K: the Hessians of single samples may be indefinite.",
                _inverse(K=lambda td, h: np.tensordot(np.minimum(td, 0.0), h, 1), bend=lambda e: e)),
        Mistake("entries clipped",
                "Entries of −K have been clipped. It is its eigenvalues that may not be negative.",
                _inverse_of_clipped_entries),
        Mistake("entries inverted",
                "Every entry has been inverted by itself. The inverse of a matrix is another thing: "
                "invert the eigenvalues.", _inverse_by_entries),
        Mistake("sign of the Hessian", "The matrix is TςI − K; you have used + K.", _inverse(sign=1.0)),
        Mistake("δ left out", "In K each Hessian is multiplied by the δ of its sample.",
                _inverse(K=lambda td, h: h.sum(axis=0))),
        Mistake("K left out", "The Hessians are missing: this is 1/(Tς) times the identity.",
                _inverse(K=lambda td, h: 0.0 * h[0])),
        Mistake("no safeguard",
                "TςI − K itself is inverted. It is indefinite here, and along its negative directions the step would "
                "go uphill.", _inverse(bend=lambda e: e)),
        Mistake("moduli for zeros",
                "Negative eigenvalues of −K have been turned round. They are left out: set to 0.",
                _inverse(bend=np.abs)),
        Mistake("the wrong half left out", "You have left out the positive eigenvalues of −K: keep those.",
                _inverse(bend=lambda e: np.minimum(e, 0.0))),
        Mistake("directions dropped",
                "In the directions with a negative eigenvalue of −K the inverse is 0 now. TςI still holds there: "
                "1/(Tς).", _inverse(bend=lambda e: np.where(e > 0, e, np.inf))),
        Mistake("clipped after adding",
                "It is no number: have eigenvalues been inverted that were set to 0? First clip, then add Tς to all of "
                "them: then none is 0.", _inverse_clipped_late),
        Mistake("shifted until definite",
                "A multiple of I was added until no eigenvalue of −K was negative. That slows every direction down, "
                "also the good ones: set the negative ones to 0.", _inverse_shifted),
        Mistake("each sample by itself",
                "Every sample's matrix was made semidefinite before the sum. What cancels in the sum may stay: do it "
                "once, with −K.", _inverse_clipped_by_sample),
        Mistake("not inverted", "This is the matrix; its inverse is asked for.", _inverse(value=lambda e: e)),
        Mistake("eigenvectors transposed", "Eᵀ diag E was built; eigenvectors are the columns of E: E diag Eᵀ.",
                _inverse(join=lambda E, values: (E.T * values) @ E)),
    ],
    variants=[_inverse_of_clipped, _inverse_by_modulus],
)  # fmt: skip

# ------------------------------------------------------------------------------------------- 3: C by consensus


def shared_matrix(gradients, inverses, P, rounds):
    """Return what each agent takes C to be, shape (M, T, T).

    gradients[i] (T, n_i) and inverses[i] (n_i, n_i) are those of agent i; what they make is mixed by P (M, M) for so
    many `rounds`.
    """
    return _shared()(gradients, inverses, P, rounds)


def _shared(
    term: Callable = lambda g, Kt: g @ Kt @ g.T,
    mix: Callable = lambda P, rounds, terms: np.tensordot(np.linalg.matrix_power(P, rounds), terms, 1),
    scale: Callable = lambda M, T: M,
) -> Callable:
    """Make C from its parts; each may be replaced by a faulty one."""

    def shared(gradients, inverses, P, rounds):
        terms = np.array([term(g, Kt) for g, Kt in zip(gradients, inverses)])
        return scale(len(terms), terms.shape[1]) * mix(P, rounds, terms)

    return shared


def _mixed_one_by_one(P, rounds, terms):
    for _ in range(rounds):
        for i in range(len(P)):
            terms[i] = np.tensordot(P[i], terms, 1)
    return terms


def _shared_by_package(gradients, inverses, P, rounds):
    terms = [learner.contribution(g.T, Kt) for g, Kt in zip(gradients, inverses)]
    return len(terms) * average(P, terms, rounds).estimates


def _shared_by_loops(gradients, inverses, P, rounds):
    M, T = len(gradients), len(gradients[0])
    known = []
    for g, Kt in zip(gradients, inverses):
        known.append(M * np.array([[g[a] @ Kt @ g[b] for b in range(T)] for a in range(T)]))
    for _ in range(rounds):
        known = [sum(P[i, j] * known[j] for j in range(M)) for i in range(M)]
    return known


def _some_agents(rng: np.random.Generator, sizes, T: int) -> tuple[list, list]:
    gradients = [rng.normal(size=(T, n)) for n in sizes]
    inverses = [regularised_inverse(_some_hessians(rng, T, n), rng.normal(size=T), 0.2) for n in sizes]
    return gradients, inverses


def _shared_probes(rng: np.random.Generator) -> list[tuple]:
    probes = []
    for edges, sizes, T, rounds in (
        (line(3), (4, 3, 5), 3, 2),
        (star(4), (3, 3, 3, 3), 5, 3),
        (ring(5), (2, 4, 3, 2, 4), 3, 4),
        (line(3), (2, 4, 3), 4, 0),
    ):
        probes.append((*_some_agents(rng, sizes, T), mixing_matrix(len(sizes), edges), rounds))
    return probes


shared = Fill(
    3,
    "C by consensus",
    reference=shared_matrix,
    probes=_shared_probes,
    compare=close(rtol=1e-6, atol=1e-8),
    when_right="T × T numbers, whatever the number of parameters: all that the agents need of each other, besides δ.",
    hints=[
        "First every agent's own term, shape (T, T). With gradients as rows, G_i is `gradients[i].T`.",
        "Consensus acts on the list of terms as on numbers: np.tensordot(P, terms, 1) is one round for an array of "
        "shape (M, T, T). In the end the mean becomes a sum.",
    ],
    mistakes=[
        Mistake("mean for sum", "Consensus gives the mean of the terms; C is their sum, M times as much.",
                _shared(scale=lambda M, T: 1.0)),
        Mistake("mean over the samples", "You have divided by T as well; C is a plain sum.",
                _shared(scale=lambda M, T: M / T)),
        Mistake("nothing mixed", "Every agent takes its own term, times M, for C: nothing has been mixed.",
                _shared(mix=lambda P, rounds, terms: terms)),
        Mistake("own term only", "This is every agent's own term; C is a sum over all agents.",
                _shared(mix=lambda P, rounds, terms: terms, scale=lambda M, T: 1.0)),
        Mistake("exact sum",
                "All agents know the exact sum. Without a centre they can only mix with their neighbours, `rounds` "
                "times.",
                _shared(mix=lambda P, rounds, terms: np.tile(terms.mean(axis=0), (len(terms), 1, 1)))),
        Mistake("reshape for transpose",
                "`reshape` to the other shape is no transpose: it mixes up samples and parameters.",
                _shared(term=lambda g, Kt: g @ Kt @ g.reshape(g.shape[::-1]))),
        Mistake("diagonal of K̃", "Only the diagonal of K̃ is used: it is a full matrix.",
                _shared(term=lambda g, Kt: g * np.diag(Kt) @ g.T)),
        Mistake("I added", "This is I + C; C itself is asked for.",
                lambda gradients, inverses, P, rounds: (
                    np.eye(len(gradients[0])) + shared_matrix(gradients, inverses, P, rounds))),
        Mistake("T for M", "You have multiplied by T, the number of samples. The sum is M times the mean.",
                _shared(scale=lambda M, T: T)),
        Mistake("one agent after the other",
                "In a round an agent already hears what others have computed in the same round. All use the matrices "
                "of the round before.", _shared(mix=_mixed_one_by_one)),
        Mistake("a round too few", "This is one round less than asked for.",
                _shared(mix=lambda P, rounds, terms: (
                    np.tensordot(np.linalg.matrix_power(P, max(rounds - 1, 0)), terms, 1)))),
        Mistake("K̃ left out", "These are the inner products of the gradients: K̃ is missing between the two.",
                _shared(term=lambda g, Kt: g @ g.T)),
        Mistake("K̃ inverted once more", "`inverses` holds K̃ already; do not invert it again.",
                _shared(term=lambda g, Kt: g @ np.linalg.inv(Kt) @ g.T)),
        Mistake("K̃ twice", "K̃ stands once between the gradients.", _shared(term=lambda g, Kt: g @ Kt @ Kt @ g.T)),
        Mistake("diagonal only", "Only the diagonal is there: samples meet each other in C, too.",
                _shared(term=lambda g, Kt: np.diag(np.diag(g @ Kt @ g.T)))),
        Mistake("not symmetric: one triangle",
                "C is not symmetric. Its entry for two samples is the same whichever comes first: fill both triangles.",
                _shared(term=lambda g, Kt: np.triu(g @ Kt @ g.T))),
        Mistake("not symmetric: another order",
                "C is not symmetric: the samples stand in another order on one side than on the other.",
                _shared(term=lambda g, Kt: g[::-1] @ Kt @ g.T)),
        Mistake("one round only", "This is one round, whatever `rounds` says.",
                _shared(mix=lambda P, rounds, terms: np.tensordot(P, terms, 1) if rounds else terms)),
        Mistake("a round too many", "This is one round more than asked for.",
                _shared(mix=lambda P, rounds, terms: np.tensordot(np.linalg.matrix_power(P, rounds + 1), terms, 1))),
        Mistake("power entry by entry",
                "P ** rounds raises every entry of P to that power; rounds are products of matrices.",
                _shared(mix=lambda P, rounds, terms: np.tensordot(P**rounds, terms, 1))),
    ],
    variants=[_shared_by_package, _shared_by_loops],
)  # fmt: skip

# ----------------------------------------------------------------------------------------------- 4: the local step


def local_step(gradients, inverse, C, td):
    """Return d_i, shape (n_i,), from an agent's gradients (T, n_i), its inverse (n_i, n_i), C (T, T) and td (T,)."""
    return learner.second_order_local(gradients.T, inverse, C, td)


def _step(change: Callable) -> Callable:
    """Make a step from `change(b)`, where b holds G, Kt, C, td, I and A = I + C."""

    def step(gradients, inverse, C, td):
        eye = np.eye(len(td))
        return change(SimpleNamespace(G=gradients.T, Kt=inverse, C=C, td=td, I=eye, A=eye + C, T=len(td)))

    return step


def _step_as_published(gradients, inverse, C, td):
    G = gradients.T
    return inverse @ G @ td - inverse @ G @ np.linalg.inv(np.eye(len(td)) + C) @ (C @ td)


def _step_by_iteration(gradients, inverse, C, td):
    values, E = np.linalg.eigh((C + C.T) / 2)
    weights = np.zeros(len(td))
    for value, e in zip(values, E.T):
        weights += e * (e @ td) / (1.0 + value)
    return sum(w * (inverse @ g) for w, g in zip(weights, gradients))


def _step_probes(rng: np.random.Generator) -> list[dict]:
    probes = []
    for sizes, T in (((4, 3), 3), ((3, 5, 4), 5), ((6, 2, 3), 4)):
        gradients, inverses = _some_agents(rng, sizes, T)
        C = sum(g @ Kt @ g.T for g, Kt in zip(gradients, inverses))
        probes.append({"gradients": gradients[0], "inverse": inverses[0], "C": C, "td": rng.normal(size=T)})
    return probes


step = Fill(
    4,
    "the local step",
    reference=local_step,
    probes=_step_probes,
    compare=close(rtol=1e-6, atol=1e-8),
    when_right="It is agent i's part of the central step, to rounding: the next cell compares.",
    hints=[
        "From the right: first weights for the T samples, w = (I + C)⁻¹ δ, by np.linalg.solve; then gradients; then K̃.",
        "G_i w is `gradients.T @ w`. The order of the factors matters: K̃ is n × n, C is T × T.",
    ],
    mistakes=[
        Mistake("(I + C)⁻¹ forgotten",
                "Without (I + C)⁻¹ every agent goes as far as if it were alone: the network overshoots.",
                _step(lambda b: b.Kt @ b.G @ b.td)),
        Mistake("I forgotten", "C alone has been inverted: the identity is missing.",
                _step(lambda b: b.Kt @ b.G @ np.linalg.pinv(b.C) @ b.td)),
        Mistake("not inverted", "I + C multiplies δ; its inverse should.", _step(lambda b: b.Kt @ b.G @ b.A @ b.td)),
        Mistake("I − C for the inverse", "I − C is no inverse of I + C (only nearly, for a small C).",
                _step(lambda b: b.Kt @ b.G @ (b.I - b.C) @ b.td)),
        Mistake("sign of C", "The matrix is I + C, not I − C.",
                _step(lambda b: b.Kt @ b.G @ np.linalg.solve(b.I - b.C, b.td))),
        Mistake("what should be subtracted",
                "This is what the published form subtracts from K̃ G δ: (I + C)⁻¹ C δ instead of (I + C)⁻¹ δ.",
                _step(lambda b: b.Kt @ b.G @ np.linalg.solve(b.A, b.C @ b.td))),
        Mistake("own term for C",
                "You have made a C from the own gradients alone. It is the agreed one that is given.",
                _step(lambda b: b.Kt @ b.G @ np.linalg.solve(b.I + b.G.T @ b.Kt @ b.G, b.td))),
        Mistake("K̃ left out", "K̃ is missing in front of G.", _step(lambda b: b.G @ np.linalg.solve(b.A, b.td))),
        Mistake("K̃ twice", "K̃ stands once in front of G; another one is in C already.",
                _step(lambda b: b.Kt @ b.Kt @ b.G @ np.linalg.solve(b.A, b.td))),
        Mistake("ascent for descent", "The step goes the wrong way: where δ > 0, Q must rise.",
                _step(lambda b: -b.Kt @ b.G @ np.linalg.solve(b.A, b.td))),
        Mistake("mean for sum", "You have divided by T: sums over the batch stand on both sides.",
                _step(lambda b: b.Kt @ b.G @ np.linalg.solve(b.A, b.td) / b.T)),
        Mistake("diagonal of C", "Only the diagonal of C is used; samples that resemble each other share a correction.",
                _step(lambda b: b.Kt @ b.G @ (b.td / (1.0 + np.diag(b.C))))),
        Mistake("reshape for transpose",
                "`reshape` to the other shape is no transpose: it mixes up samples and parameters.",
                _step(lambda b: b.Kt @ b.G.T.reshape(b.G.shape) @ np.linalg.solve(b.A, b.td))),
        Mistake("entries inverted",
                "Every entry of I + C has been inverted by itself. The inverse of a matrix is another thing: solve.",
                _step(lambda b: b.Kt @ b.G @ (1.0 / b.A) @ b.td)),
        Mistake("1 for I", "1 was added to every entry of C. I is the identity matrix, 1 on the diagonal only.",
                _step(lambda b: b.Kt @ b.G @ np.linalg.solve(1.0 + b.C, b.td))),
        Mistake("K̃ inverted", "`inverse` holds K̃ already; do not invert it again.",
                _step(lambda b: np.linalg.solve(b.Kt, b.G @ np.linalg.solve(b.A, b.td)))),
        Mistake("δ in front",
                "Each sample's gradient was multiplied by its own δ, and then by a row sum of (I + C)⁻¹. The order "
                "matters: (I + C)⁻¹ times δ first.",
                _step(lambda b: b.Kt @ (b.G * b.td) @ np.linalg.inv(b.A).sum(axis=1))),
        Mistake("first order", "This is the first-order step G δ.", _step(lambda b: b.G @ b.td)),
    ],
    variants=[_step_as_published, _step_by_iteration],
)  # fmt: skip

# ------------------------------------------------------------------------------- 5: batches that do not match


def network_step(memories, seed, T, sigma):
    """Return d_1, …, d_M, each agent drawing its batch with a generator of its own, of one seed.

    Each of `memories` is an agent's: n samples, td (n,), the same for all, with its gradients g (n, n_i) and Hessians h
    (n, n_i, n_i). T of them are a batch, `sigma` is the regularisation of a sample.
    """
    return _network()(memories, seed, T, sigma)


def network_step_as_given(memories, seed, T, sigma):
    """Return what the faulty function of item 5 returns: all agents draw from one generator, one after the other.

    `memories`, `seed`, T and `sigma` are those of `network_step`.
    """
    return _network(generator=lambda i, seed, common: common)(memories, seed, T, sigma)


def _network(
    generator: Callable = lambda i, seed, common: np.random.default_rng(seed),
    draw: Callable = lambda rng, n, T: rng.choice(n, T, replace=False),
    hessian: Callable = lambda memory, batch: memory["h"][batch],
    errors: Callable = lambda memories, i, batch: memories[i]["td"][batch],
    weigh: Callable = lambda td, T: td,
    agree: Callable = lambda terms, i: sum(terms),
) -> Callable:
    """Make the network's step from its parts; each may be replaced by a faulty one."""

    def step(memories, seed, T, sigma):
        common, terms, parts = np.random.default_rng(seed), [], []
        for i, memory in enumerate(memories):
            batch = draw(generator(i, seed, common), len(memory["td"]), T)
            g, td = memory["g"][batch], errors(memories, i, batch)
            Kt = regularised_inverse(hessian(memory, batch), weigh(td, T), sigma)
            terms.append(g @ Kt @ g.T)
            parts.append((g, Kt, td))
        return [local_step(g, Kt, agree(terms, i), td) for i, (g, Kt, td) in enumerate(parts)]

    return step


def _network_drawn_once(memories, seed, T, sigma):
    batch = np.random.default_rng(seed).choice(len(memories[0]["td"]), T, replace=False)
    steps = learner.distributed_step(
        [memory["g"][batch] for memory in memories], [memory["h"][batch] for memory in memories],
        memories[0]["td"][batch], sigma,
    )  # fmt: skip
    return steps


def _network_as_one(memories, seed, T, sigma):
    batch = np.sort(np.random.default_rng(seed).choice(len(memories[0]["td"]), T, replace=False))
    gradients, hessians = ([memory[name][batch] for memory in memories] for name in "gh")
    return learner.central_step(gradients, hessians, memories[0]["td"][batch], sigma)


def memories_of(sizes, samples: int, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Draw the agents' memories: row tau of each is the same transition.

    Parameters
    ----------
    sizes : sequence of int
        Number of parameters of each agent.
    samples : int
    rng : numpy.random.Generator

    Returns
    -------
    list of dict
        ``td`` (samples,), the same for all; ``g`` (samples, n_i), gradients; ``h`` (samples, n_i, n_i), Hessians of the
        Lagrangian.
    """
    common, td = rng.normal(size=(samples, 3)), rng.normal(size=samples)
    memories = []
    for n in sizes:  # what all agents see of a transition, and what is their own
        g = common @ rng.normal(size=(3, n)) + 0.3 * rng.normal(size=(samples, n))
        memories.append({"td": td.copy(), "g": g, "h": 0.3 * _some_hessians(rng, samples, n)})
    return memories


def _memory_probes(rng: np.random.Generator) -> list[tuple]:
    # The batch is the whole memory: whichever way it is drawn, all batches that match give the same steps.
    return [
        (memories_of(sizes, samples, rng), int(rng.integers(10**6)), samples, rng.uniform(0.1, 0.4))
        for sizes, samples in (((3, 4, 3), 6), ((2, 3, 4, 2), 5), ((5, 3), 7))
    ]


def _draws_one_batch(step, memories, seed, T, sigma):
    """Tell whether a smaller batch is common to all agents, drawn at random, and the same for the same seed.

    `step` is the function in question, and `memories`, `seed`, T and `sigma` are what it is given.
    """
    few, compare = T - 2, close(rtol=1e-6, atol=1e-8)
    steps = {batch: _step_of(memories, batch, sigma) for batch in combinations(range(T), few)}
    drawn: list[tuple[int, ...]] = []
    for other in (0, 1, 2, 3, 0):
        taken = step(memories, seed + other, few, sigma)
        if compare(taken, _step_of(memories, range(T), sigma)) is True:
            return "All use the whole memory: aligned, but the batch has T transitions."
        fitting = [batch for batch, right in steps.items() if compare(taken, right) is True]
        if not fitting:
            return f"With a batch of {few} out of {T} transitions these are not the steps of one batch for all agents."
        drawn.append(fitting[0])
    if len(set(drawn)) == 1:
        ends = {tuple(range(few)): "the first T", tuple(range(T - few, T)): "the latest T"}
        return f"All take {ends.get(drawn[0], 'the same')} transitions whatever the seed: no longer a random batch."
    return drawn[0] == drawn[-1] or "With the same seed it draws another batch."


def _step_of(memories, batch, sigma: float):
    rows = list(batch)
    gradients, hessians = ([memory[name][rows] for memory in memories] for name in "gh")
    return learner.distributed_step(gradients, hessians, memories[0]["td"][rows], sigma)


debug = Debug(
    5,
    "batches that do not match",
    reference=network_step,
    given=network_step_as_given,
    probes=_memory_probes,
    compare=close(rtol=1e-6, atol=1e-8),
    properties=[("batches smaller than the memory", _draws_one_batch)],
    when_right="Row τ of every agent's G must be the same transition, or C adds up products of samples that have "
    "nothing to do with each other. No error is raised: C has the right shape, and is symmetric, either way.",
    hints=[
        "The first agent's part of C is right. What has changed when the second one draws?",
        "C adds up matrices whose entry (τ, τ') is about the transitions τ and τ'. Are these the same for all?",
        "Every agent needs a generator of its own that starts alike: where is np.random.default_rng(seed) called? "
        "Leave the draw itself as it is.",
    ],
    mistakes=[
        Mistake("a seed for each agent",
                "Every agent has a generator of its own now, but with another seed: they still draw different "
                "transitions.",
                _network(generator=lambda i, seed, common: np.random.default_rng(seed + i))),
        Mistake("with replacement",
                "The batches match, but transitions are drawn with replacement now: one may come twice.",
                _network(draw=lambda rng, n, T: rng.choice(n, T))),
        Mistake("δ aligned only",
                "All use the δ of the first agent's batch, but their gradients still come from batches of their own.",
                lambda memories, seed, T, sigma: _network(
                    generator=lambda i, seed, common: common,
                    errors=lambda memories, i, batch: memories[0]["td"][
                        np.random.default_rng(seed).choice(len(memories[0]["td"]), T, replace=False)],
                )(memories, seed, T, sigma)),
        Mistake("K of other transitions",
                "The gradients match now, but the Hessians are not those of the batch: they are the first T.",
                _network(hessian=lambda memory, batch: memory["h"][: len(batch)])),
        Mistake("own term for C",
                "Every agent uses its own term for C, and then it does not matter whether batches match. C is the sum "
                "over all agents.",
                _network(agree=lambda terms, i: terms[i])),
        Mistake("mean for sum in C", "The batches match, but C is a mean over the agents now; it is a sum.",
                _network(agree=lambda terms, i: sum(terms) / len(terms))),
        Mistake("first agent's term for C", "The batches match, but the first agent's term is used for C by all.",
                _network(agree=lambda terms, i: terms[0])),
        Mistake("mean for sum in K", "The batches match, but K is a mean over the batch now; it is a sum.",
                _network(weigh=lambda td, T: td / T)),
    ],
    variants=[_network_drawn_once, _network_as_one],
)  # fmt: skip

# --------------------------------------------------- a network that learns its value: what item 5 is pictured with

#: Five agents on a line: x_i - MEAN_i goes to PULL_i times it, plus SPREAD_i e_i, e_i ~ N(0, 1); they pay `task_cost`.
PULL, SPREAD = np.array([0.9, 0.5, 0.8, 0.3, 0.7]), np.array([0.1, 0.3, 0.15, 0.4, 0.2])
MEAN = np.array([1.0, -2.0, 1.0, 2.0, -1.0])
TASK_GAMMA, UPDATES, SAMPLES = 0.5, 60, 400
EDGES = line(len(PULL))
NEIGHBOURS = neighbours_of(len(PULL), EDGES)


def features(x) -> list[np.ndarray]:
    """Return what each agent's value is linear in: 1, x_i, x_i^2, and x_i x_j for its neighbours j.

    Of states x (n, 5); each agent's are of shape (n, 3 + its number of neighbours).
    """
    return [
        np.stack([np.ones(len(x)), x[:, i], x[:, i] ** 2, *(x[:, i] * x[:, j] for j in own)], axis=1)
        for i, own in enumerate(NEIGHBOURS)
    ]


def task_cost(x) -> np.ndarray:
    """Return the stage costs L_i = x_i^2 + 1/2 sum_j (x_i - x_j)^2 (neighbours j) of all agents, shape (n, 5).

    Of states x (n, 5).
    """
    pairs = [sum((x[:, i] - x[:, j]) ** 2 for j in own) for i, own in enumerate(NEIGHBOURS)]
    return np.stack([x[:, i] ** 2 + 0.5 * pair for i, pair in enumerate(pairs)], axis=1)


def exact_value(x) -> np.ndarray:
    """Return the network's exact value, shape (n,).

    The sum of the stage costs is x'W x with W = I + Laplacian; y = x - MEAN is uncorrelated from agent to agent.
    """
    W, y = np.eye(len(PULL)) + laplacian(len(PULL), EDGES), x - MEAN
    bend = W / (1 - TASK_GAMMA * np.outer(PULL, PULL))
    slope = 2 * W @ MEAN / (1 - TASK_GAMMA * PULL)
    constant = (MEAN @ W @ MEAN + TASK_GAMMA * np.diag(bend) @ SPREAD**2) / (1 - TASK_GAMMA)
    return np.einsum("ni,ij,nj->n", y, bend, y) + y @ slope + constant


def task(seed: int) -> SimpleNamespace:
    """Record 400 transitions of the five agents, and draw 300 states to test a learned value on, by a seed.

    Returned are `now` and `ahead`, the `features` of the states before and after each transition, `cost` (400,) of the
    network, `test`, the features of the 300 states, `value` (300,), their exact values, and `rng`, to go on with.
    """
    rng = np.random.default_rng(seed)
    usual = SPREAD / np.sqrt(1 - PULL**2)
    x = np.empty((SAMPLES + 1, len(PULL)))
    x[0] = MEAN + usual * rng.normal(size=len(PULL))
    for k, e in enumerate(rng.normal(size=(SAMPLES, len(PULL)))):
        x[k + 1] = MEAN + PULL * (x[k] - MEAN) + SPREAD * e
    test = MEAN + usual * rng.normal(size=(300, len(PULL)))
    return SimpleNamespace(now=features(x[:-1]), ahead=features(x[1:]), cost=task_cost(x[:-1]).sum(axis=1),
                           test=features(test), value=exact_value(test), rng=rng)  # fmt: skip


def learn(T: int, sigma: float, alpha: float, P, rounds: int, seed: int, aligned: bool = True) -> SimpleNamespace:
    """Learn the network's value with the distributed second-order step, 60 updates, a new batch each.

    The value is linear in theta: the Hessians are zero and each Kt is I / (T sigma).

    Parameters
    ----------
    T : int
        Batch.
    sigma, alpha : float
        Regularisation of a sample, step size.
    P : array_like, shape (5, 5)
    rounds : int
    seed : int
        Of the data, and of the batches.
    aligned : bool
        Whether all agents draw the same transitions.

    Returns
    -------
    SimpleNamespace
        error : ndarray, shape (61,), root mean square error of the value over its standard deviation; off : ndarray,
        shape (60,), distance of the step from the central one over the latter's length.
    """
    data, M = task(seed), len(PULL)
    mixed = M * np.linalg.matrix_power(np.asarray(P, dtype=float), int(rounds))
    theta = [np.zeros(f.shape[1]) for f in data.now]
    spread, error, off = data.value.std(), [], []

    def apart():
        value = sum(f @ own for f, own in zip(data.test, theta))
        return float(np.sqrt(np.mean((value - data.value) ** 2)) / spread)

    for _ in range(UPDATES):
        error.append(apart())
        v, v_next = (sum(f @ own for f, own in zip(part, theta)) for part in (data.now, data.ahead))
        td = data.cost + TASK_GAMMA * v_next - v
        batches = [data.rng.choice(SAMPLES, T, replace=False)] * M
        if not aligned:
            batches = [data.rng.choice(SAMPLES, T, replace=False) for _ in range(M)]
        G = [f[batch] for f, batch in zip(data.now, batches)]
        terms = np.array([g @ g.T for g in G]) / (T * sigma)
        C, exact = np.tensordot(mixed, terms, 1), terms.sum(axis=0)
        eye = np.eye(T)
        weights = np.linalg.solve(eye + C, np.array([td[batch] for batch in batches])[:, :, None])[:, :, 0]
        d = [g.T @ w / (T * sigma) for g, w in zip(G, weights)]
        central = [g.T @ np.linalg.solve(eye + exact, td[batch]) / (T * sigma) for g, batch in zip(G, batches)]
        apart_by = np.linalg.norm(np.concatenate(d) - np.concatenate(central))
        off.append(apart_by / np.linalg.norm(np.concatenate(central)))
        theta = [own + alpha * change for own, change in zip(theta, d)]
    return SimpleNamespace(error=np.array([*error, apart()]), off=np.array(off))


# ------------------------------------------------------------------------------- 6: how much agreement is enough

#: Three agents on a line whose middle one's cost counts twenty times those of the others, and a strong coupling.
TEAM = LinearTeam((0.05, 1.0, 0.05), -0.35)
RATIO, WORST, BUDGET, LOUDEST, MOST = 1.05, 1.1, 80_000, 1.0, 20_000
USUAL = {"rounds": 2, "step": 0.4, "samples": 1000, "iterations": 8, "exploration": 1.0}  # with these it learns well


def heard(rounds: int, step: float) -> np.ndarray:
    """Return how much each agent (row) counts the TD errors of all, shape (3, 3), after `rounds` of consensus.

    The mixing matrix is P = I - step Laplacian; without a round every agent has its own, times 3.
    """
    return TEAM.n_agents * np.linalg.matrix_power(mixing_matrix(TEAM.n_agents, line(TEAM.n_agents), step), rounds)


def learn_together(
    rounds: int, step: float, samples: int, iterations: int, exploration: float, seed: int
) -> np.ndarray:
    """Return cost over the team's optimum before each of all `iterations` and after the last, infinite once it is lost.

    In an iteration all agents record `samples` transitions with `exploration` noise on their inputs, by the generator
    of `seed`, agree on the TD error of each by consensus (`rounds` and `step` as in `heard`), evaluate, and improve:
    `mpcrl_course.learners.team`.
    """
    weights, rng = heard(rounds, step), np.random.default_rng(seed)
    learner = TeamIteration(TEAM, rng, M=samples, exploration=exploration, heard=weights)
    with np.errstate(over="ignore", invalid="ignore"):  # one that is lost is a result, too
        found = learner.run(iterations, progress=False).log.ratio
    return np.concatenate([found, np.full(iterations + 1 - len(found), np.inf)])


def numbers_of(rounds: int, samples: int, iterations: int) -> int:
    """Return how many numbers are sent: `rounds`, over two links, both ways, for all samples of all iterations."""
    return 4 * rounds * samples * iterations


def _hidden(answer, seed: int) -> dict[str, float]:
    if not isinstance(answer, dict) or set(answer) != set(USUAL):
        raise TypeError(f"give a dict with the keys {', '.join(USUAL)}")
    design: dict[str, Any] = {name: float(answer[name]) for name in USUAL}
    for name, value in design.items():
        if not (np.isfinite(value) and (value > 0 or (name == "rounds" and value == 0))):
            raise ValueError(f"{name} must be a positive number")
        if name in ("rounds", "samples", "iterations"):
            if value != int(value):
                raise ValueError(f"{name} is a whole number")
            design[name] = int(value)
    if design["exploration"] > LOUDEST:
        raise ValueError(f"inputs are noisy enough with an exploration of {LOUDEST:g}")
    if design["samples"] * design["iterations"] > MOST or design["rounds"] > 1000:
        raise ValueError(f"more than {MOST} samples in all, or more than 1000 rounds, are far beyond any budget here")
    measured = _measured(design, seed)
    measured["least weight of its own"] = float(np.diag(heard(design["rounds"], design["step"])).min())
    if _poor(measured) and design["rounds"]:  # which single change would do?
        for name, usual in USUAL.items():
            measured[f"with {name} = {usual:g}"] = _measured(design | {name: usual}, seed)["cost over the team's"]
    return measured


def _measured(design, seed: int) -> dict[str, float]:
    ends = [learn_together(**design, seed=seed + n)[-1] for n in range(4)]
    numbers = numbers_of(design["rounds"], design["samples"], design["iterations"])
    return {"cost over the team's": float(np.mean(ends)), "the worst of four": float(np.max(ends)),
            "numbers sent": float(numbers)}  # fmt: skip


def _answer(rounds=2, step=0.4, samples=1000, iterations=8, exploration=1.0) -> dict[str, Any]:
    return {"rounds": rounds, "step": step, "samples": samples, "iterations": iterations, "exploration": exploration}


def _poor(m) -> bool:
    return not (m["cost over the team's"] <= RATIO and m["the worst of four"] <= WORST)


def _dear(m) -> bool:
    return m["numbers sent"] > BUDGET


def _to_blame(name: str, m) -> bool:
    return _poor(m) and m[f"with {name} = {USUAL[name]:g}"] <= RATIO


def _too_much(name: str, answer, m) -> bool:
    return _dear(m) and m["numbers sent"] * USUAL[name] <= BUDGET * answer[name]


design = Design(
    6,
    "how much agreement is enough",
    reference=_answer(),
    measure=_hidden,
    targets={
        "cost over the team's": ("<=", RATIO),
        "the worst of four": ("<=", WORST),
        "numbers sent": ("<=", BUDGET),
    },
    when_right="A round or two do what a hundred do: whoever counts the others' costs at all pushes them no longer.",
    hints=[
        "After R rounds agent i learns from the sum of 3 (P^R)_ij δ_j: look at `heard(rounds, step)`. Whose costs must "
        "the agents at both ends count, and what if the middle one does not count its own?",
        "The budget: 4 · rounds · samples · iterations. The policy goes half of the way to the better one in an "
        "iteration, and 46 weights are fitted to the samples of one.",
        "Two rounds with a step of about 0.4, a thousand samples, eight iterations, the loudest exploration.",
    ],
    mistakes=[
        Mistake("nothing sent",
                "Without a round every agent learns from its own cost alone, and settles where nobody gains by "
                "changing alone, far from the team's optimum: more samples do not help.",
                lambda answer, m: _poor(m) and answer["rounds"] == 0, _answer(rounds=0)),
        Mistake("own cost forgotten",
                "After this one round an agent counts its neighbours' TD errors and hardly its own: P has next to "
                "nothing on the diagonal. See `heard(rounds, step)`.",
                lambda answer, m: _poor(m) and m["least weight of its own"] < 0.25, _answer(rounds=1, step=0.5)),
        Mistake("too few rounds",
                "Another round would do: the agents still count each other's costs too little.",
                lambda answer, m: _to_blame("rounds", m) and answer["rounds"] < USUAL["rounds"],
                _answer(rounds=1, step=0.25)),
        Mistake("P too slow",
                "P mixes slowly: after these rounds the agents still count mostly their own cost. Its step is small.",
                lambda answer, m: _to_blame("step", m) and answer["step"] < USUAL["step"], _answer(step=0.05)),
        Mistake("exploration too quiet",
                "With so little noise on the inputs the data hardly show what another input would have cost.",
                lambda answer, m: _to_blame("exploration", m), _answer(exploration=0.1)),
        Mistake("too few samples",
                "Of so few samples an iteration learns mostly noise, and the policy jumps about.",
                lambda answer, m: _to_blame("samples", m) and answer["samples"] < USUAL["samples"],
                _answer(samples=150)),
        Mistake("too few iterations",
                "The policy is still on its way: it goes half of the remaining way in an iteration.",
                lambda answer, m: _to_blame("iterations", m) and answer["iterations"] < USUAL["iterations"],
                _answer(iterations=3)),
        Mistake("more than one knob",
                "The cost is missed, and no single knob would mend it. Begin with the rounds and the step: whose costs "
                "do the agents count? Then samples and exploration, then iterations.",
                lambda answer, m: _poor(m), _answer(samples=150, iterations=3)),
        Mistake("too many rounds", "More rounds than are needed: the agents agree long before, and each costs as much "
                "as the first.", lambda answer, m: _too_much("rounds", answer, m), _answer(rounds=20)),
        Mistake("too many samples", "Samples are dear: the TD error of each is agreed on. Does it learn so much better "
                "with so many?", lambda answer, m: _too_much("samples", answer, m), _answer(samples=2400)),
        Mistake("too many iterations", "It has arrived long before: iterations are dear, too.",
                lambda answer, m: _too_much("iterations", answer, m), _answer(iterations=20)),
        Mistake("beyond the budget", "Rounds, samples and iterations each cost: all are a bit more than needed.",
                lambda answer, m: _dear(m), _answer(rounds=3, samples=1400, iterations=11)),
    ],
    variants=[
        _answer(rounds=4, step=0.5, samples=500, iterations=7),
        _answer(rounds=1, samples=2000),
        _answer(rounds=3, step=0.3, samples=700, iterations=8),
    ],
)  # fmt: skip

# ------------------------------------------------------------------------------------- 7: what a neighbour sees

explain = Explain(
    7,
    "what a neighbour sees",
    reference="a",
    choices={
        "a": "In the first round it gets agent 1's own T × T term, before anything is mixed: how long and how alike "
        "agent 1's gradients were, though neither the gradients nor θ.",
        "b": "Nothing of agent 1's own: θ, states, costs and gradients never leave it, and all that arrives is a sum "
        "over the agents, mixed.",
        "c": "In the first round it gets agent 1's own T × T term, and from that it can compute agent 1's gradients, "
        "and from these its θ and its states.",
        "d": "With many rounds nothing: only an agent that stops early still sees something of its neighbour's term.",
        "e": "Nothing: a T × T matrix says nothing about a matrix of gradients of another size.",
    },
    reasons={
        1: "What agent 1 sends first is what it starts from, and that is its own term.",
        2: "After many rounds all agents hold the same matrix, C.",
        3: "The entries of the term are the products gᵀK̃g′ of each two gradients g and g′ of agent 1.",
        4: "θ, states and costs are in no message, so that nothing can be concluded about them.",
        5: "If T is larger than the number of parameters, the term has more entries than there are unknowns in the "
        "gradients.",
        6: "If all of agent 1's gradients are turned by one rotation, and K̃ with them, its term stays the same.",
    },
    carrying=(1, 3, 6),
    when_right="So say that data stay local, not that nothing can be concluded from what is sent: see the discussion.",
    hints=[
        "Write down the message that travels from agent 1 to agent 2 in the first round, and in the second.",
        "The diagonal of agent 1's term is gᵀK̃g of each sample: what does it say about g, and what not? Does the "
        "matrix change if all gradients are turned by the same rotation (and K̃ with them)?",
        "The claim has three parts: that the term arrives unmixed, what it shows, and what it does not show. Each "
        "needs its reason.",
    ],
    mistakes=[
        Mistake("mixed from the start",
                "Before the first round nothing is mixed: what an agent sends first is its own term.", "b"),
        Mistake("too much",
                "The term is made of inner products. All gradients could be turned together, and it would stay the "
                "same: θ and the gradients cannot be computed from it.", "c"),
        Mistake("later rounds do not take back",
                "What was sent in the first round has been seen, however many rounds follow.", "d"),
        Mistake("size is no secret",
                "Its entries are inner products of gradients, one for each pair of samples: that is a lot.", "e"),
        Mistake("the end, not the way",
                "Reason 2 is true, but it is about the last round. What agent 2 has been told in the first one it "
                "keeps.", 2),
        Mistake("silent, yet told",
                "Not reason 4: what is in no message may still show in one. A long gradient, for one, tells of an "
                "active bound.", 4),
        Mistake("counting is not solving",
                "Not reason 5: it would speak for another claim, and however many entries there are, turned gradients "
                "give the same ones.", 5),
    ],
)  # fmt: skip

exercise = Exercise(
    12,
    "Faster, and what is shared?",
    [predict, inverse, shared, step, debug, design, explain],
)
