"""`batch --ray` on the real host: processes are killed at random moments, and the pictures are those of a run without.

Each kind of process is killed once; ``LGS_RAY_ROUNDS`` kills more, ``LGS_RAY_SEED`` repeats a schedule.
"""

from __future__ import annotations

import json
import os
import random

import pytest
from shim.batch.cluster.faults import KINDS, Faults

from .conftest import Servers
from .graphs import with_inputs
from .server import ComfyServer
from .test_batch import Batch, batch

__all__ = ["batch"]

pytest.importorskip("ray", reason="to run these, install Ray: pip install ray==2.60.0")

ROUNDS = int(os.environ.get("LGS_RAY_ROUNDS", len(KINDS)))
PICTURES = 10 * ROUNDS

pytestmark = pytest.mark.timeout(300 + 150 * ROUNDS)


def test_killed_in_turn_it_ends_with_exactly_the_right_pictures(batch: Batch, server: ComfyServer, servers: Servers):
    servers.stop()
    # Not `auto`, which chooses by time between ways that differ by rounding.
    batch.workflow.write_text(json.dumps(with_inputs(json.loads(batch.workflow.read_text()), jvp="finite-difference")))
    own = server.for_batch()
    settings = ["--set", f"noise_seed=1..{PICTURES}"]
    status, output = batch.run(*settings, *own)
    assert status == 0, output
    undisturbed, batch.out = batch.pictures(), batch.out.with_name("faults")

    seed = int(os.environ.get("LGS_RAY_SEED", random.SystemRandom().randrange(10**6)))
    command = [str(batch.workflow), *settings, "--workers", "2", "--ray", *own]
    faults = Faults(command, batch.out, str(server.folder), PICTURES, seed, 0.2)
    said = faults.run(ROUNDS)

    print(faults.said())
    assert f"{PICTURES} pictures of {PICTURES} jobs" in said, faults.said()
    assert batch.pictures() == undisturbed, faults.said()
    made = [
        json.loads((batch.out / "jobs" / record).read_text())["settings"]["noise_seed"] for record in batch.records()
    ]
    assert sorted(made) == list(range(1, PICTURES + 1)), faults.said()
    faults.wait_until_no_host_is_left()
