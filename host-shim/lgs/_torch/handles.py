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
