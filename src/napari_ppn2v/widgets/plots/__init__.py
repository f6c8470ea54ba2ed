"""Live plots: each shows what it is given, in the colours of the viewer's theme."""

from napari_ppn2v.widgets.plots.heat_map import HeatMapPlot
from napari_ppn2v.widgets.plots.loss import LossPlot
from napari_ppn2v.widgets.plots.nll import NllPlot
from napari_ppn2v.widgets.plots.slices import SlicePlot
from napari_ppn2v.widgets.plots.theme import PlotColours, plot_colours
from napari_ppn2v.widgets.plots.variance import VariancePlot

__all__ = [
    "HeatMapPlot",
    "LossPlot",
    "NllPlot",
    "PlotColours",
    "SlicePlot",
    "VariancePlot",
    "plot_colours",
]
