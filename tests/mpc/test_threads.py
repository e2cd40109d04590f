"""One MPC asked by several threads at once answers as if it were asked alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mpcrl_course.problems.linear import linear_mpc


@pytest.mark.parametrize("solver", ["daqp", "ipopt"])
def test_threads_do_not_disturb_each_other(solver):
    mpc, rng = linear_mpc(solver=solver), np.random.default_rng(0)
    n = 400 if solver == "daqp" else 12
    cases = [
        (mpc.parameters.initial() + 0.05 * rng.normal(size=16), rng.uniform([0.0, -0.5], [0.8, 0.5])) for _ in range(n)
    ]

    def ask(case):
        v, q = mpc.V(*case), mpc.Q(*case, [0.3])
        return v.value, v.u0[0], q.value, *q.gradient()

    alone = [ask(case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, cases))
    np.testing.assert_array_equal(together, alone)
