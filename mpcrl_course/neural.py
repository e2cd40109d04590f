"""A network with two hidden layers, in NumPy: forward, backward, Adam; and the same network as a CasADi expression.

    h1 = f(x W1 + b1),    h2 = f(h1 W2 + b2),    y = h2 W3 + b3    (or centre + half * tanh of that, if bounded)

A batch is a matrix with one sample a row. All weights live in one flat vector `theta`, of which W1 … b3 are views, so
that Adam, a soft update and saving are one line each.
"""

from __future__ import annotations

from typing import Any

import casadi as ca
import numpy as np

ACTIVATIONS = ("relu", "tanh")


class Network:
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
    W1, b1, W2, b2, W3, b3 : ndarray
        Views into theta; W has shape (inputs, outputs) of its layer.
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
            self.centre, self.half = (lower + upper) / 2, (upper - lower) / 2
        layers = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.theta = np.concatenate(
            [rng.uniform(-1, 1, (i + 1) * o) * (0.1 if layer == 2 else 1.0) / np.sqrt(i)
             for layer, (i, o) in enumerate(layers)]).astype(dtype)  # fmt: skip
        self.W1, self.b1, self.W2, self.b2, self.W3, self.b3 = self.views(self.theta)

    def views(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return W1, b1, W2, b2, W3, b3 as views into a flat vector of the size of theta."""
        parts, at = [], 0
        for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            parts += [flat[at : at + i * o].reshape(i, o), flat[at + i * o : at + (i + 1) * o]]
            at += (i + 1) * o
        return parts

    def copy(self) -> Network:
        """Return a network of its own with the same weights."""
        other = object.__new__(Network)
        other.__dict__.update(self.__dict__)
        other.theta = self.theta.copy()
        other.W1, other.b1, other.W2, other.b2, other.W3, other.b3 = other.views(other.theta)
        return other

    def __deepcopy__(self, memo) -> Network:
        return self.copy()

    def __repr__(self) -> str:
        return f"Network({' → '.join(str(n) for n in self.sizes)}, {self.activation})"

    def __call__(self, x) -> np.ndarray:
        """Return y, shape (..., n_outputs), for x of shape (..., n_inputs)."""
        return self.forward(np.asarray(x, self.theta.dtype))[0]

    def forward(self, x: np.ndarray):
        """Return y and the tape (x, h1, h2, y) that `backward` needs."""
        h1 = self._hidden(x @ self.W1 + self.b1)
        h2 = self._hidden(h1 @ self.W2 + self.b2)
        y = h2 @ self.W3 + self.b3
        if self.bounded:
            y = self.centre + self.half * np.tanh(y)
        return y, (x, h1, h2, y)

    def backward(self, tape, dy: np.ndarray, weights: bool = True, inputs: bool = True):
        """Return the derivatives of a number in the weights and in the inputs, given those in the outputs.

        Parameters
        ----------
        tape : tuple
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
        x, h1, h2, y = tape
        if self.bounded:
            dy = dy * (self.half - (y - self.centre) ** 2 / self.half)
        d2 = self._times_slope(dy @ self.W3.T, h2)
        d1 = self._times_slope(d2 @ self.W2.T, h1)
        dx = d1 @ self.W1.T if inputs else None
        if not weights:
            return None, dx
        gradient = np.empty_like(self.theta)
        W1, b1, W2, b2, W3, b3 = self.views(gradient)
        for W, b, below, above in ((W1, b1, x, d1), (W2, b2, h1, d2), (W3, b3, h2, dy)):
            np.matmul(below.T, above, out=W)
            above.sum(0, out=b)
        return gradient, dx

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
        """Write the network to an npz file."""
        bounds = {"lower": self.centre - self.half, "upper": self.centre + self.half} if self.bounded else {}
        with open(path, "wb") as file:
            np.savez(file, theta=self.theta, sizes=self.sizes, activation=self.activation, **bounds)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path) -> Network:
        """Read a network that `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            n_inputs, width, _, n_outputs = (int(n) for n in file["sizes"])
            bounds = {name: file[name] for name in ("lower", "upper") if name in file.files}
            network = cls(n_inputs, n_outputs, np.random.default_rng(0), width=width, dtype=file["theta"].dtype,
                          activation=str(file["activation"]), **bounds)  # fmt: skip
            network.theta[:] = file["theta"]
        return network

    def _hidden(self, z):
        return np.tanh(z, out=z) if self.activation == "tanh" else np.maximum(z, 0, out=z)

    def _times_slope(self, dh, h):
        return dh * (1 - h * h) if self.activation == "tanh" else dh * (h > 0)


class Adam:
    """Gradient descent with a step size for each weight (Kingma & Ba 2015).

    Parameters
    ----------
    n : int
        Number of weights.
    rate : float
        Learning rate alpha: about the size of one step of one weight.

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
        correction = np.sqrt(1 - 0.999**self.count)  # the running means start at zero
        step = self.rate * correction / (1 - 0.9**self.count)
        theta -= float(step) * self.mean / (np.sqrt(self.square) + float(1e-8 * correction))


def soft_update(target: np.ndarray, theta: np.ndarray, tau: float) -> None:
    """Move `target` towards theta in place: target <- (1 - tau) target + tau theta."""
    target += tau * (theta - target)
