"""PyCUDA as it is published, on a driver library whose kernels are the host's: see docs/ENGINE.md.

`python3 run.py cuda` builds both and runs the modules here whose names end in _cases. Trial doesn't find them by
itself: an ordinary process has no PyCUDA, and its engines must not meet an emulated device.
"""
