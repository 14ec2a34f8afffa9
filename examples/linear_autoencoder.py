"""Every critical point of a linear autoencoder, in closed form and as measured.

Run:    python examples/linear_autoencoder.py [OUT.html]
Time:   about 5 seconds on 2 CPU cores
Expect: of 10 inputs and 3 hidden units 176 of 176 subsets of eigenvectors agree in loss, index and
        nullity: 175 saddles and the minimum; the largest gradient norm is 4e-16

Baldi and Hornik 1989, "Neural networks and principal component analysis: learning from examples
without local minima", Neural Networks 2 (from before arXiv): one minimum, all else saddles.
"""

import sys

from jaxml import report
from jaxml.course.chapter_08.linear import all_critical_points

found = all_critical_points("full")
print(found)
if len(sys.argv) > 1:
    print(report.write(found, sys.argv[1]))
