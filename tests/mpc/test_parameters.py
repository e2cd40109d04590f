"""Named blocks in one flat vector."""

import casadi as ca
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpcrl_course.mpc import Parameters

block = hnp.arrays(float, hnp.array_shapes(min_dims=0, max_dims=2, max_side=3), elements=st.floats(-1e6, 1e6))
blocks = st.dictionaries(st.sampled_from(["a", "B", "x_lb", "V0", "Q"]), block, min_size=1)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(blocks, st.data())
def test_pack_and_unpack_are_inverse(initial, data):
    parameters = Parameters(**initial)
    assert parameters.size == sum(b.size for b in initial.values()) == len(parameters.names)
    assert len(set(parameters.names)) == parameters.size
    for name, value in vars(parameters.unpack(parameters.initial())).items():
        np.testing.assert_array_equal(value, initial[name])
        assert np.shape(value) == initial[name].shape
    theta = data.draw(hnp.arrays(float, parameters.size, elements=st.floats(-1e6, 1e6)))
    unpacked = vars(parameters.unpack(theta))
    np.testing.assert_array_equal(parameters.pack(**unpacked), theta)
    # one block replaced leaves the others, and the vector that was given
    name, copy = list(initial)[0], theta.copy()
    changed = parameters.pack(theta, **{name: unpacked[name] + 1.0})
    np.testing.assert_array_equal(theta, copy)
    where = np.zeros(parameters.size, bool)
    where[parameters.index(name)] = True
    np.testing.assert_array_equal(changed[~where], theta[~where])
    np.testing.assert_array_equal(changed[where], theta[where] + 1.0)
    # the symbolic blocks lie where the numeric ones do
    symbol = ca.SX.sym("theta", parameters.size)
    for key, expression in vars(parameters.unpack(symbol)).items():
        numeric = ca.Function("f", [symbol], [expression])(theta).full()
        np.testing.assert_array_equal(numeric.ravel(order="F"), np.asarray(unpacked[key]).ravel(order="F"))


def test_layout_and_names():
    parameters = Parameters(V0=1.5, b=[1.0, 2.0], A=[[1.0, 3.0], [2.0, 4.0], [5.0, 6.0]])
    assert parameters.names == ["V0", "b1", "b2", "A11", "A21", "A31", "A12", "A22", "A32"]
    np.testing.assert_array_equal(parameters.initial(), [1.5, 1, 2, 1, 2, 5, 3, 4, 6])
    assert parameters.index("A") == slice(3, 9)
    assert isinstance(parameters.unpack(parameters.initial()).V0, float)
    assert Parameters().size == 0 and Parameters().initial().shape == (0,)


def test_initial_values_are_not_shared():
    A = np.eye(2)
    parameters = Parameters(A=A)
    A[0, 0] = 7.0
    theta = parameters.initial()
    theta[:] = 9.0
    np.testing.assert_array_equal(parameters.initial(), [1, 0, 0, 1])
    theta = parameters.initial()
    parameters.unpack(theta).A[0, 0] = 5.0
    np.testing.assert_array_equal(theta, [1, 0, 0, 1])


def test_errors_name_what_is_wrong():
    parameters = Parameters(V0=0.0, A=np.eye(2))
    for call, message in (
        (lambda: Parameters(T=np.zeros((2, 2, 2))), r"'T' has shape \(2, 2, 2\)"),
        (lambda: Parameters(T=[1.0, np.nan]), "'T'.*not finite"),
        (lambda: parameters.pack(A=[1.0, 2.0]), r"'A' has shape \(2, 2\), but a value of shape \(2,\)"),
        (lambda: parameters.unpack(np.zeros(4)), r"shape \(4,\).*\(5,\).*V0 \(\), A \(2, 2\)"),
        (lambda: parameters.check([0, 0, np.inf, 0, np.nan]), "not finite in A21, A22"),
        (lambda: parameters.check([0, 0, np.inf, 0, np.nan], finite=False), "not a number in A22"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(KeyError, match="'a'.*V0, A"):
        parameters.index("a")
