"""What a step asks of the device, whatever the device: operators launched and bytes moved."""

from __future__ import annotations

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VIEWS = {
    "view", "_unsafe_view", "expand", "transpose", "t", "permute", "slice", "select", "split", "split_with_sizes",
    "detach", "alias", "as_strided", "unsqueeze", "squeeze", "reshape", "_reshape_alias", "narrow", "unbind",
}  # fmt: skip


class KernelCounter(TorchDispatchMode):
    """Counts operators that are no views, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.n_kernels = self.n_bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ not in VIEWS:
            self.n_kernels += 1
            tensors = [t for t in tree_leaves((args, kwargs, output)) if isinstance(t, Tensor)]
            self.n_bytes += sum(t.numel() * t.element_size() for t in tensors)
        return output
