"""The bundled model as hosts run it: in a precision of its own, for any number of points at a time."""

from __future__ import annotations

from torch import Tensor

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
