"""Who is whose neighbour: a network's graph."""

from __future__ import annotations

from collections.abc import Sequence

from mpcrl_course.validation import short, whole

Edges = Sequence[tuple[int, int]]


def line(n: int) -> list[tuple[int, int]]:
    """Return the edges of the line 0 - 1 - … - n-1."""
    return [(i, i + 1) for i in range(whole(n, "n", 1) - 1)]


def ring(n: int) -> list[tuple[int, int]]:
    """Return the edges of the ring 0 - 1 - … - n-1 - 0 (n at least 3)."""
    if whole(n, "n") < 3:
        raise ValueError(f"a ring needs at least 3 agents, not {n}")
    return [*line(n), (n - 1, 0)]


def star(n: int) -> list[tuple[int, int]]:
    """Return the edges of the star of n agents with agent 0 in its middle."""
    return [(0, i) for i in range(1, whole(n, "n", 1))]


def neighbours_of(n: int, edges: Edges) -> list[list[int]]:
    """Return the sorted neighbours of each of n agents; raises ValueError if it is not one connected graph.

    Parameters
    ----------
    n : int
        Number of agents.
    edges : sequence of (i, j)
        Each pair once, in any order; agents are counted from 0.
    """
    found: list[set[int]] = [set() for _ in range(whole(n, "n", 1))]
    for edge in _pairs(edges):
        i, j = (whole(end, f"an end of the edge {edge}") for end in edge)
        if not (0 <= i < n and 0 <= j < n):
            raise ValueError(f"edge {(i, j)} names an agent that is not there: there are 0 … {n - 1}")
        if i == j:
            raise ValueError(f"edge {(i, j)} joins an agent with itself")
        if j in found[i]:
            raise ValueError(f"edge {(i, j)} is given twice")
        found[i].add(j)
        found[j].add(i)
    reached, frontier = {0}, [0]
    while frontier:
        new = found[frontier.pop()] - reached
        reached |= new
        frontier += new
    if len(reached) < n:
        raise ValueError(
            f"the graph is disconnected: no path leads from agent 0 to {sorted(set(range(n)) - reached)}; "
            "agents that cannot reach each other cannot agree"
        )
    return [sorted(neighbours) for neighbours in found]


def _pairs(edges: Edges) -> list[tuple]:
    """Return edges as a list of pairs; raises ValueError if they are none."""
    try:
        pairs = [tuple(edge) for edge in edges]
    except TypeError:
        pairs = [()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"edges are a list of pairs (i, j) of agents, not {short(edges)}")
    return pairs
