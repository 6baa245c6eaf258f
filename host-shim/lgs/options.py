"""The sampler's options. They are declared once, in ``manifests/nodes.json``, and checked by the
native library; nothing here knows their names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from . import _native
from .errors import InvalidArgument, InvalidType


class Options:
    """Options of `lgs.sample` and `lgs.reverse_noise`; immutable, one attribute for each.

    The defaults are the method as its paper has it; `recommended` gives settings that cost less.

    ========================== ============================================= =============
    option                     values                                        default
    ========================== ============================================= =============
    ``covariance``             ``"lanczos"``: the full posterior covariance  ``"lanczos"``
                               (arXiv 2605.22723);
                               ``"isotropic"``, ``"isotropic-large"``:
                               DDPM's two (arXiv 2006.11239, 3.2);
                               ``"isotropic-optimal"``: its trace (arXiv
                               2201.06503), ``"diagonal"``: its diagonal
                               (arXiv 2406.10808), ``"spectral"``: its
                               spectrum, tile by tile (after arXiv
                               2605.13910), each from probes;
                               ``"diagonal-learned"``: its diagonal from a
                               network, see ``diagonal`` of `lgs.sample`
    ``probes``                 1 to 65536: Jacobian-vector products a step    1
                               of the covariances that take probes
    ``lanczos_steps``          K, 1 to 64: Jacobian-vector products a step   3
    ``covariance_min_sigma``      steps that start below this noise level are   0.0
                               ``other_steps``, at no extra cost, whatever
                               the covariance; of a flow's, it is
                               sigma / (1 - sigma)
    ``covariance_max_sigma``      and so are those that start above this one    10000.0
    ``other_steps``            what these take: ``"isotropic"``, or          ``"isotropic"``
                               ``"multistep"``: a mean of second order too,
                               from D(x) of the step before
                               (DPM-Solver++(2M), arXiv 2211.01095; less of
                               it after a step with the covariance)
    ``eta``                    0 (DDIM's mean) to 1 (DDPM)                   1.0
    ``s_noise``                factor on the noise that each step adds       1.0
    ``jvp``                    ``"auto"`` (the cheapest that is accurate),   ``"auto"``
                               ``"forward"``, ``"finite-difference"``,
                               ``"central-difference"``
    ``doubled_batch``          D(x) and D(x + h v) in one call: ``"auto"``   ``"auto"``
                               (where ``jvp="auto"`` finds that to be right
                               and faster), ``"always"``, ``"never"``
    ``extended``               use the free extra Krylov vector              ``True``
    ``tolerance``              estimated error of a step's result, relative  0.0
                               to it, at which an item's Lanczos steps end;
                               0: never early
    ``process``                ``"ve"`` (x = x0 + sigma noise) or            ``"ve"``
                               ``"flow"`` (x = (1 - sigma) x0 + sigma noise)
    ``precision``              what the model computes in: ``"auto"`` (x's   ``"auto"``
                               dtype), ``"float64"``, ``"float32"``,
                               ``"bfloat16"``, ``"float16"``
    ========================== ============================================= =============

    Raises `lgs.InvalidType` (a TypeError) for an unknown name or a wrong type and
    `lgs.InvalidArgument` (a ValueError) for a value out of range.
    """

    __slots__ = ("_values",)

    def __init__(self, **values: Any):
        lib = _native.library()
        checked = lib.text(lib.api.options_check, _encode(values))
        object.__setattr__(self, "_values", json.loads(checked))

    @classmethod
    def recommended(cls, **values: Any) -> Options:
        """The settings that the LGS Sampler node starts with, but for ``values``.

        `Options()` is the method as its paper has it; these were tuned for few model evaluations on
        trained models (``make report``, section ``defaults``).
        """
        nodes = json.loads(_native.library().api.manifest())["nodes"]
        inputs = next(node["inputs"] for node in nodes if node["id"] == "LGSSampler")
        return cls(**{entry["id"]: entry["recommended"] for entry in inputs if "recommended" in entry} | values)

    @classmethod
    def of(cls, options: Options | Mapping[str, Any] | None) -> Options:
        """`options` as `Options`: defaults for None, checked for a mapping."""
        if isinstance(options, Options):
            return options
        if options is None:
            return cls()
        if isinstance(options, Mapping) and all(isinstance(name, str) for name in options):
            return cls(**options)
        raise InvalidType(f"options: expected lgs.Options, a dict of options or None, got {type(options).__name__}")

    def as_dict(self) -> dict[str, Any]:
        """Every option by name."""
        return dict(self._values)

    def as_json(self) -> bytes:
        return json.dumps(self._values).encode()

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[name]
        except KeyError:
            raise AttributeError(f"Options has no option {name!r}; it has {', '.join(self._values)}") from None

    def __setattr__(self, name: str, value: Any):
        raise AttributeError("Options cannot be changed; make new ones")

    def __dir__(self):
        return [*super().__dir__(), *self._values]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._values == other._values

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return f"lgs.Options({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def __reduce__(self):
        return _rebuild, (self.as_dict(),)


def _rebuild(values: dict[str, Any]) -> Options:
    return Options(**values)


def _encode(values: dict[str, Any]) -> bytes:
    plain = {}
    for name, value in values.items():
        if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
            value = value.item()  # a number of numpy's or torch's
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidArgument(f"{name}: expected a finite number, got {value}")
        if not isinstance(value, (str, int, float, type(None))):
            raise InvalidType(f"{name}: expected a number, a text or a truth value, got {type(value).__name__}")
        plain[name] = value
    return json.dumps(plain).encode()
