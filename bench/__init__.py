"""Benchmarks: ratios against a baseline measured in the same run, each with the target it must keep.

    python -m bench                     the table (a few minutes; loopback only; stops by itself)
    python -m bench --only warm --profile
    python -m bench --json

The tests never look at a clock; what has to be fast is held here. Absolute numbers move with the machine by 30 %,
ratios hardly do, so every target is a ratio or is generous. Run it on an idle machine before believing a "short".
"""
