"""What limits a batch on many GPUs, beyond this machine.

measured.py   on this machine: the driver's time for a job on Ray, the store's, the plan's, and service times
hosts.py      two real ComfyUIs beside one
virtual.py    the real dispatcher with as many workers as one likes, in time that only counts
section.py    what follows for 10, 100 and 1,000 GPUs
"""
