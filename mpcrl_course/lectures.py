"""The lectures of the course: the one table that the map, the lists in the READMEs, benchmarks and tests are made of.

A lecture that is added gets its notebook's name here; tests/test_lectures.py then says what else has to follow.
"""

from __future__ import annotations

from typing import NamedTuple


class Lecture(NamedTuple):
    """A lecture, there or planned.

    Attributes
    ----------
    number : int
        From 1.
    question : str
        Its title.
    about : str
        What it is about, in catchwords.
    needs : tuple of int
        The lectures on which it builds.
    notebook : str
        Name of its notebooks in ``lectures/``, ``exercises/`` and ``solutions/``, without ``.ipynb``; '' while it is
        in preparation.
    live : tuple of str
        The modules of `mpcrl_course.live` whose widgets it shows, in this order, each once.
    """

    number: int
    question: str
    about: str
    needs: tuple[int, ...]
    notebook: str = ""
    live: tuple[str, ...] = ()


#: The page with which the course begins, in ``lectures/``.
START = "00_start"

LECTURES = (
    Lecture(
        1,
        "What is an optimal decision?",
        "Markov decision processes, Bellman and Riccati equations",
        (),
        notebook="01_decisions",
        live=("pendulum",),
    ),
    Lecture(
        2,
        "How can optimisation decide?",
        "model predictive control, constraints, uncertainty",
        (1,),
        notebook="02_mpc",
        live=("cartpole",),
    ),
    Lecture(
        3, "How can data decide?", "Q-learning and actor–critic with networks", (1,), notebook="03_rl", live=("ddpg",)
    ),
    Lecture(
        4,
        "Which, when?",
        "nine practical properties of both, measured",
        (2, 3),
        notebook="04_mpc_vs_rl",
        live=("versus",),
    ),
    Lecture(
        5,
        "Where may a network sit?",
        "the taxonomy, and five ways to combine a network with an MPC",
        (2, 3),
        notebook="05_architectures",
        live=("architectures",),
    ),
    Lecture(
        6,
        "Can an MPC be the function approximator?",
        "V, Q and policy from one MPC; Q-learning on it",
        (1, 2),
        notebook="06_mpc_as_value",
        live=("linear",),
    ),
    Lecture(
        7,
        "Learn the model, or the behaviour?",
        "system identification against learning in closed loop",
        (5, 6),
        notebook="07_aligned_vs_closed_loop",
        live=("home",),
    ),
    Lecture(
        8,
        "Can MPC teach?",
        "imitation, DAgger, guided exploration",
        (2, 3),
        notebook="08_expert",
        live=("expert",),
    ),
    Lecture(
        9,
        "Can MPC judge?",
        "an MPC as critic: blended with a learned one, and its own local one",
        (3, 6),
        notebook="09_critic",
        live=("critic",),
    ),
    Lecture(
        10,
        "Before and after the policy?",
        "reference generators and safety filters",
        (2, 3),
        notebook="10_around_the_policy",
        live=("race",),
    ),
    Lecture(
        11,
        "Can many controllers learn without a centre?",
        "ADMM, consensus, distributed Q-learning; what messages are worth",
        (6,),
        notebook="11_distributed",
        live=("admm", "power"),
    ),
    Lecture(
        12,
        "Faster, and what is shared?",
        "distributed second-order learning",
        (11,),
        notebook="12_second_order",
        live=("second_order",),
    ),
    Lecture(
        13,
        "A thousand agents?",
        "mean-field control by sampling",
        (1,),
        notebook="13_mean_field",
        live=("population",),
    ),
    Lecture(
        14,
        "And without gradients? What is open?",
        "black-box tuning, logs, risk, integers, your own plant and learner",
        (6,),
        notebook="14_frontiers",
        live=("tuner",),
    ),
)
