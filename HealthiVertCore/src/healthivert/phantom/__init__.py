"""A generator of spines with known truth: anatomy -> shape -> fracture -> tissue -> scanner.

spine = sample_spine(seed=1, fractured=True)            a person, as parameters
rendered = render(spine, whole_spine_grid(spine), spine.scanner)
healthy = render(spine.healthy_twin(), whole_spine_grid(spine), spine.scanner)
truth(spine)                                             heights, loss and grade from the analytic endplates
"""

from healthivert.phantom.grid import Grid, level_grid, whole_spine_grid
from healthivert.phantom.paint import paint_ct
from healthivert.phantom.posture import Pose, standing
from healthivert.phantom.render import Rendered, render
from healthivert.phantom.sampling import Ranges, sample_spine
from healthivert.phantom.scanner import Scanner, sample_scanner
from healthivert.phantom.spine import PhantomSpine
from healthivert.phantom.truth import truth
from healthivert.phantom.write import write_phantoms

__all__ = [
    "Grid",
    "PhantomSpine",
    "Pose",
    "Ranges",
    "Rendered",
    "Scanner",
    "level_grid",
    "paint_ct",
    "render",
    "sample_scanner",
    "sample_spine",
    "standing",
    "truth",
    "whole_spine_grid",
    "write_phantoms",
]
