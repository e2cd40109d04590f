"""The package behind the lectures on model predictive control and reinforcement learning.

The rooms, from the ground up: `mpc` (optimal-control problems, alone and in networks, and their derivatives), `envs`
(plants) and `neural` (a small network); `dp` (dynamic programming on those plants), `policies` (ways to act),
`learners` (ways to learn) and `comparison` (closed loops compared fairly); `figures`, `live` (widgets) and `checks`
(the exercises); `cli` and `reproduce` (published runs made again). A room imports only from rooms below it.
"""

__version__ = "0.1.0"
