"""Which peers are installed."""

import importlib.util
import sys

import paired


def torch_device(tf32=False):
    """PyTorch's device, set up like JAX's; without PyTorch, None and a line on stderr."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its rows are left out", file=sys.stderr)
        return None
    import peers_torch

    return peers_torch.set_up(paired.cores(), tf32)
