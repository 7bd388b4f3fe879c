import json

from daemon.events import validate
from handlers.hotkeys.frame import FrameTemplate
from tests.fakes.hotkey_server import HotkeyServer
from tests.handlers.hotkeys.support import ENTRY, lane

FULL = validate(
    {
        "type": "sl",
        "symbol": "BRK.B",
        "id": 'x","action":"buy_ask',
        "ts": "1",
        "side": "short",
        "price": "1e2",
        "quantity": "0.50",
        "trade_id": "tür{}",
    }
)


def test_a_bare_action() -> None:
    assert FrameTemplate("{action}").render("buy_ask", FULL) == b"buy_ask"


def test_all_fields_and_absent_ones_are_empty() -> None:
    template = FrameTemplate("{action}|{symbol}|{side}|{quantity}|{price}|{trade_id}")
    assert template.render("sell", FULL).decode() == "sell|BRK.B|short|0.50|100|tür{}"
    assert template.render("buy", ENTRY) == b"buy|AAPL|long|||"


def test_in_json_a_value_cannot_write_a_key() -> None:
    template = FrameTemplate('{{"action":"{action}","id":"{id}"}}')
    assert json.loads(template.render("sell_all_bid", FULL)) == {"action": "sell_all_bid", "id": FULL.id}


async def test_on_the_wire() -> None:
    async with HotkeyServer() as server, lane(server.url, frame="{action} {symbol}") as desk:
        await desk.press_when_ready("buy_ask")
        await desk.confirmed(1)
        assert server.frames == ["buy_ask AAPL"]
