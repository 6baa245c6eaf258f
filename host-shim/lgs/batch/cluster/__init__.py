"""A batch over many GPUs, by Ray: ``batch --ray``.

    batch.py       the command: connects, plans, hands out, sums up
    connection.py  the Ray cluster: one that runs, or one for this batch alone
    shares.py      how many workers there are, and what each gets of the cluster
    workers.py     a worker as the driver sees it: an actor, started, asked, ended
    comfyui.py     the actor: one ComfyUI, started or adopted

Which job goes to which worker is decided in `lgs.batch.dispatch`.

The driver, which is the command, owns all actors: they end with it, whatever ends it, and a ComfyUI ends with its
actor. Pictures are written by the driver alone, into the same folder under the same names as without Ray. So what is
finished is what the folder says, and any run of the command goes on from there.

Nothing outside this package imports Ray.
"""
