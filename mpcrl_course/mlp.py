"""A network with two hidden layers, in NumPy: forward, backward, Adam; and the same network as a CasADi expression.

    h1 = f([x, 1] W1),    h2 = f([h1, 1] W2),    y = [h2, 1] W3    (or centre + half * tanh of that, if bounded)

A batch is a matrix with one sample a row. The one at the end of a row makes the last row of W the bias: the product
that does the rest adds it, too, and sums its derivative over the batch. All weights live in one flat vector `theta`,
of which W1, W2 and W3 are views, so that Adam, a soft update and saving are one line each.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import casadi as ca
import numpy as np

from mpcrl_course.validation import floats, reals, whole

ACTIVATIONS = ("relu", "tanh")


class Layers:
    """Memory for a batch of `rows` on its way through a `network`.

    It holds [x, 1], [h1, 1], [h2, 1], and derivatives in these and in theta.
    """

    def __init__(self, rows: int, network: MLP):
        dtype = network.theta.dtype
        self.x, self.h1, self.h2 = (np.ones((rows, n + 1), dtype) for n in network.sizes[:-1])
        self.inputs, self.z1, self.z2 = self.x[:, :-1], self.h1[:, :-1], self.h2[:, :-1]  # without the ones
        self.d1, self.d2, self.zeros = (np.zeros_like(self.h1) for _ in range(3))
        self.positive = np.zeros(self.h1.shape, bool)
        self.gradient = np.zeros_like(network.theta)
        self.W1, self.W2, self.W3 = network.views(self.gradient)


class Tape:
    """What `forward` leaves for `backward`: the memory `layers` of a batch, and its outputs y.

    When it dies, the memory goes back to the network, into the list `home`, for the next batch.
    """

    def __init__(self, layers: Layers, y: np.ndarray, home: list[Layers]):
        self.layers, self.y, self.home = layers, y, home

    def __del__(self):
        self.home.append(self.layers)


class MLP:
    """Two hidden layers of equal width.

    Parameters
    ----------
    n_inputs, n_outputs : int
    rng : numpy.random.Generator
        Draws the first weights: uniform in +-1/sqrt(inputs of the layer), as is common; the last layer's a tenth of it.
    width : int
        Units of each hidden layer.
    activation : {'relu', 'tanh'}
        ReLU is faster, tanh is smooth (choose it for a network inside an optimisation problem).
    lower, upper : array_like, shape (n_outputs,), optional
        Bounds that the output keeps by a tanh; none by default.
    dtype : numpy dtype
        float32 for learning (twice as fast), float64 for checking derivatives.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
        All weights. Change it in place (``theta[:] = …``).
    W1, W2, W3 : ndarray
        Views into theta, of shape (inputs + 1, outputs) of their layer; the last row is the bias.
    """

    def __init__(self, n_inputs: int, n_outputs: int, rng: np.random.Generator, *, width: int = 64,
                 activation: str = "relu", lower=None, upper=None, dtype: Any = np.float32):  # fmt: skip
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, but must be one of {ACTIVATIONS}")
        if (lower is None) != (upper is None):
            raise ValueError("give both bounds of the output, or none")
        self.sizes, self.activation, self.bounded = (n_inputs, width, width, n_outputs), activation, lower is not None
        if self.bounded:
            lower, upper = (np.broadcast_to(np.asarray(b, dtype), (n_outputs,)) for b in (lower, upper))
            if not (lower < upper).all() or not np.isfinite(upper - lower).all():
                raise ValueError(f"the output's bounds must be finite, lower < upper, not {lower} and {upper}")
            # of a single output, numbers: arrays of one entry take twice the time
            self.centre, self.half = ((lower + upper) / 2).squeeze(), ((upper - lower) / 2).squeeze()
        layers = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        ends = np.cumsum([(i + 1) * o for i, o in layers]).tolist()
        self._parts = [(end - (i + 1) * o, end, (i + 1, o)) for end, (i, o) in zip(ends, layers, strict=True)]
        self.theta = np.concatenate(
            [rng.uniform(-1, 1, (i + 1) * o) * (0.1 if layer == 2 else 1.0) / np.sqrt(i)
             for layer, (i, o) in enumerate(layers)]).astype(dtype)  # fmt: skip
        self.W1, self.W2, self.W3 = self.views(self.theta)
        self._spare: list[Layers] = []  # memory of earlier batches: new memory each time costs a tenth of the time

    def views(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return W1, W2 and W3 as views into a flat vector of the size of theta."""
        return [flat[start:end].reshape(shape) for start, end, shape in self._parts]

    def copy(self) -> MLP:
        """Return a network of its own with the same weights."""
        other = object.__new__(MLP)
        other.__dict__.update(self.__dict__)
        other.theta, other._spare = self.theta.copy(), []
        other.W1, other.W2, other.W3 = other.views(other.theta)
        return other

    def __deepcopy__(self, memo) -> MLP:
        return self.copy()

    def __repr__(self) -> str:
        return f"MLP({' → '.join(str(n) for n in self.sizes)}, {self.activation})"

    def __call__(self, x) -> np.ndarray:
        """Return y, shape (..., n_outputs), for x of shape (..., n_inputs)."""
        if type(x) is not np.ndarray or x.dtype.kind != "f":  # a conversion would drop imaginary parts
            x = floats(x, "x")
        if x.shape[-1:] != (self.sizes[0],):
            raise ValueError(f"x has shape {x.shape}, but this network takes (..., {self.sizes[0]})")
        h = np.asarray(x, self.theta.dtype)
        for W in (self.W1, self.W2):
            z = h @ W[:-1] + W[-1]
            h = np.tanh(z) if self.activation == "tanh" else np.maximum(z, 0)
        return self._bound(h @ self.W3[:-1] + self.W3[-1])

    def forward(self, *x: np.ndarray) -> tuple[np.ndarray, Tape]:
        """Return y, shape (batch, n_outputs), and the tape that `backward` needs.

        Parameters
        ----------
        *x : ndarray, shape (batch, n_inputs)
            Or parts of it, side by side: `forward(s, a)` is that of the rows (s, a).
        """
        layers = self._spare.pop() if self._spare else None
        if layers is None or len(layers.x) != len(x[0]):
            layers = Layers(len(x[0]), self)
        try:
            np.concatenate(x, axis=1, out=layers.inputs, casting="same_kind")
        except ValueError:
            shapes = " and ".join(str(np.shape(part)) for part in x)
            raise ValueError(f"x has shape {shapes}, but this network takes (batch, {self.sizes[0]})") from None
        np.matmul(layers.x, self.W1, out=layers.z1)
        self._activate(layers.h1, layers)
        np.matmul(layers.h1, self.W2, out=layers.z2)
        self._activate(layers.h2, layers)
        y = self._bound(np.dot(layers.h2, self.W3))
        return y, Tape(layers, y, self._spare)

    def backward(self, tape: Tape, dy: np.ndarray, weights: bool = True, inputs: bool = True):
        """Return the derivatives of a number in the weights and in the inputs, given those in the outputs.

        Parameters
        ----------
        tape : Tape
            From `forward`, of a batch.
        dy : ndarray, shape (batch, n_outputs)
            Derivative of that number in each output.
        weights, inputs : bool
            What is wanted; leaving one out saves its time.

        Returns
        -------
        gradient : ndarray, shape (n_theta,), or None
            In theta, summed over the batch.
        dx : ndarray, shape (batch, n_inputs), or None
            In the inputs, sample by sample.
        """
        layers, y, dy = tape.layers, tape.y, np.asarray(dy, self.theta.dtype)
        if self.bounded:
            dy = dy * (self.half - (y - self.centre) ** 2 / self.half)
        # np.dot, as matmul is slow where a sum has one term only; the last column, that of the ones, leads nowhere
        d2 = self._times_slope(np.dot(dy, self.W3.T, out=layers.d2), layers.h2, layers)
        d1 = self._times_slope(np.dot(d2, self.W2.T, out=layers.d1), layers.h1, layers)
        dx = d1 @ self.W1[:-1].T if inputs else None
        if not weights:
            return None, dx
        np.matmul(layers.x.T, d1, out=layers.W1)
        np.matmul(layers.h1.T, d2, out=layers.W2)
        np.matmul(layers.h2.T, dy, out=layers.W3)
        return layers.gradient.copy(), dx

    def jacobian(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return y (batch, n_outputs) and its Jacobian in x, (batch, n_outputs, n_inputs), for x (batch, n_inputs)."""
        y, tape = self.forward(x)
        units = np.eye(self.sizes[-1])
        slopes = [self.backward(tape, np.tile(unit, (len(y), 1)), weights=False)[1] for unit in units]
        return y, np.stack(slopes, axis=1)

    def expression(self, x, theta=None):
        """Return the network as a CasADi expression of the column x (n_inputs, 1): a column (n_outputs, 1).

        Parameters
        ----------
        x : casadi.SX or casadi.MX
        theta : casadi.SX or casadi.MX, optional
            Symbols for the weights, ordered as `theta`; by default their present values.
        """
        column = ca.DM(self.theta.astype(float)) if theta is None else theta
        f = ca.tanh if self.activation == "tanh" else (lambda z: ca.fmax(z, 0))
        h, at = x, 0
        for layer, (i, o) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            W = ca.reshape(column[at : at + i * o], o, i)  # CasADi counts by columns: this is W transposed
            h = W @ h + column[at + i * o : at + (i + 1) * o]
            h, at = f(h) if layer < 2 else h, at + (i + 1) * o
        return self.centre.astype(float) + self.half.astype(float) * ca.tanh(h) if self.bounded else h

    def save(self, path) -> None:
        """Write the network to an npz file at `path`."""
        bounds = {"lower": self.centre - self.half, "upper": self.centre + self.half} if self.bounded else {}
        with open(path, "wb") as file:
            np.savez(file, theta=self.theta, sizes=self.sizes, activation=self.activation, **bounds)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path) -> MLP:
        """Read a network that `save` wrote at `path`."""
        with np.load(path, allow_pickle=False) as file:
            n_inputs, width, _, n_outputs = (int(n) for n in file["sizes"])
            bounds = {name: file[name] for name in ("lower", "upper") if name in file.files}
            network = cls(n_inputs, n_outputs, np.random.default_rng(0), width=width, dtype=file["theta"].dtype,
                          activation=str(file["activation"]), **bounds)  # fmt: skip
            network.theta[:] = file["theta"]
        return network

    def _activate(self, h, layers):
        """Apply f to [z, 1] in place, but for the ones."""
        if self.activation == "tanh":
            np.tanh(h[:, :-1], out=h[:, :-1])
        else:  # NumPy takes the maximum with an array in a third of the time that it needs with a number
            np.maximum(h, layers.zeros, out=h)

    def _times_slope(self, dh, h, layers):
        dh *= (1 - h * h) if self.activation == "tanh" else np.greater(h, layers.zeros, out=layers.positive)
        return dh[:, :-1]

    def _bound(self, y):
        return self.centre + self.half * np.tanh(y) if self.bounded else y


class Adam:
    """Gradient descent with a step size for each weight (Kingma & Ba 2015).

    Parameters
    ----------
    n : int
        Number of weights.
    rate : float
        Learning rate alpha: about the size of one step of one weight.
    dtype : numpy dtype
        Of the running means.

    Attributes
    ----------
    mean, square : ndarray, shape (n,)
        Running means of the gradient and of its square.
    count : int
        Steps made.
    """

    def __init__(self, n: int, rate: float = 1e-3, dtype: Any = np.float32):
        self.rate, self.count = rate, 0
        self.mean, self.square = np.zeros(n, dtype), np.zeros(n, dtype)

    def descend(self, theta: np.ndarray, gradient: np.ndarray) -> None:
        """Change theta in place, against the gradient."""
        self.count += 1
        self.mean += 0.1 * (gradient - self.mean)
        self.square += 0.001 * (gradient * gradient - self.square)
        correction = sqrt(1 - 0.999**self.count)  # the running means start at zero
        step = self.rate * correction / (1 - 0.9**self.count)
        theta -= step * self.mean / (np.sqrt(self.square) + 1e-8 * correction)


def soft_update(target: np.ndarray, theta: np.ndarray, tau: float) -> None:
    """Move `target` towards theta in place: target <- (1 - tau) target + tau theta."""
    target += tau * (theta - target)


class Trainable:
    """What has networks and optimisers, named in NETWORKS and OPTIMISERS: so it is saved, and taken up again."""

    NETWORKS: tuple[str, ...] = ()
    OPTIMISERS: tuple[str, ...] = ()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that learning changes, by name."""
        adams = {name: getattr(self, name) for name in self.OPTIMISERS}
        found = {name: getattr(self, name).theta for name in self.NETWORKS}
        return found | {f"{name}_{part}": np.asarray(getattr(adam, part))
                        for name, adam in adams.items() for part in ("mean", "square", "count")}  # fmt: skip

    def load(self, arrays) -> None:
        """Take what `arrays` gave."""
        for name in self.NETWORKS:
            weights = getattr(self, name).theta
            weights[:] = reals(arrays[name], f"its {name}", weights.shape)
        for name in self.OPTIMISERS:
            adam = getattr(self, name)
            for part, own in (("mean", adam.mean), ("square", adam.square)):
                own[:] = reals(arrays[f"{name}_{part}"], f"its {name}_{part}", own.shape)
            adam.count = whole(arrays[f"{name}_count"][()], f"its {name}_count", 0)
