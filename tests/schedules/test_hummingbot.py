"""The looks at Hummingbot do what their names say, and reconciling comes first."""

from schedules.hummingbot import OBSERVE_FIRST_S, RECONCILE_FIRST_S, HummingbotObserve, HummingbotReconcile


class Bots:
    def __init__(self) -> None:
        self.did: list[str] = []

    async def observe(self) -> None:
        self.did.append("observe")

    async def reconcile(self) -> None:
        self.did.append("reconcile")


async def test_each_does_its_own() -> None:
    bots = Bots()
    await HummingbotReconcile(bots).run()
    await HummingbotObserve(bots).run()
    assert bots.did == ["reconcile", "observe"]


def test_reconciling_comes_first() -> None:
    assert RECONCILE_FIRST_S < OBSERVE_FIRST_S
