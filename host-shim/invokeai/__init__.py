"""The InvokeAI node pack: LGS Denoise, for Stable Diffusion 1.5 and SDXL.

InvokeAI imports this folder from ``nodes`` in its root and lists the nodes that are imported here. Nothing here loads
the native library: that happens when a node first runs, so that the nodes are listed, and say what is wrong, on a
machine where the library cannot be loaded.
"""

from .nodes.denoise import LGSDenoise

__all__ = ["LGSDenoise"]
