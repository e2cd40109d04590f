"""The layer of PyTorch is asked for by its own name only; `benchmarks/peer_torch_layer.py` checks what it computes."""

import importlib
import subprocess
import sys
from importlib.util import find_spec

import pytest


def test_without_pytorch_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if there were none
    monkeypatch.delitem(sys.modules, "mpcrl_course.mpc.torch_layer", raising=False)
    with pytest.raises(ImportError, match=r"pip install torch .*extra mpcrl-course\[torch\]"):
        importlib.import_module("mpcrl_course.mpc.torch_layer")


def test_nothing_imports_it():
    code = "import sys, mpcrl_course.cli, mpcrl_course.bring, mpcrl_course.live; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
    assert "mpcrl_course.mpc.door" in loaded and not {"torch", "mpcrl_course.mpc.torch_layer"} & set(loaded.split())


@pytest.mark.skipif(find_spec("torch") is None, reason="the course's own tests need no PyTorch")
def test_gradients_are_those_of_the_door():
    import torch

    from mpcrl_course.mpc.torch_layer import MPCLayer
    from mpcrl_course.problems import linear_mpc

    layer = MPCLayer(linear_mpc(3))
    layer(torch.tensor([[0.4, 0.1]])).sum().backward()
    v = layer.mpc.V(layer.mpc.parameters.initial(), [0.4, 0.1])
    assert layer.theta.grad.numpy() == pytest.approx(v.policy_jacobian()[0], abs=1e-6)
