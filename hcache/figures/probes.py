"""The earlier name of :mod:`hcache.figures.probe_charts`, kept for scripts that use it."""

from __future__ import annotations

from .probe_charts import learning_chart, probe_curves, probe_heatmap, site_name

__all__ = ["learning_chart", "probe_curves", "probe_heatmap", "site_name"]
