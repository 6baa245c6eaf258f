"""A batch over several workers, whatever they are.

    dispatcher.py  which job goes where, again after a failure, and when to stop
    run.py         the jobs through the dispatcher into the store, under a progress bar

Knows nothing of Ray, nor of what a worker makes its pictures with.
"""
