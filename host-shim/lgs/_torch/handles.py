"""torch.Tensor to and from the ``at::Tensor*`` handles of the C interface, without a copy.

``torch._C._aoti`` gives PyTorch's own AtenTensorHandle in a capsule and takes it back; autograd
state comes along, and a round trip gives the same Python object.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_void_p, py_object
from typing import Protocol

import torch
from torch import Tensor

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = c_void_p, [py_object, c_char_p]
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = py_object, [c_void_p, c_char_p, c_void_p]


DEVICES = ("cpu", "cuda", "mps")
"""Kinds of device that the engine's tch knows. ROCm calls itself cuda."""


_TRACERS = torch._C._TorchDispatchModeKey


def oddity(tensor: Tensor) -> str:
    """What keeps a tensor from being one that C++ can read and write, "" if nothing does.

    A handle points to an ``at::Tensor``, and an operation on one whose numbers are elsewhere, in a Python object, a
    transform of functorch's or nowhere, ends in an exception that C++ does not expect, or in a segmentation fault.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return "one inside a transform of torch.func (vmap, grad, jvp, functionalize): call lgs outside of it"
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return f"a {type(tensor).__name__}, whose numbers a Python class has: give the tensor within"
    for tracer in (_TRACERS.FAKE, _TRACERS.PROXY, _TRACERS.FUNCTIONAL):
        if torch._C._get_dispatch_mode(tracer) is not None:
            return f"one that is being traced ({tracer.name}: FakeTensorMode, make_fx, export): call lgs outside of it"
    if tensor.is_nested:
        return "a nested one: give its tensors one by one, or padded"
    if tensor.layout != torch.strided:
        return f"one of layout {tensor.layout}: give .to_dense()"
    if tensor.numel() and not tensor._is_zerotensor() and not tensor.untyped_storage().nbytes():
        return "one without memory: its storage was freed or never made"
    return ""


def give(tensor: Tensor) -> int:
    """A handle that owns the tensor; whoever gets it has to delete it."""
    return _capsule_pointer(torch._C._aoti.unsafe_alloc_void_ptr_from_tensor(tensor), None)


def take(handle: int) -> Tensor:
    """The tensor of an owned handle, which is used up.

    By the function for several tensors: its namesake for one (torch 2.11) copies the tensor and
    leaves the handle, which would then leak.
    """
    [tensor] = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs([_new_capsule(handle, None, None)])
    return tensor


class Handles(Protocol):
    """Who clones and deletes handles: an engine."""

    def clone_handle(self, tensor: int) -> int:
        """A second handle, which its caller owns."""

    def delete_handle(self, tensor: int) -> None: ...


def borrow(handles: Handles, handle: int) -> Tensor:
    """The tensor of a handle that stays the caller's."""
    return take(handles.clone_handle(handle))


class Lent:
    """A tensor lent to the library for the time of a ``with`` block, as a handle."""

    def __init__(self, handles: Handles, tensor: Tensor):
        self._handles, self._tensor = handles, tensor

    def __enter__(self) -> int:
        self._handle = give(self._tensor)
        return self._handle

    def __exit__(self, *_):
        self._handles.delete_handle(self._handle)
