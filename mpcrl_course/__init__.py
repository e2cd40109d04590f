"""The package behind the lectures on model predictive control and reinforcement learning.

The rooms, from the ground up: `mpc` (optimal-control problems, alone and in networks, and their derivatives), `envs`
(plants) and `neural` (a small network); `closed_loop` (a controller on a plant) and `statistics` (what may be said of
costs); `dp` (dynamic programming on those plants), `policies` (ways to act) and `learners` (ways to learn); `figures`,
`live` (widgets) and `checks` (the exercises); `cli` and `reproduce` (published runs made again). A room imports only
from rooms below it.
"""

__version__ = "0.1.0"
