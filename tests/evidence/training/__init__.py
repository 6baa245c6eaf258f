"""How the small models of `evidence.models` were trained: the denoisers, their diagonals, the classifiers.

Each program takes minutes to an hour and a half on a CPU, and npm for the data.
"""
