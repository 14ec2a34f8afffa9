"""Searches for critical points: a strict end finds true ones, and where they start biases which.

Run:    python examples/index_and_loss.py [OUT.html]
Time:   about 20 seconds on 2 CPU cores
Expect: 300 searches where the losses and indices of all 176 kinds of critical points are known
        (linear_autoencoder.py). All 300 reach ‖g‖² < 1e-20, at the loss and index of a known
        point: at 66 of the 176, of low index (5.2 in the mean, where that of all is 12.7). Stopped
        at ‖g‖² < 1e-4, 107 would be taken for another point. Starts half as large end at high
        index: all 300 at known points, at 53 of the 176, of mean index 19.7

Frye et al. 2019 (arXiv:1901.10603): a search for critical points must end strictly, or what it
reports are none, and every way to search finds some more readily than others.
"""

import sys

from jaxml import report
from jaxml.course.chapter_08.linear import search_bias

found = search_bias("full")
print(found)
print("stopped at    taken for another point")
for squared, count in found.numbers["wrong_if_stopped"]:
    print(f"‖g‖² < {squared:.0e}  {count}")
if len(sys.argv) > 1:
    print(report.write(found, sys.argv[1]))
