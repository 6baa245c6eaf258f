"""The libraries for Windows, under Wine on Linux, with PyTorch's own DLLs: ``make windows-test``.

torches.py             PyTorch's DLLs, from its wheels
wine.py                compiling and running a program for Windows
trajectories.c         a host whose results are printed, for Linux and Windows alike
bcryptprimitives.c     a DLL of Windows' own that older Wines do not have
"""
