"""The package behind the lectures on model predictive control and reinforcement learning.

The rooms, from the ground up; a room imports only from those before it:

lectures, places, validation, own
    The table of the lectures; where the course and its shipped numbers are (`data` has them, and the scripts that made
    them); checks of what comes from outside; a reader's own function in the place of one of ours.
mpc, network, population, mlp
    An optimal-control problem, its V, Q and policy, and their derivatives; many of them on a graph; exchangeable
    agents, controlled exactly by their counts; a perceptron.
statistics, closed_loop, envs
    What may be said of costs; a controller on a plant; the plants.
dp, problems, policies, learners
    Exact answers on grids; the optimal-control problem of each plant; ways to act; ways to learn.
figures, live, reproduce, bring, slides
    Pictures, tables and predictions; widgets; published results made again; a plant of the
    reader's own; lectures as slides.
checks, cli
    What checks the exercises, and makes them from their solutions; the command line.

`CONTRIBUTING.md` shows how a plant, a policy or a learner is added.
"""

__version__ = "0.1.0"
