"""Q-learning on the parameters of an MPC, first and second order (Gros & Zanon 2020; Esfahani et al. 2021).

    delta   = L(s, a) + gamma V_theta(s+) - Q_theta(s, a)
    first:  theta <- theta + alpha * mean of delta grad Q
    second: theta <- theta + alpha * (sum of grad Q grad Q' - delta hess Q + sigma I)^-1 * sum of delta grad Q

V_theta, Q_theta and their derivatives come from one optimal-control problem. The second-order step is Newton's on
1/2 delta^2 with a fixed target (semi-gradient); where its matrix is indefinite it is shifted (`second_order_step`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from tqdm.auto import tqdm

from mpcrl_course.learners.behaviour import as_schedule, greedy
from mpcrl_course.learners.log import Log, load_run, save_state
from mpcrl_course.learners.replay import Replay
from mpcrl_course.mpc import MPC, SolverError


def td_error(mpc: MPC, theta, s, a, cost, s_next, terminated=False):
    """Return (delta, solution of Q) of one transition at theta, solving V(s_next) and Q(s, a)."""
    q = mpc.Q(theta, s, a)
    target = cost if terminated else cost + mpc.discount * mpc.V(theta, s_next).value
    return target - q.value, q


def first_order_step(gradients: np.ndarray, td: np.ndarray) -> np.ndarray:
    """Return the mean of delta * grad Q over a batch: gradients of shape (T, n_theta), td of shape (T,)."""
    return gradients.T @ td / len(td)


def second_order_step(gradients: np.ndarray, td: np.ndarray, sigma: float, hessians=None) -> np.ndarray:
    """Return (G G' - K + sigma I)^-1 G td with G = gradients' and K = sum of td * hessians.

    Without Hessians and for one sample that is a normalised gradient, td * g / (|g|^2 + sigma); for more it follows
    from the singular values of G, whatever the batch. With Hessians the matrix can be indefinite: then a multiple of
    the identity is added that makes it positive definite, so that the step descends on the squared TD error.

    Parameters
    ----------
    gradients : ndarray, shape (T, n_theta)
    td : ndarray, shape (T,)
    sigma : float
        Regularisation.
    hessians : ndarray, shape (T, n_theta, n_theta), optional
    """
    if hessians is None:
        if len(td) == 1:
            g = gradients[0]
            return g * (td[0] / (g @ g + sigma))
        U, singular, Vt = np.linalg.svd(gradients, full_matrices=False)
        return Vt.T @ (singular / (singular**2 + sigma) * (U.T @ td))
    eigenvalues, E = np.linalg.eigh(gradients.T @ gradients - np.tensordot(td, hessians, axes=1))
    shift = sigma + max(0.0, -2.0 * float(eigenvalues[0]))
    return E @ ((E.T @ (gradients.T @ td)) / (eigenvalues + shift))


def q_learning(
    mpc: MPC,
    env,
    theta=None,
    *,
    steps: int,
    rng: np.random.Generator,
    step_size: float | Callable = 0.05,
    order: int = 2,
    hessian: str = "approximate",
    sigma: float = 1e-3,
    act: str = "before",
    behaviour: Callable = greedy,
    replay: Replay | None = None,
    fresh: bool = False,
    lower=None,
    upper=None,
    save=None,
    save_every: int = 1000,
    resume: bool = False,
    progress: bool = True,
    on_step: Callable | None = None,
) -> Log:
    """Learn theta by Q-learning while controlling `env`.

    Parameters
    ----------
    mpc : MPC
        Gives V, Q, the policy, the gradient and the discount.
    env : gymnasium.Env
        The plant; its reward is minus the stage cost. It draws its noise from `rng` too.
    theta : array_like, optional
        Where learning starts; by default the problem's initial parameters.
    steps : int
        Number of steps in total (also when resumed).
    rng : numpy.random.Generator
        All randomness of the run.
    step_size : float or schedule
    order : {1, 2}
        First order (gradient) or second order (Newton type).
    hessian : {'none', 'approximate', 'exact'}
        Which Hessian of Q the second-order step uses: none (Gauss-Newton), that of the Lagrangian, which leaves out how
        the solution moves with theta (zero, and skipped, if the Lagrangian is affine in theta), or the exact one from
        the KKT system.
    sigma : float
        Regularisation of the second-order step.
    act : {'before', 'after'}
        Whether the next action comes from theta before its update (the solution that also gave the target's V) or
        from the updated theta. It decides: acting after the update puts Q(s, pi(s)) on its kink.
    behaviour : callable
        How to act; see `mpcrl_course.learners.behaviour`.
    replay : Replay, optional
        By default only the latest sample is used.
    fresh : bool
        Whether TD errors and gradients of replayed samples are computed again at the current theta, or used as they
        were computed when the sample was new.
    lower, upper : array_like, optional
        Bounds on theta; an update that leaves them is cut off.
    save, save_every, resume
        Path (without suffix) of a state that is written every `save_every` steps and at the end, and from which the run
        goes on bit for bit if `resume`. An interrupted run goes on from the last state that was written.
    progress : bool
        Whether to show a progress bar.
    on_step : callable (k, theta), optional
        Called after every step (for live pictures).

    Returns
    -------
    Log
        Failed solves are skipped and counted; the run stops if 200 follow each other.
    """
    if order not in (1, 2) or act not in ("before", "after") or hessian not in ("none", "approximate", "exact"):
        raise ValueError(
            "order must be 1 or 2, act 'before' or 'after', hessian 'none', 'approximate' or 'exact', "
            f"not {order!r}, {act!r} and {hessian!r}"
        )
    if order == 1 or (hessian == "approximate" and mpc.lagrangian_is_affine):
        hessian = "none"
    theta = mpc.parameters.initial() if theta is None else mpc.parameters.check(theta).copy()
    lower = -np.inf if lower is None else mpc.parameters.check(lower, finite=False)
    upper = np.inf if upper is None else mpc.parameters.check(upper, finite=False)
    replay, alpha = replay or Replay(), as_schedule(step_size)
    if save and env is not env.unwrapped:
        raise ValueError(f"a run that is saved needs the plant itself, not {env}: a wrapper's own state would be lost")
    env.unwrapped.np_random = rng
    log = Log.empty(steps, mpc.problem.n_states, mpc.problem.n_inputs, theta.size)
    began, k0, failures = time.perf_counter(), 0, 0

    def behave(k, solution, theta):
        return behaviour(k, solution, lambda q: mpc.policy(theta, solution.state, perturbation=q), rng)

    if resume:
        k0, theta, s, a, seconds, failures = _load(save, log, env, replay, rng)
        began -= seconds
    else:
        s, _ = env.reset()
        a = behave(0, mpc.policy(theta, s), theta)
    log.theta[k0] = theta
    if save and not resume:
        _save(save, 0, log, theta, s, a, env, replay, rng, 0.0, 0)
    k = k0
    try:
        for k in tqdm(range(k0, steps), initial=k0, total=steps, disable=not progress, desc="Q-learning", unit="step"):
            s_next, reward, terminated, truncated, _ = env.step(a)
            cost = -reward
            log.x[k], log.u[k], log.cost[k] = s, a, cost
            theta_new, a_next, ended = theta, a, terminated or truncated
            try:
                # termination ends the sum of costs: no bootstrapping; truncation only ends the episode
                v = None if terminated else mpc.V(theta, s_next)
                if act == "before" and not ended:
                    a_next = behave(k + 1, v, theta)
                q = mpc.Q(theta, s, a)
                delta = cost + (0.0 if v is None else mpc.discount * v.value) - q.value
                log.td[k] = delta
                replay.add(s=s, a=a, cost=cost, s_next=s_next, terminated=terminated, td=delta,
                           **_derivatives(q, hessian))  # fmt: skip
                batch = replay.draw(rng)
                if fresh:
                    batch = [_again(mpc, theta, sample, hessian) for sample in batch]
                G, td = np.array([b["g"] for b in batch]), np.array([b["td"] for b in batch])
                if order == 1:
                    step = first_order_step(G, td)
                else:
                    H = None if hessian == "none" else np.array([b["h"] for b in batch])
                    step = second_order_step(G, td, sigma, H)
                with np.errstate(over="ignore", invalid="ignore"):
                    update = theta + alpha(k) * step
                if not np.isfinite(update).all():
                    raise SolverError("not converged", "the update of theta is not finite", s, a, theta)
                theta_new = np.minimum(np.maximum(update, lower), upper)
                failures = 0
            except (SolverError, np.linalg.LinAlgError) as error:
                log.failed[k], log.td[k], failures = True, np.nan, failures + 1
                if failures >= 200:
                    log.stopped = f"200 solves failed in a row, the last with: {error}"
            theta = theta_new
            log.theta[k + 1] = theta
            if ended:
                s_next, _ = env.reset()
            if ended or act == "after":
                try:
                    a_next = behave(k + 1, mpc.policy(theta, s_next), theta)
                except SolverError:
                    log.failed[k] = True
            s, a = s_next, a_next
            if on_step:
                on_step(k, theta)
            if save and (k + 1) % save_every == 0:
                _save(save, k + 1, log, theta, s, a, env, replay, rng, time.perf_counter() - began, failures)
            if log.stopped:
                break
        k = k + 1 if steps > k0 else k0
    except KeyboardInterrupt:
        # the step that was interrupted is dropped: with `save`, resume from the last state written
        log.stopped = f"interrupted in step {k}"
    log.seconds = time.perf_counter() - began
    if save and not log.stopped:
        _save(save, k, log, theta, s, a, env, replay, rng, log.seconds, failures)
    return log.until(k)


def _derivatives(q, hessian):
    if hessian == "none":
        return {"g": q.gradient()}
    return {"g": q.gradient(), "h": q.hessian(exact=hessian == "exact")}


def _again(mpc, theta, sample, hessian):
    td, q = td_error(mpc, theta, sample["s"], sample["a"], sample["cost"], sample["s_next"], sample["terminated"])
    return {"td": td, **_derivatives(q, hessian)}


def _save(path, k, log, theta, s, a, env, replay, rng, seconds, failures):
    arrays = {"x": log.x[:k], "u": log.u[:k], "cost": log.cost[:k], "td": log.td[:k], "theta": log.theta[: k + 1],
              "failed": log.failed[:k], "s": s, "a": a, **replay.arrays()}  # fmt: skip
    scalars = {"k": k, "seconds": seconds, "failures": failures}
    scalars |= {"env": env.state_dict(), "rng": rng.bit_generator.state}
    save_state(path, arrays, scalars)


def _load(path, log, env, replay, rng):
    arrays, scalars = load_run(path, len(log.cost))
    k = scalars["k"]
    for name in ("x", "u", "cost", "td", "failed"):
        getattr(log, name)[:k] = arrays[name]
    log.theta[: k + 1] = arrays["theta"]
    replay.load(arrays)
    rng.bit_generator.state = scalars["rng"]
    env.reset()
    env.load_state_dict(scalars["env"])
    rng.bit_generator.state = scalars["rng"]
    return k, log.theta[k].copy(), arrays["s"], arrays["a"], scalars["seconds"], scalars["failures"]
