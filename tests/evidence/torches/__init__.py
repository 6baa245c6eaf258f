"""The drop-in folder, unchanged, on every torch that people have: ``make torches``.

environments.py  an environment for a release of torch, made and removed
suite.py         the shim's tests in it
section.py       the table
windows.py       the libraries for Windows, under Wine
"""
