"""A node pack without nodes, by which InvokeAI has its models in bfloat16 on a processor, too."""

import torch
from invokeai.backend.util.devices import TorchDevice

TorchDevice.choose_torch_dtype = staticmethod(lambda device=None: torch.bfloat16)
