"""The InvokeAI node pack: LGS Denoise, for Stable Diffusion 1.5 and SDXL, and for Flux.

InvokeAI imports this folder from ``nodes`` in its root and lists the nodes that are imported here. Nothing here loads
the native library: that happens when a node first runs, so that the nodes are listed, and say what is wrong, on a
machine where the library cannot be loaded.
"""

from .host.flux import enter_list
from .nodes.denoise import LGSDenoise
from .nodes.denoise_flux import LGSFluxDenoise

enter_list()  # last: with a pack that cannot be loaded the host stays as it is

__all__ = ["LGSDenoise", "LGSFluxDenoise"]
