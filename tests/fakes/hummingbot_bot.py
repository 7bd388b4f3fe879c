"""A Hummingbot's voice on MQTT: publishes and answers as the engine's bridge does, in its real bytes.

MQTT 3.1.1, QoS 0, nothing retained, no last will; commands are answered on the `reply_to` they name.
"""

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

Command = Literal["start", "stop", "history", "status"]
_NO_STRATEGY = "'HummingbotApplication' object has no attribute 'strategy'"


class HummingbotBot:
    """A context manager: one bot, `instance` with its time suffix, at the broker on this port.

    `trades` is what it answers to `history`; `commands` what it was told. `obeys` False: it does not answer at all.
    """

    def __init__(self, port: int, instance: str, *, now: Callable[[], float] = time.time) -> None:
        self.instance = instance
        self.now = now
        self.trades: list[dict[str, Any]] = []
        self.commands: list[str] = []
        self.obeys = True
        self._port = port
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._message

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def connect(self) -> None:
        """Connect, and come back by itself after a broker's restart. Raises TimeoutError."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        if not self._ready.wait(10):
            raise TimeoutError("the broker does not answer")

    def disconnect(self) -> None:
        """Gone; without a word, as a killed bot."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, channel: str, payload: bytes | str) -> None:
        """Any bytes at `hbot/<instance>/<channel>`, as the bridge sends them."""
        self._client.publish(f"hbot/{self.instance}/{channel}", payload, qos=0, retain=False)

    def flush(self, limit_s: float = 10.0) -> None:
        """Until everything is on the wire. Raises TimeoutError."""
        end = time.monotonic() + limit_s
        while self._client.want_write():
            if time.monotonic() > end:
                raise TimeoutError("not written")
            time.sleep(0.002)

    def hb(self) -> None:
        """The heartbeat, every 10 s."""
        self.publish("hb", json.dumps({"ts": int(self.now() * 1_000_000)}))

    def status(self, msg: str = "online", kind: str = "availability") -> None:
        """`online`, `offline` (when it has the time to say so)."""
        self.publish("status_updates", json.dumps({"timestamp": int(self.now() * 1000), "type": kind, "msg": msg}))

    def log_line(self, words: str, level: str = "INFO") -> None:
        """A line of its log."""
        number = {"INFO": 20, "WARNING": 30, "ERROR": 40}[level]
        line = {"timestamp": self.now(), "msg": words, "level_no": number, "level_name": level}
        self.publish("log", json.dumps(line | {"logger_name": "hummingbot.core"}))

    def notify(self, words: str) -> None:
        """What it tells its user; the -1 is a string on the wire."""
        self.publish("notify", json.dumps({"seq": 0, "timestamp": "-1", "msg": words}))

    def performance(self, report: dict[str, Any]) -> None:
        """About once a second, of controllers only."""
        self.publish("performance", json.dumps(report))

    def event(self, kind: str, data: dict[str, Any], at: int | None = None) -> None:
        """An event; its time has whole seconds."""
        self.publish("events", event_bytes(kind, data, int(self.now()) if at is None else at))

    def filled(
        self,
        order_id: str,
        side: Literal["BUY", "SELL"],
        price: str,
        amount: str,
        *,
        pair: str = "BTC-USDT",
        position: str = "NIL",
        exchange_trade_id: str = "",
        at: int | None = None,
    ) -> None:
        """OrderFilled."""
        self.event("OrderFilled", fill(order_id, side, price, amount, pair, position, exchange_trade_id), at)

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe([(f"hbot/{self.instance}/{name}", 1) for name in ("start", "stop", "history", "status")])

    def _message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        command = message.topic.rpartition("/")[2]
        self.commands.append(command)
        try:
            reply_to = json.loads(message.payload)["header"]["reply_to"]
        except (ValueError, KeyError, TypeError):
            return
        if self.obeys and isinstance(reply_to, str) and reply_to:
            data: dict[str, Any] = {"status": 200, "msg": ""}
            if command in ("start", "status"):
                data = {"status": 400, "msg": _NO_STRATEGY}
            elif command == "history":
                data["trades"] = list(self.trades)
            header = {"reply_to": "", "timestamp": int(self.now() * 1000), "content_type": "json"}
            header |= {"encoding": "utf8", "agent": "commlib"}
            self._client.publish(reply_to, json.dumps({"header": header, "data": data}), qos=1)


def event_bytes(kind: str, data: dict[str, Any], at: int) -> bytes:
    """An event as it is on the wire; `at` in seconds since the epoch."""
    return json.dumps({"timestamp": at, "type": kind, "data": data}).encode()


def fill(
    order_id: str, side: str, price: str, amount: str, pair: str, position: str, exchange_trade_id: str
) -> dict[str, Any]:
    """The data of an OrderFilled; prices are numbers there, fees are texts."""
    return {
        "timestamp": time.time(),
        "order_id": order_id,
        "trading_pair": pair,
        "trade_type": f"TradeType.{side}",
        "order_type": "OrderType.LIMIT",
        "price": float(price),
        "amount": float(amount),
        "trade_fee": {
            "fee_type": "AddedToCost",
            "percent": "0.0002",
            "percent_token": None,
            "flat_fees": [{"token": pair.partition("-")[2], "amount": "0.01"}],
        },
        "exchange_trade_id": exchange_trade_id,
        "exchange_order_id": f"x{order_id}",
        "leverage": 1,
        "position": position,
    }
