"""What hosts' nodes say of errors that are torch's."""

import lgs
from lgs.errors import without_derivative


def test_a_model_without_a_derivative():
    refusal = NotImplementedError("Trying to use forward AD with an operation that does not support it.\nMore of it.")
    said = without_derivative("LGS Sampler", refusal)
    assert isinstance(said, lgs.Error)
    assert str(said) == (
        "LGS Sampler: forward mode needs a derivative of every operation of the model, and one has none: Trying to use "
        "forward AD with an operation that does not support it. Set the input Jacobian product to auto or "
        "finite-difference."
    )
    assert "It does not say more. Set" in str(without_derivative("LGS Sampler", NotImplementedError()))
