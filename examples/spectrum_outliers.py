"""A bulk of eigenvalues near zero and, above it, one fewer than there are classes.

Run:    python examples/spectrum_outliers.py [OUT.html]
Time:   about half a minute on 2 CPU cores
Expect: of the leading eigenvalues of a 64-32-10 tanh network on digits the largest gap, as a ratio
        of neighbours, is after the 9th, C - 1: 1.69 at the start, 1.87 after 100 steps, 1.61 after
        300; after 1,000 that gap is 1.19 and others are larger

Sagun et al. 2017 (arXiv:1706.04454), Papyan 2019 (arXiv:1901.08244): as many outliers as classes,
or about.
"""

import sys

from jaxml import report
from jaxml.course.chapter_02.critical_points import spectrum_outliers

found = spectrum_outliers("full")
print(found)
if len(sys.argv) > 1:
    print(report.write(found, sys.argv[1]))
