"""Another MQTT client at the same broker: publishes events, and hears outcomes and status."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


class MqttPeer:
    """A context manager; `heard` maps each topic to its payloads, in order."""

    def __init__(self, port: int, *, listen: str | None = "deskhand/#", credentials: tuple[str, str] | None = None):
        self.heard: dict[str, list[bytes]] = {}
        self._listen = listen
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.max_inflight_messages_set(1000)
        if credentials:
            self._client.username_pw_set(*credentials)
        self._client.on_connect = self._connected
        self._client.on_message = self._message
        self._client.on_publish = self._published
        self._client.reconnect_delay_set(1, 1)
        self._confirmed: set[int] = set()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._port = port

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        if not self._ready.wait(10):
            raise TimeoutError("the broker does not answer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, payload: bytes | str, topic: str = "deskhand/events", *, retain: bool = False) -> int:
        """QoS 1; the packet id, for `confirm`. While the broker is away it is kept and sent later."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def confirm(self, numbers: list[int], limit_s: float = 120.0) -> None:
        """Until the broker has acknowledged all of these. Raises TimeoutError."""
        end = time.monotonic() + limit_s
        while not self._confirmed.issuperset(numbers):
            if time.monotonic() > end:
                raise TimeoutError(f"{len(set(numbers) - self._confirmed)} not acknowledged")
            time.sleep(0.002)

    def publish_all(self, payloads: list[str], topic: str = "deskhand/events") -> None:
        """Publish these and wait until the broker has them all."""
        self.confirm([self.publish(payload, topic) for payload in payloads])

    def wait(self, condition: Callable[[dict[str, list[bytes]]], bool], limit_s: float = 10.0) -> None:
        """Until the condition on `heard` holds. Raises TimeoutError."""
        end = time.monotonic() + limit_s
        while not condition(self.heard):
            if time.monotonic() > end:
                raise TimeoutError(f"heard only {sorted(self.heard)}")
            time.sleep(0.005)

    def _connected(self, client: paho.Client, *_: object) -> None:
        if self._listen:
            client.subscribe(self._listen, qos=1)
        else:
            self._ready.set()

    def _published(self, _client: paho.Client, _userdata: object, number: int, *_: object) -> None:
        self._confirmed.add(number)

    def _message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        self.heard.setdefault(message.topic, []).append(bytes(message.payload))
