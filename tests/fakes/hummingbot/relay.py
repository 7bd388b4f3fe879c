"""Between the fake and a real broker: each bot that talks publishes there, and whatever is published is heard."""

import threading
from collections.abc import Callable
from contextlib import suppress

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.fakes.hummingbot.bots import Bots
from tests.fakes.hummingbot.habits import Habits
from tests.fakes.hummingbot_bot import HummingbotBot


class Relay:
    """`voices` are the bots at the broker by name, `strangers` the topics below `hbot/` that are others'."""

    def __init__(self, port: int, bots: Bots, habits: Habits, now: Callable[[], float]) -> None:
        self.voices: dict[str, HummingbotBot] = {}
        self.strangers: list[str] = []
        self._port, self._bots, self._habits, self._now = port, bots, habits, now
        self._end = threading.Event()
        self._changed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("hbot/#", qos=1)
        self._client.on_disconnect = lambda *_: bots.cut()
        self._client.on_subscribe = lambda *_: bots.join()
        self._client.on_message = self._heard

    def start(self) -> None:
        """Connect; blocks until the broker answers."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._bots.moved = lambda _: self._changed.set()
        self._thread = threading.Thread(target=self._run, name="bots' voices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Everybody falls silent."""
        self._end.set()
        self._changed.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._end.is_set():
            talking = {bot.name for bot in list(self._bots.known.values()) if bot.talks}
            for name in talking - self.voices.keys():
                voice = HummingbotBot(self._port, name, now=self._now)
                with suppress(OSError):  # the broker is away: the next round tries again
                    voice.connect()
                    voice.status("online")
                    self.voices[name] = voice
            for name in self.voices.keys() - talking:
                self.voices.pop(name).disconnect()
            for voice in self.voices.values():
                voice.hb()
            self._changed.wait(self._habits.hb_s)
            self._changed.clear()
        for voice in self.voices.values():
            voice.disconnect()

    def _heard(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        name = message.topic.split("/")[1]
        if name not in self._bots.known:
            self.strangers.append(message.topic)
            if name:
                self._bots.phantom(name)
