"""Calls to CasADi functions through their buffer interface: same numbers, a tenth of the overhead."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock

import casadi as ca
import numpy as np


class BufferedFunction:
    """A CasADi function on NumPy arrays, without the conversions of an ordinary call.

    An ordinary call of a small function costs 30–60 µs, almost all of it for turning arrays into ``DM``;
    writing into the function's own buffers costs 1–2 µs. A lock keeps threads apart.

    Parameters
    ----------
    name : str
    inputs, outputs : list of casadi.SX
        A column comes back as an array of shape (n,), a matrix as a C-contiguous array of its own shape.
    matrices : set of int
        Outputs that are matrices even if they happen to have one column.
    """

    def __init__(self, name: str, inputs: list, outputs: list, matrices: Collection[int] = ()):
        self.function = ca.Function(name, inputs, [ca.densify(o) for o in outputs])
        # CasADi stores matrices column by column: the transposed one is a C-contiguous array
        stored = ca.Function(name, inputs, [ca.densify(o.T) for o in outputs])
        self._buffer, self._trigger = stored.buffer()
        self._lock = Lock()
        self._mapped: tuple = (None, None)  # made for (rows, arguments that are the same for all), and the function
        self._inputs = [np.zeros(i.numel()) for i in inputs]
        self._outputs = [
            np.zeros(o.shape if o.shape[1] != 1 or i in matrices else o.numel()) for i, o in enumerate(outputs)
        ]
        for i, array in enumerate(self._inputs):
            self._buffer.set_arg(i, memoryview(array))  # type: ignore[arg-type]
        for i, array in enumerate(self._outputs):
            self._buffer.set_res(i, memoryview(array).cast("B").cast("d") if array.size else memoryview(array))  # type: ignore[arg-type]

    def __call__(self, *arguments) -> list[np.ndarray]:
        """Evaluate; arguments are flat arrays (matrices column by column). Returns fresh arrays."""
        if len(arguments) != len(self._inputs):  # zip's own check takes twice as long
            raise TypeError(f"{self.function.name()} takes {len(self._inputs)} arguments, not {len(arguments)}")
        with self._lock:
            for array, argument in zip(self._inputs, arguments):
                array[:] = argument
            self._trigger()
            return [o.copy() for o in self._outputs]

    def over(self, *arguments) -> list[np.ndarray]:
        """Evaluate for many rows at once.

        Of the `arguments`, those of shape (n, size) have one row for each, any other is the same for all. Of functions
        whose outputs are columns. Returns arrays (n, size).
        """
        arrays = [np.asarray(argument, dtype=float) for argument in arguments]
        n = next(len(array) for array in arrays if array.ndim == 2)
        same = [i for i, array in enumerate(arrays) if array.ndim < 2]
        shape, mapped = self._mapped  # of the call before
        if shape != (n, same):
            mapped = self.function.map(f"{self.function.name()}_{n}", "serial", n, same, [])
            self._mapped = (n, same), mapped
        buffer, trigger = mapped.buffer()
        inputs = [
            np.ascontiguousarray(np.broadcast_to(a, a.shape if a.ndim == 2 else i.shape))
            for a, i in zip(arrays, self._inputs, strict=True)
        ]
        outputs = [np.zeros((n, output.size)) for output in self._outputs]
        for i, array in enumerate(inputs):
            buffer.set_arg(i, memoryview(array.ravel()))  # type: ignore[arg-type]
        for i, array in enumerate(outputs):
            buffer.set_res(i, memoryview(array.reshape(-1)))  # type: ignore[arg-type]
        trigger()
        return outputs
