"""The MPC as a layer of PyTorch: what it costs beyond the same questions without, a batch of 64 states.

All of it runs in the environment of the peer `torch` (`peer_torch_layer.py`), which first checks the layer's gradients.
"""

import sys

import peers
from table import table, verdict

MOST = 2.0  # times the CPU of the door alone


def main():
    """Print the table; exit code 1 if a forward and backward pass costs more than twice what the door takes."""
    answer = peers.run("torch", "peer_torch_layer.py")
    seconds, rows, ratios = answer["seconds"], [], {}
    for what in dict.fromkeys(name.rsplit(", ", 1)[0] for name in seconds):
        layer, door = seconds[f"{what}, layer"], seconds[f"{what}, door"]
        ratios[what] = layer / door
        rows.append([what, f"{1e3 * layer:.2f}", f"{1e3 * door:.2f}", f"{layer / door:.2f}"])
    title = f"MPC of the linear plant as a layer of PyTorch {answer['torch']}, batch of 64 "
    title += f"(gradients agree with the door's to {answer['error']:.0e}; a gain learned to {answer['gain']:.0e})"
    table(title, rows, ["", "layer, CPU ms", "NumPy, CPU ms", "layer / NumPy"])
    worst = max(ratio for what, ratio in ratios.items() if "backward" in what)
    return verdict(f"at most {MOST:g} times the CPU of the door: {worst:.2f} times", worst <= MOST)


if __name__ == "__main__":
    sys.exit(not main())
