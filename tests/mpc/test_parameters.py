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


def test_names_are_unique_and_as_they_were_where_they_were():
    assert Parameters(A1=0.0, A=[1.0, 2.0]).names == ["A1", "A_1", "A2"]
    assert Parameters(A=[1.0, 2.0], A1=0.0, A_1=0.0).names == ["A[1]", "A2", "A1", "A_1"]
    names = Parameters(A=np.zeros((12, 12))).names
    assert len(set(names)) == 144 and names[:3] == ["A11", "A21", "A31"]
    # by hand: (1, 11) and (11, 1) were both A111, (1, 12) and (11, 2) both A112, and no other two are alike
    assert sorted(name for name in names if "_" in name) == ["A11_1", "A11_2", "A1_11", "A1_12"]
    assert {"A1111", "A1212", "A211", "A121"} <= set(names)


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.text("A1_", min_size=1, max_size=3).filter(str.isidentifier),
        hnp.array_shapes(min_dims=0, max_dims=2, max_side=12).map(np.zeros),
    )
)
def test_no_two_entries_are_ever_called_the_same(initial):
    names = Parameters(**initial).names
    assert len(set(names)) == len(names) == sum(block.size for block in initial.values())


@pytest.mark.parametrize(
    "bad", [1j, [1.0, 2j], "1", ["1"], None, [None], [[1.0], [1.0, 2.0]], object(), np.nan, np.inf]
)
def test_no_block_is_read_out_of_what_is_no_number(bad):
    with pytest.raises(ValueError, match="parameter 'a'"):
        Parameters(a=bad)
    parameters = Parameters(a=1.0, b=[1.0, 2.0])
    with pytest.raises(ValueError, match="parameter 'b'"):
        parameters.pack(b=bad)
    with pytest.raises(ValueError, match="theta"):
        parameters.check(bad if isinstance(bad, list) else [bad, bad, bad])


def test_a_name_must_be_one():
    with pytest.raises(ValueError, match="which 'a b' cannot be"):
        Parameters(**{"a b": 1.0})


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
