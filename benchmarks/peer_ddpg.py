"""The peer's side of the DDPG benchmark: the same update in PyTorch, on the CPU.

Run by the peer's Python (see `peers.py`), not by ours; imports nothing of this project. It reads a file that
`bench_ddpg.py` wrote: first weights, batches, and what our update made of them. Then

1. checks that it computes the same: weights of all four networks after the batches of the file;
2. times the update: targets, critic step, actor step (both Adam), two soft updates;
3. prints one line of JSON. Exit code 1 if the check fails.

Two ways are timed. "usual": as common single-file implementations write it, `torch.optim.Adam` as it comes and a loop
over the parameters for the soft updates. "tuned": fused Adam, soft updates by `torch._foreach_lerp_`, and no gradients
of the critic's weights in the actor's step. Each with one thread and with as many as PyTorch likes; the better counts.
"""

import copy
import json
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn

TOLERANCE = 1e-4


def network(n_inputs, flat):
    """Return 2 x 64 ReLU with the weights of a flat vector, ordered W1, b1, W2, … with W of shape (in, out)."""
    sizes, layers, at = (n_inputs, 64, 64, 1), [], 0
    for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:])):
        layer = nn.Linear(a, b)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(flat[at : at + a * b].reshape(a, b).T.copy()))
            layer.bias.copy_(torch.tensor(flat[at + a * b : at + (a + 1) * b]))
        layers += [layer] + ([nn.ReLU()] if i < 2 else [])
        at += (a + 1) * b
    return nn.Sequential(*layers)


def flat(net):
    """Return the weights in our order."""
    parts = []
    for layer in net:
        if isinstance(layer, nn.Linear):
            parts += [layer.weight.detach().numpy().T.ravel(), layer.bias.detach().numpy()]
    return np.concatenate(parts)


class Agent:
    """DDPG's four networks and two optimisers; actions within +-2."""

    def __init__(self, tuned, actor, critic, actor_rate, critic_rate, gamma, tau):
        self.tuned = tuned
        self.actor, self.critic, self.gamma, self.tau = network(3, actor), network(4, critic), gamma, tau
        self.target_actor, self.target_critic = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), actor_rate, fused=tuned or None)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), critic_rate, fused=tuned or None)
        self.pairs = [
            (list(slow.parameters()), list(fast.parameters()))
            for slow, fast in ((self.target_actor, self.actor), (self.target_critic, self.critic))
        ]

    def update(self, s, a, cost, s_next, terminated):
        """Make one update."""
        with torch.no_grad():
            a_next = 2 * torch.tanh(self.target_actor(s_next))
            y = cost + self.gamma * (1 - terminated) * self.target_critic(torch.cat([s_next, a_next], 1))
        loss = 0.5 * ((self.critic(torch.cat([s, a], 1)) - y) ** 2).mean()
        self.critic_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_adam.step()
        if self.tuned:
            self.critic.requires_grad_(False)
        loss = self.critic(torch.cat([s, 2 * torch.tanh(self.actor(s))], 1)).mean()
        self.actor_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.actor_adam.step()
        if self.tuned:
            self.critic.requires_grad_(True)
        with torch.no_grad():
            for slow, fast in self.pairs:
                if self.tuned:
                    torch._foreach_lerp_(slow, fast, self.tau)
                else:
                    for target, weight in zip(slow, fast):
                        target.copy_(self.tau * weight + (1 - self.tau) * target)


def main():
    file = np.load(sys.argv[1])
    settings = {name: float(file[name]) for name in ("actor_rate", "critic_rate", "gamma", "tau")}

    cuts = [3, 1, 1, 3, 1]
    batches = [torch.split(torch.tensor(rows), cuts, dim=1) for rows in file["batches"]]
    names = ("actor", "critic", "target_actor", "target_critic")
    answer = {"torch": torch.__version__}
    for way in ("usual", "tuned"):
        agent = Agent(way == "tuned", file["actor"], file["critic"], **settings)
        for batch in batches:
            agent.update(*batch)
        error = max(float(np.abs(flat(getattr(agent, name)) - file[f"after_{name}"]).max()) for name in names)
        if error > TOLERANCE:
            print(json.dumps({"error": error}))
            print(f"PyTorch computes something else: weights differ by {error:.1e}", file=sys.stderr)
            return 1
        timed = [clock(agent, batches, threads) for threads in sorted({1, torch.get_num_threads()})]
        answer[way] = min(timed, key=lambda result: result["cpu_median"]) | {"error": error}
    print(json.dumps(answer))
    return 0


def clock(agent, batches, threads):
    """Return the median times of an update."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    wall, cpu = [], []
    for round_ in range(4):
        t, c = time.perf_counter(), time.process_time()
        for k in range(300):
            agent.update(*batches[k % len(batches)])
        if round_ > 0:
            wall.append((time.perf_counter() - t) / 300)
            cpu.append((time.process_time() - c) / 300)
    torch.set_num_threads(before)
    return {"wall_median": statistics.median(wall), "cpu_median": statistics.median(cpu), "threads": threads}


if __name__ == "__main__":
    sys.exit(main())
