"""Everything that is private to torch, or to Python beneath it, in one room: what breaks with a new torch breaks here.

handles.py      tensors as the ``at::Tensor*`` of the C interface, by ``torch._C._aoti``
forward_ad.py   forward mode's one level, and the state of the thread around it
attention.py    fused attention's forward-mode formula, and its place on torch's stack of modes
contexts.py     context managers that a signal has interrupted half way
precision.py    what a model computes in, where its dtype does not say
threads.py      what of torch's state belongs to a thread
versions.py     whether a tensor has been written to
"""
