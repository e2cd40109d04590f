"""A DDPG update (2 x 64 units, batch 64, actor and critic) against PyTorch on the CPU, and a whole training run."""

import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import numpy as np
import peers
from table import Seconds, alternate, budget, compare, median, once, table

from mpcrl_course.dp.pendulum import evaluate
from mpcrl_course.envs.pendulum import Pendulum
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, pendulum_policy
from mpcrl_course.learners.replay import Replay

LIMIT_MS = 0.3  # CPU of an update: shown, not judged
TARGET, ROUNDS = 3.0, 3  # times less CPU than PyTorch as it is usually written


def problem():
    """Return an agent and batches of true transitions under random torques."""
    rng = np.random.default_rng(0)
    env, memory = Pendulum(), Replay(5000, 64, dtype=np.float32, s=3, a=1, cost=1, s_next=3, terminated=1)
    env.np_random = rng
    s, _ = env.reset()
    for _ in range(5000):
        a = rng.uniform([-2], [2])
        s_next, reward, terminated, truncated, _ = env.step(a)
        memory.add(s=s, a=a, cost=-reward, s_next=s_next, terminated=terminated)
        s = env.reset()[0] if truncated else s_next
    agent = ActorCritic(3, [-2], [2], rng)
    return agent, [memory.draw(rng) for _ in range(50)]


def main():
    """Print the tables; exit code 1 if an update is less than 3 times faster than PyTorch's."""
    agent, batches = problem()
    given = {"actor": agent.actor.theta.copy(), "critic": agent.critic.theta.copy(), "tau": agent.tau}
    given |= {"actor_rate": agent.actor_adam.rate, "critic_rate": agent.critic_adam.rate, "gamma": agent.gamma}
    for batch in batches:
        agent.update(batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ddpg.npz"
        after = {f"after_{n}": getattr(agent, n).theta for n in ("actor", "critic", "target_actor", "target_critic")}
        np.savez(path, batches=np.array([np.hstack(b) for b in batches]), **given, **after)
        turn, answers = cycle(batches), []

        def theirs():
            answers.append(peers.run("torch", "peer_ddpg.py", str(path)))
            return Seconds(answers[-1]["usual"]["wall_median"], answers[-1]["usual"]["cpu_median"])

        ours, _ = alternate(ROUNDS, lambda: once(lambda: agent.update(next(turn)), repeats=1000), theirs)
    ok, peer = True, answers[-1]
    for way, target in (("usual", TARGET), ("tuned", None)):
        result, found = peer[way], [Seconds(one[way]["wall_median"], one[way]["cpu_median"]) for one in answers]
        title = (
            f"DDPG update, 2 x 64, batch 64 (peer: PyTorch {peer['torch']} on {result['threads']} thread(s), {way}; "
        )
        title += f"weights after 50 updates agree to {result['error']:.0e})"
        ok &= compare(title, ours, found, target=target)
    print(f"  at most {LIMIT_MS} ms of CPU an update: {budget(1e3 * median(ours).cpu, LIMIT_MS)}")

    rows = []
    for seed in range(2):
        t, c = time.perf_counter(), time.process_time()
        trained = DDPG(Pendulum(), np.random.default_rng(seed)).run(20_000, progress=False).agent
        wall, cpu = time.perf_counter() - t, time.process_time() - c
        rows.append([f"seed {seed}", wall, cpu, f"{evaluate(pendulum_policy(trained)).mean():.1f}"])
    table(
        "The same with plant, replay, log: 20 000 steps", rows, ["run", "wall s", "CPU s", "cost of the fixed starts"]
    )
    return ok


if __name__ == "__main__":
    sys.exit(not main())
