"""The nodes, a file each, and what they alone use.

denoise.py         LGS Denoise - SD1.5, SDXL
denoise_flux.py    LGS Denoise - FLUX
inputs.py          LGS's own inputs, from ``manifests/nodes.json``
"""
