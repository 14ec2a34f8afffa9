"""Gradient descent at the edge of stability, after Cohen et al. 2021 (arXiv:2103.00065).

Run:    python examples/edge_of_stability.py [OUT.html]
Time:   about half a minute on 2 CPU cores
Expect: under the squared error λ_max rises to the edge and hovers around it: over the last half,
        in units of the threshold, 1.01 for gradient descent at a rate of 0.4, 1.04 at 0.8, 0.96
        for heavy ball, 0.99 for Adam's preconditioned Hessian; under cross-entropy at a rate of 1
        it falls from a quarter of the threshold
"""

import sys

from jaxml import report
from jaxml.course.chapter_02.batches import edge_of_stability

found = edge_of_stability("full")
for name, ratio in found.numbers["ratio"].items():
    print(f"{name}: λ_max / threshold {ratio:.3f} over the last half")
print(f"cross-entropy never exceeds {found.numbers['cross_entropy_highest']:.2f}")
if len(sys.argv) > 1:
    print(report.write(found, sys.argv[1]))
