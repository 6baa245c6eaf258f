"""The bundled digit model as ComfyUI's MODEL and VAE."""
