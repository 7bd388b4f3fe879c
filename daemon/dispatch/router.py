"""From an event to what is asked of whom; pure: the same event always gives the same plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.dispatch import templates
from daemon.events import EventType, TradeEvent
from daemon.ports import Action
from daemon.settings import Call, Press, Route, When

Sequences = Callable[[EventType, str], tuple[str, ...] | None]
"""The usual keys of an event type and side: None where that side has none, empty where none are to be pressed."""


HUMMINGBOT = "api"
"""The one target of calls to Hummingbot."""


def _matches(when: When, event: TradeEvent) -> bool:
    wanted = (
        (when.type, event.type),
        (when.symbol, event.symbol),
        (when.account, event.account),
        (when.strategy, event.strategy),
        (when.source, event.source),
        (when.side, event.side),
    )
    return all(allowed is None or value in allowed for allowed, value in wanted)


@dataclass(frozen=True, slots=True)
class Planned:
    """An action, or, with `refusal`, why there is none to perform."""

    action: Action
    refusal: str = ""


class Router:
    """First matching route wins; without one, the usual sequence at the default target."""

    def __init__(self, routes: Sequence[Route], usual: Sequences, default_target: str) -> None:
        self._routes = tuple(routes)
        self._usual = usual
        self._default = default_target
        self._plans: dict[tuple[EventType, str], tuple[Planned, ...]] = {}

    def plan(self, event: TradeEvent, *, report: bool = False, shown: TradeEvent | None = None) -> tuple[Planned, ...]:
        """What the event asks for; empty when a route says so. A `report` tells of what has happened elsewhere: only a
        route that names its source acts on it. `shown` is the event as calls may quote it.
        """
        for route in self._routes:
            if _matches(route.when, event) and (route.when.source is not None or not report):
                return tuple(self._planned(step, shown or event) for step in route.do)
        if report:
            return ()
        key = (event.type, event.side)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = (self._sequence(event, self._default),)
        return plan

    def _planned(self, step: Press | Call, event: TradeEvent) -> Planned:
        if isinstance(step, Call):
            asked, problem = templates.step(step.hummingbot, step.templates(), event)
            return Planned(Action("hummingbot", HUMMINGBOT, (asked,)), problem)
        if step.keys is not None:
            return Planned(Action("hotkeys", step.hotkeys, step.keys))
        return self._sequence(event, step.hotkeys)

    def _sequence(self, event: TradeEvent, target: str) -> Planned:
        keys = self._usual(event.type, event.side)
        if keys is None:
            return Planned(Action("hotkeys", target, ()), f"no sequence for a {event.side} {event.type}")
        return Planned(Action("hotkeys", target, keys))
