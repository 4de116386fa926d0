"""What a relay and its clients must survive: bad links, bad peers, bad clocks, sudden ends.

`test_*` belongs to the daily run, `*_cases` takes minutes: `python3 run.py faults` runs both.
"""
