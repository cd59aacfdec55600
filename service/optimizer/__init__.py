"""SMAC3 behind ask and tell, with signs, seeds and failures taken care of; the only place that imports smac."""

from __future__ import annotations

from service.optimizer.optimizer import Optimizer, Suggestion, Told

__all__ = ["Optimizer", "Suggestion", "Told"]
