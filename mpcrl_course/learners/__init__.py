"""Ways to learn: one algorithm a file, an object with `step`; `run` is the same for all."""

from mpcrl_course.learners.behaviour import constant, epsilon_greedy, exponential, greedy, noisy, perturbed_cost
from mpcrl_course.learners.blended import BlendedIteration, blend, lstd_q, mixture
from mpcrl_course.learners.blended_target import BlendedDDPG
from mpcrl_course.learners.constrained import PrimalDual
from mpcrl_course.learners.cross_entropy import CrossEntropy
from mpcrl_course.learners.ddpg import DDPG, ActorCritic, noisy_action, pendulum_policy, pendulum_value
from mpcrl_course.learners.decomposed import DecomposedTD
from mpcrl_course.learners.distributed import DistributedQLearning, central_step, distributed_step
from mpcrl_course.learners.fitted_q import FittedQ, Logged, evaluated, logged, quadratic_iteration, targets
from mpcrl_course.learners.guided import Demonstrated, Guided, SkipPolicy, transitions
from mpcrl_course.learners.identification import identify
from mpcrl_course.learners.imitation import DAgger, Pupil, clone, demonstrate, hanging, mirror_images
from mpcrl_course.learners.latent import LatentLearning, LatentModel
from mpcrl_course.learners.layered import LayerLearning
from mpcrl_course.learners.local_critic import (
    LocalCritic,
    LocalIteration,
    actor_gradient,
    curvature,
    filtered,
    gauss_newton_step,
    limited,
    local_fit,
    lstd,
)
from mpcrl_course.learners.log import Log, saved_log
from mpcrl_course.learners.perturbation import Perturbation
from mpcrl_course.learners.policy_gradient import PolicyGradient
from mpcrl_course.learners.q_learning import QLearning
from mpcrl_course.learners.regression import cartpole_transitions, fit
from mpcrl_course.learners.replay import Replay
from mpcrl_course.learners.run import Learner
from mpcrl_course.learners.surrogate import GaussianProcess, expected_improvement
from mpcrl_course.learners.tabular import TabularQLearning
from mpcrl_course.learners.team import TeamIteration
from mpcrl_course.learners.terminal_value import TerminalValue
from mpcrl_course.learners.through_time import ThroughTime
from mpcrl_course.learners.trained import trained_agent, trained_policies
from mpcrl_course.learners.tuning import CMAES, TUNERS, BayesianSearch, CrossEntropySearch, SurrogateSearch, Tuner

__all__ = [
    "CMAES",
    "DDPG",
    "TUNERS",
    "BayesianSearch",
    "CrossEntropySearch",
    "FittedQ",
    "GaussianProcess",
    "Logged",
    "SurrogateSearch",
    "Tuner",
    "evaluated",
    "expected_improvement",
    "logged",
    "quadratic_iteration",
    "targets",
    "DAgger",
    "Demonstrated",
    "Guided",
    "SkipPolicy",
    "transitions",
    "Pupil",
    "clone",
    "demonstrate",
    "hanging",
    "mirror_images",
    "ActorCritic",
    "BlendedDDPG",
    "BlendedIteration",
    "CrossEntropy",
    "DecomposedTD",
    "DistributedQLearning",
    "LatentLearning",
    "LatentModel",
    "LayerLearning",
    "Learner",
    "LocalCritic",
    "LocalIteration",
    "Log",
    "Perturbation",
    "PolicyGradient",
    "PrimalDual",
    "QLearning",
    "Replay",
    "TabularQLearning",
    "actor_gradient",
    "blend",
    "TeamIteration",
    "TerminalValue",
    "ThroughTime",
    "cartpole_transitions",
    "central_step",
    "constant",
    "curvature",
    "distributed_step",
    "epsilon_greedy",
    "exponential",
    "filtered",
    "fit",
    "gauss_newton_step",
    "greedy",
    "identify",
    "limited",
    "local_fit",
    "lstd",
    "lstd_q",
    "mixture",
    "noisy",
    "noisy_action",
    "pendulum_policy",
    "pendulum_value",
    "perturbed_cost",
    "saved_log",
    "trained_agent",
    "trained_policies",
]
