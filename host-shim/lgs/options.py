"""The sampler's options. They are declared once, in ``manifests/nodes.json``, and checked by the
native library; nothing here knows their names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ._ffi import library
from .errors import InvalidArgument, InvalidType


class Options:
    """Options of `lgs.sample` and its kin; immutable, one attribute for each.

    The defaults are the method as its paper has it; `recommended` gives settings that cost less.

    .. options: from manifests/nodes.json by `make docs`

    ========================== ================================================================ =============
    option                     values                                                           default
    ========================== ================================================================ =============
    ``solver``                 How a trajectory gets from one noise level to the next.          ``"ancestral"``
                               ``"ancestral"``: each step draws from the reverse kernel with a
                               covariance, see ``covariance``. ``"secant"``: a step of second
                               order that uses the posterior covariance, found from how the
                               model's answers change along the way, a number for each octave
                               of frequencies. One evaluation a step; of the other options
                               ``eta``, ``s_noise``, ``pure_noise`` and ``process`` count.
    ``covariance``             The covariance of the noise that each step adds from             ``"lanczos"``
                               ``covariance_min_sigma`` up to ``covariance_max_sigma``.
                               ``"lanczos"``: the full posterior covariance (arXiv 2605.22723).
                               The others are alternatives to compare it with. ``"isotropic"``,
                               ``"isotropic-large"``: one variance for every pixel, DDPM's two
                               choices (arXiv 2006.11239, 3.2), at no extra cost.
                               ``"isotropic-optimal"``: the best one of that kind (arXiv
                               2201.06503); ``"diagonal"``: a variance for each pixel (arXiv
                               2406.10808); ``"spectral"``: one for each octave of frequencies,
                               tile by tile (after arXiv 2605.13910); each is estimated from
                               ``probes``. ``"diagonal-learned"``: the diagonal from a network,
                               see ``diagonal``.
    ``lanczos_steps``          1 to 64. K, Jacobian-vector products in each step: more follow   ``3``
                               the covariance more closely. Each costs about one model
                               evaluation, in half precision three to six. 1 is enough for
                               pictures; the paper of the method has 3.
    ``covariance_min_sigma``   0 to 10000. Steps that start below this noise level are          ``0.0``
                               ``other_steps``, at no extra cost, whatever the covariance; it
                               pays most above. For a flow model the level is sigma / (1 -
                               sigma). 0: no limit.
    ``eta``                    0 to 1. How far each step follows the random path. 1: DDPM. 0,   ``1.0``
                               the default of the secant: with it no noise, so that more steps
                               draw the same picture; with a covariance DDIM's mean, its part
                               of the posterior still added. For ``"lanczos"`` 0.5 is a good
                               choice.
    ``s_noise``                0 to 100. Multiplies the noise that each step adds. 1 is right   ``1.0``
                               for an exact model.
    ``jvp``                    How Jacobian-vector products are computed.                       ``"auto"``
                               ``"finite-difference"``: one plain model evaluation each; works
                               with every model; rough in half precision.
                               ``"central-difference"``: two, with a tenth to a half of the
                               error. ``"forward"``: exact, by forward-mode differentiation,
                               three to six evaluations each. ``"auto"``: the cheapest that is
                               accurate with the model, found out on its first step; the log
                               says which, and why.
    ``extended``               Use the Krylov vector that the last product of a step gives for  ``True``
                               nothing: about as good as one more product.
    ``tolerance``              0 to 1. Ends a step's products, for each picture by itself, once ``0.0``
                               the estimated error of the step's result, relative to it, is
                               below this. With ``lanczos_steps`` 3, 0.007 is about as good as
                               all 3, with two thirds of them. 0: never early.
    ``covariance_max_sigma``   0 to 10000. Steps that start above this noise level are          ``10000.0``
                               ``other_steps``, too. For a flow model the level is sigma / (1 -
                               sigma). 10000: no limit.
    ``doubled_batch``          The first two evaluations of a step, D(x) and D(x + h v), in one ``"auto"``
                               call of the model. ``"auto"``: where ``jvp`` ``"auto"`` finds
                               that to be right and faster. ``"always"``, ``"never"``: whatever
                               it finds.
    ``probes``                 1 to 65536. Jacobian-vector products along random directions in  ``1``
                               each step, for the covariances that are estimated from them.
    ``other_steps``            What the steps outside the two noise levels do, at one model     ``"isotropic"``
                               evaluation each. ``"isotropic"``: the same variance for every
                               pixel. ``"multistep"``: that, and a mean of second order
                               (DPM-Solver++(2M), arXiv 2211.01095), with the model's answer of
                               the step before; a fifth of its correction after a step with the
                               covariance.
    ``process``                The forward process of the model. ``"ve"``: x = x0 + sigma       ``"ve"``
                               noise. ``"flow"``: x = (1 - sigma) x0 + sigma noise.
    ``precision``              What the model computes in, which decides how far a finite       ``"auto"``
                               difference reaches. ``"auto"``: the dtype of x. Otherwise
                               ``"float64"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    ``pure_noise``             Whether x holds nothing but noise when sampling begins, sigma    ``False``
                               times a standard normal. It then lacks the mean of the data,
                               which the solver ``"secant"`` puts in from its first evaluation.
                               Leave it off where there is a picture beneath the noise.
    ========================== ================================================================ =============

    .. options: end

    Raises `lgs.InvalidType` (a TypeError) for an unknown name or a wrong type and
    `lgs.InvalidArgument` (a ValueError) for a value out of range.
    """

    __slots__ = ("_json", "_values")

    def __init__(self, **values: Any):
        lib = library()
        checked = lib.text(lib.api.options_check, _encode(values))
        self._hold(checked.encode(), json.loads(checked))

    def _hold(self, text: bytes, values: dict[str, Any]) -> None:
        object.__setattr__(self, "_json", text)
        object.__setattr__(self, "_values", values)

    @classmethod
    def recommended(cls, **values: Any) -> Options:
        """The defaults of the LGS Sampler node, with ``values`` in place of some.

        `Options()` is the method as its paper has it; these were tuned for few model evaluations on
        trained models (``make report``, section ``defaults``).
        """
        recommended = {entry["id"]: entry["recommended"] for entry in library().options if "recommended" in entry}
        return cls(**recommended | values)

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
        """Every option, as the library takes them."""
        return self._json

    @property
    def products(self) -> int:
        """Jacobian-vector products in each step that takes them, at most: 0 where the model is evaluated once a step.
        The node manifest says which choices take them, and which option is their number."""
        declared = {entry["id"]: entry for entry in library().options}
        counted_by: str | None = next(name for name, entry in declared.items() if "products" in entry)
        while counted_by is not None and "products" in declared[counted_by]:
            counted_by = declared[counted_by]["products"].get(self._values[counted_by])
        return 0 if counted_by is None else self._values[counted_by]

    def _with(self, **changes: Any) -> Options:
        """These options with some changed, unchecked: values of the right type, which the library checks when it
        is called."""
        values = self._values | changes
        if values == self._values:
            return self
        derived = object.__new__(Options)
        derived._hold(json.dumps(values).encode(), values)
        return derived

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[name]
        except KeyError:
            raise AttributeError(f"Options has no option {name!r}; it has {', '.join(self._values)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("Options cannot be changed; make new ones")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._values == other._values

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return f"lgs.Options({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
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
