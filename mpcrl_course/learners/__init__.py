"""Ways to learn: one algorithm a file, an object with `step`; `run` is the same for all."""

from mpcrl_course.learners.behaviour import constant, epsilon_greedy, exponential, greedy, noisy, perturbed_cost
from mpcrl_course.learners.constrained import PrimalDual
from mpcrl_course.learners.cross_entropy import CrossEntropy
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, noisy_action, pendulum_policy, pendulum_value
from mpcrl_course.learners.distributed import DistributedQLearning, central_step, distributed_step
from mpcrl_course.learners.identification import identify
from mpcrl_course.learners.latent import LatentLearning, LatentModel
from mpcrl_course.learners.log import Log, saved_log
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.learners.regression import cartpole_transitions, fit
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.learners.tabular import TabularQLearning
from mpcrl_course.learners.trained import trained_agent, trained_policies

__all__ = [
    "DDPG",
    "ActorCritic",
    "CrossEntropy",
    "DistributedQLearning",
    "LatentLearning",
    "LatentModel",
    "Learner",
    "Log",
    "PrimalDual",
    "QLearning",
    "Replay",
    "TabularQLearning",
    "cartpole_transitions",
    "central_step",
    "constant",
    "distributed_step",
    "epsilon_greedy",
    "exponential",
    "fit",
    "greedy",
    "identify",
    "noisy",
    "noisy_action",
    "pendulum_policy",
    "pendulum_value",
    "perturbed_cost",
    "saved_log",
    "trained_agent",
    "trained_policies",
]
