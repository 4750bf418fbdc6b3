"""Which peers are installed."""

import importlib.util
import sys

import paired


def torch_device(tf32=False):
    """Where PyTorch runs, set up like JAX; None, and a line on stderr, if there is no PyTorch."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its rows are left out", file=sys.stderr)
        return None
    import peers_torch

    return peers_torch.set_up(paired.cores(), tf32)
