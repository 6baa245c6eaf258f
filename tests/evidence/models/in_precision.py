"""The bundled model as hosts run it: in a precision of its own, for any number of points at a time."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from lgs.digits import Digits, DigitUNet


class InPrecision(Digits):
    """`lgs.digits.Digits` around a network in any dtype, all else in the dtype of x, as ComfyUI has it.

    It takes a multiple of its batch, as ComfyUI's guiders do: the same labels again and again.
    """

    def __init__(self, network: DigitUNet, labels: Tensor, guidance: float = 1.0):
        dtype = next(network.parameters()).dtype

        def cast(x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
            return network(x.to(dtype), timesteps.to(dtype), context.to(dtype)).to(x.dtype)

        super().__init__(cast, labels, guidance)

    def denoise(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        return super().denoise(x, sigma, context.repeat(len(x) // len(context), 1, 1))


class Rounded(torch.nn.Module):
    """A network in half precision, computed in float32 and rounded after each operation.

    That is what half precision does, whose kernels add up in float32 as well. Convolutions of bfloat16 take some 28
    times as long on a processor without them; these take about as long as in float32.
    """

    def __init__(self, network: torch.nn.Module, dtype: torch.dtype):
        super().__init__()
        self.network = copy.deepcopy(network).to(dtype).float()
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        with _Rounding(self.dtype):
            return self.network(*(x.to(self.dtype).float() for x in inputs))


class _Rounding(TorchDispatchMode):
    """Rounds what operations give, in float32, to a dtype."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        aliases = [returned.alias_info for returned in function._schema.returns]
        if any(alias is not None and alias.is_write for alias in aliases):
            tree_map_only(Tensor, lambda x: x.copy_(self._rounded(x)), out)
            return out
        if any(alias is not None for alias in aliases):
            return out  # a view of what is rounded
        return tree_map_only(Tensor, self._rounded, out)

    def _rounded(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).float() if x.dtype == torch.float32 else x
