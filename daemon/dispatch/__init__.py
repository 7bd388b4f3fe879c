"""From planned deliveries to their outcomes: router, guard, lanes."""

from daemon.dispatch.dispatcher import Dispatcher
from daemon.dispatch.lane import Lane, LaneRules
from daemon.dispatch.router import Router

__all__ = ["Dispatcher", "Lane", "LaneRules", "Router"]
