"""Takes a library, its engine, this package or a model through the contract of the C interface.

``python -m lgs validate`` is its command; ``plugin/validator`` does likewise in C.

check.py     what a check is, and making it in a process of its own
subject.py   what is validated
library.py   the functions that need no model
engine.py    what the engine computes, against dense linear algebra
callbacks.py every callback failing at each of its calls
structs.py   structs of every size
tensors.py   tensors that are odd, given and returned
together.py  threads, forks, and what is kept
shim.py      this package as the host's side: exceptions, interrupts, tensors of Python's
host.py      a model as the host's side, with what a sampler needs of it
"""
