"""Where searches for critical points stall: at gradient-flat points, which are none.

Run:    python examples/gradient_flat.py [OUT.html]
Time:   about half a minute on 2 CPU cores
Expect: of 200 searches from the training paths of 6-5-4 tanh networks with L2, 139 miss
        ‖g‖² < 1e-18, and all 139 have ‖Hg‖/(‖H‖‖g‖) < 1e-2; Spearman's correlation of index and
        loss is .911 where they converged, .908 at all ends, .947 at the starts

Frye et al. 2021 (arXiv:2003.10397): a search on ‖g‖² stalls where the gradient g lies in the kernel
of the Hessian H. Dauphin et al. 2014 (arXiv:1406.2572): at critical points index and loss rise
together. But so they do where the search failed, and where it began: their correlation alone does
not show that points are critical.
"""

import sys

from jaxml import report
from jaxml.course.chapter_02.critical_points import gradient_flat

found = gradient_flat("full")
print(found)
if len(sys.argv) > 1:
    print(report.write(found, sys.argv[1]))
