"""How long the tests wait before they call something stuck, on a computer that is busy with other things as well.

What the panel promises is shorter (an answer within 0.1 s, stopped within 2 s) and is measured, not tested:
Testing/bench/panel_bench.py.
"""

ANSWERED_WITHIN_S = 0.5  # far below what any calculation takes
STOPPED_WITHIN_S = 6.0
A_RUN_S = 300.0
