"""Reload: a good configuration takes effect, a bad one is refused with its line, and no event is lost."""

import re
import signal

from tests.acceptance.desk import Json, until
from tests.systemd.service import CONFIG, SOCKET_PATH, Keys, Posts, Service, accounts


def last_look(service: Service) -> float:
    """When the job that watches the clock last ended well, as epoch seconds; 0 before the first time."""
    text = service.machine.run("curl", "--silent", "--unix-socket", SOCKET_PATH, "http://desk/metrics").out
    found = re.search(r'^deskhand_job_last_success_timestamp_seconds\{job="clock"\} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_good_one_takes_effect_and_keeps_what_waits(service: Service, keys: Keys, live: Json) -> None:
    slow = live | {"hotkeys": live["hotkeys"] | {"gap_ms": 2000}}
    service.configure(**slow)
    service.restart()
    pid, before, looked = service.pid, len(keys.frames), last_look(service)
    waiting = [service.post("entry", trade_id=f"good-{n}")[1]["id"] for n in range(3)]
    changed = live | {"schedules": {"clock": "1s"}}
    changed["hotkeys"] = live["hotkeys"] | {"gap_ms": 20, "sequences": {"entry": ["buy_bid"]}}
    service.configure(**changed)
    mark = service.cursor()
    assert [service.event(id_)["deliveries"][0]["state"] for id_ in waiting][-1] != "ended", "nothing was waiting"
    assert service.systemctl("reload").code == 0
    new = service.done("entry", trade_id="good-new")["id"]
    assert all(service.ended(id_)["deliveries"][0]["result"] == "done" for id_ in waiting)
    assert keys.frames[before:] == [f"buy_ask {id_}" for id_ in waiting] + [f"buy_bid {new}"]
    until(lambda: last_look(service) > looked, what="the new interval has no effect")  # the old one is a minute
    first = last_look(service)
    until(lambda: last_look(service) > first, what="the job ran once and no more")
    assert service.pid == pid
    told = service.journal(mark)
    for key in ("hotkeys.gap_ms", "hotkeys.sequences", "schedules.clock"):
        assert key in told, told
    assert service.state("ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}


def test_a_bad_one_is_refused_with_its_line_while_events_go_on(service: Service, keys: Keys) -> None:
    pid, before = service.pid, len(keys.presses)
    good = service.machine.read(CONFIG)
    with Posts(service, rate=50) as stream:
        for line, key, text in (
            (1, "mode", good.replace("mode: live", "mode: alive")),
            (good.count("\n") + 1, "colour", good + "colour: red\n"),
            (good.count("\n") + 2, "", good + "\n  - : {\n"),
        ):
            service.machine.put(CONFIG, text, 0o640, "root:deskhand")
            mark = service.cursor()
            refused = service.systemctl("reload", check=False)
            assert refused.code != 0
            told = service.journal(mark)
            assert f"deskhand.yaml:{line}: {key}" in told, told
            shown = service.systemctl("status", "--no-pager", "--full", "--lines=1000", check=False).out
            assert f"deskhand.yaml:{line}" in shown, shown
            assert service.state("ActiveState")["ActiveState"] == "active"
        service.machine.put(CONFIG, good, 0o640, "root:deskhand")
        assert service.systemctl("reload").code == 0
    assert service.pid == pid
    assert service.restarts == 0
    ends = accounts(service, keys, stream, before)
    assert ends["done"] == len(stream.sent) > 10


def test_sighup_does_the_same(service: Service, keys: Keys, live: Json) -> None:
    pid = service.pid
    mark = service.cursor()
    service.configure(**live | {"nonsense": 1})
    service.kill(signal.SIGHUP)
    until(lambda: "deskhand.yaml:8: nonsense: " in service.journal(mark), what="not refused")
    service.done("entry", trade_id="hup-1")
    assert keys.frames[-1].startswith("buy_ask ")
    mark = service.cursor()
    service.configure(**live | {"hotkeys": live["hotkeys"] | {"sequences": {"entry": ["buy_bid"]}}})
    service.kill(signal.SIGHUP)
    until(lambda: "hotkeys.sequences" in service.journal(mark), what="not reloaded")
    service.done("entry", trade_id="hup-2")
    assert keys.frames[-1].startswith("buy_bid ")
    assert service.pid == pid


def test_reloads_under_load_lose_nothing(service: Service, keys: Keys, live: Json) -> None:
    before, pid = len(keys.presses), service.pid
    with Posts(service, rate=100) as stream:
        for number in range(10):
            gap = live["hotkeys"] | {"gap_ms": 5 + number % 2}
            service.configure(**live | {"hotkeys": gap} | ({"wrong": True} if number % 3 == 2 else {}))
            assert (service.systemctl("reload", check=False).code == 0) is (number % 3 != 2)
    assert stream.again == []
    assert service.pid == pid
    accounts(service, keys, stream, before)
