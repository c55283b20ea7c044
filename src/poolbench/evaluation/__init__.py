"""What is measured of a trained network: pure functions, no files."""

from poolbench.evaluation import detection
from poolbench.evaluation.activation import activation
from poolbench.evaluation.answers import Answers, ask, period
from poolbench.evaluation.boundary import band, boundary_iou
from poolbench.evaluation.classification import classification, confusion, reliability
from poolbench.evaluation.cost import Cost, cost
from poolbench.evaluation.forgetting import maps_before, told
from poolbench.evaluation.layers import equivariance, geometry
from poolbench.evaluation.linear import explained, probe, ridge
from poolbench.evaluation.passes import passes
from poolbench.evaluation.protocols import PROTOCOLS, Protocol, protocol
from poolbench.evaluation.reconstruction import cell_side, reconstruction
from poolbench.evaluation.resizing import Sized, at_sizes
from poolbench.evaluation.robustness import CORRUPTIONS, corrupt, robustness
from poolbench.evaluation.segmentation import overlaps, segmentation, segmented
from poolbench.evaluation.shift import Shift, shift
from poolbench.evaluation.sizes import sized

__all__ = [
    "CORRUPTIONS",
    "PROTOCOLS",
    "SCHEMA",
    "Answers",
    "Cost",
    "Protocol",
    "Shift",
    "Sized",
    "activation",
    "ask",
    "at_sizes",
    "band",
    "boundary_iou",
    "cell_side",
    "classification",
    "confusion",
    "corrupt",
    "cost",
    "detection",
    "equivariance",
    "explained",
    "geometry",
    "maps_before",
    "overlaps",
    "passes",
    "period",
    "probe",
    "protocol",
    "reconstruction",
    "reliability",
    "ridge",
    "robustness",
    "segmentation",
    "segmented",
    "shift",
    "sized",
    "told",
]

SCHEMA = 5
"""Of what the stage `evaluate` writes and the report reads."""
