"""The map of the course: its fourteen lectures, and which of them are there."""

from __future__ import annotations

from pathlib import Path

from IPython.display import Markdown

#: Number, question, what it is about, and the lectures on which it builds.
LECTURES = (
    (1, "What is an optimal decision?", "Markov decision processes, Bellman and Riccati equations", ()),
    (2, "How can optimisation decide?", "model predictive control, constraints, uncertainty", (1,)),
    (3, "How can data decide?", "Q-learning and actor–critic with networks", (1,)),
    (4, "Which, when?", "nine practical properties of both, measured", (2, 3)),
    (5, "Where may a network sit?", "the taxonomy, and five ways to combine a network with an MPC", (2, 3)),
    (6, "Can an MPC be the function approximator?", "V, Q and policy from one MPC; Q-learning on it", (1, 2)),
    (7, "Learn the model, or the behaviour?", "system identification against learning in closed loop", (5, 6)),
    (8, "Can MPC teach?", "imitation, DAgger, guided exploration", (2, 3)),
    (9, "Can MPC judge?", "an MPC as critic, alone and blended", (3, 6)),
    (10, "Before and after the policy?", "reference generators and safety filters", (2, 3)),
    (11, "Can many controllers learn without a centre?", "ADMM, consensus, distributed Q-learning", (6,)),
    (12, "Faster, and what is shared?", "distributed second-order learning", (11,)),
    (13, "A thousand agents?", "mean-field control by sampling", (1,)),
    (14, "And without gradients? What is open?", "black-box tuning, risk, projects", (6,)),
)


def course_map(course: str | Path | None = None) -> Markdown:
    """Return the table of the lectures, with links to those that are there.

    Parameters
    ----------
    course : path, optional
        The folder that holds ``lectures/`` and ``exercises/``; by default the one this package lies in. The links are
        relative to a notebook in ``lectures/``.
    """
    course = Path(course) if course is not None else Path(__file__).parents[2]
    rows = ["| # | lecture | about | builds on | exercise |", "|--:|:--|:--|:--|:--|"]
    for number, question, about, needs in LECTURES:
        lecture, exercise = (_find(course / room, number) for room in ("lectures", "exercises"))
        title = f"[{question}]({lecture})" if lecture else f"{question} *(in preparation)*"
        task = f"[open](../exercises/{exercise})" if exercise else "–"
        before = ", ".join(f"{n:02d}" for n in needs) or "–"
        rows.append(f"| {number:02d} | {title} | {about} | {before} | {task} |")
    return Markdown("\n".join(rows))


def _find(folder, number):
    found = sorted(folder.glob(f"{number:02d}_*.ipynb"))
    return found[0].name if found else None
