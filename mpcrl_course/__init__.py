"""The package behind the lectures on model predictive control and reinforcement learning.

The rooms, from the ground up: `mpc` (optimal-control problems and their derivatives), `envs` (plants) and `neural`
(a small network); `dp` (dynamic programming on those plants), `policies` (ways to act) and `learners` (ways to
learn); `figures`, `live` (widgets) and `checks` (the exercises). A room imports only from rooms below it.
"""

__version__ = "0.1.0"
