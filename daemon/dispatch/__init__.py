"""From planned deliveries to their outcomes: router, guard, lanes."""

from daemon.dispatch.dispatcher import Dispatcher
from daemon.dispatch.lane import Lane
from daemon.dispatch.router import Router
from daemon.dispatch.rules import LaneRules

__all__ = ["Dispatcher", "Lane", "LaneRules", "Router"]
