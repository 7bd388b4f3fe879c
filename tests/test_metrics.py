"""Counting, bounds, and the names that dashboards hold on to."""

from prometheus_client.parser import text_string_to_metric_families

from daemon.exposition import render
from daemon.metrics import LABEL_LIMIT, SERIES_LIMIT, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(render(metrics).decode())
        for sample in family.samples
    }


def test_everything_appears_under_the_names_of_the_contract() -> None:
    metrics = Metrics()
    metrics.events_total("entry", "http", "accepted")
    metrics.events_total("entry", "http", "accepted")
    metrics.deliveries_total("hotkeys", "done")
    metrics.queue_depth("hotkeys:main", 3)
    metrics.queue_depth("hotkeys:main", 2)
    metrics.peer_up("hotkeys:main", up=True)
    metrics.peer_up("mqtt", up=False)
    metrics.halted("entries")
    metrics.job_run("clock", "done")
    metrics.job_run("clock", "skipped")
    metrics.job_run("clock", "done")
    metrics.job_succeeded("clock", 1_800_000_000.5)
    metrics.job_succeeded("gone", 1.0)
    metrics.job_gone("gone")
    metrics.egress_blocked("polymaker")
    for seconds in (0.0004, 0.0005, 0.0007, 900.0):
        metrics.first_byte_seconds("hotkeys", seconds)
    found = samples(metrics)
    histogram = "deskhand_event_to_first_byte_seconds"
    assert found[("deskhand_events_total", "source=http", "status=accepted", "type=entry")] == 2
    assert found[("deskhand_deliveries_total", "handler=hotkeys", "outcome=done")] == 1
    assert found[("deskhand_queue_depth", "lane=hotkeys:main")] == 2
    assert found[("deskhand_peer_up", "peer=hotkeys:main")] == 1
    assert found[("deskhand_peer_up", "peer=mqtt")] == 0
    assert found[("deskhand_halted",)] == 1
    assert found[("deskhand_job_runs_total", "job=clock", "result=done")] == 2
    assert found[("deskhand_job_runs_total", "job=clock", "result=skipped")] == 1
    assert found[("deskhand_egress_blocked_total", "peer=polymaker")] == 1
    success = "deskhand_job_last_success_timestamp_seconds"
    assert {key: at for key, at in found.items() if key[0] == success} == {(success, "job=clock"): 1_800_000_000.5}
    assert found[(f"{histogram}_bucket", "handler=hotkeys", "le=0.0005")] == 2
    assert found[(f"{histogram}_bucket", "handler=hotkeys", "le=0.001")] == 3
    assert found[(f"{histogram}_bucket", "handler=hotkeys", "le=300.0")] == 3
    assert found[(f"{histogram}_bucket", "handler=hotkeys", "le=+Inf")] == 4
    assert found[(f"{histogram}_count", "handler=hotkeys")] == 4
    assert found[(f"{histogram}_sum", "handler=hotkeys")] == 900.0016
    assert ("process_resident_memory_bytes",) in found


def test_halted_has_three_levels() -> None:
    metrics = Metrics()
    for level, value in (("none", 0), ("all", 2), ("entries", 1)):
        metrics.halted(level)  # type: ignore[arg-type]  # the loop widens the literals
        assert samples(metrics)[("deskhand_halted",)] == value


def test_labels_are_bounded() -> None:
    metrics = Metrics()
    for number in range(SERIES_LIMIT * 3):
        metrics.events_total(f"type{number}", "http", "invalid")
        metrics.first_byte_seconds(f"handler{number}", 1.0)
        metrics.queue_depth(f"lane{number}", number)
        metrics.peer_up(f"peer{number}", up=True)
        metrics.deliveries_total(f"handler{number}", "done")
    metrics.deliveries_total("x" * (LABEL_LIMIT + 1), "done")
    found = samples(metrics)
    events = {key: value for key, value in found.items() if key[0] == "deskhand_events_total"}
    assert len(events) == SERIES_LIMIT + 1
    assert events[("deskhand_events_total", "source=other", "status=other", "type=other")] == SERIES_LIMIT * 2
    assert found[("deskhand_event_to_first_byte_seconds_count", "handler=other")] == SERIES_LIMIT * 2
    assert len(found) < SERIES_LIMIT * 25


def test_two_daemons_in_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.events_total("sl", "mqtt", "accepted")
    assert not [key for key in samples(second) if key[0] == "deskhand_events_total"]


def test_counts_by_status() -> None:
    metrics = Metrics()
    metrics.events_total("sl", "mqtt", "accepted")
    metrics.events_total("entry", "http", "accepted")
    metrics.events_total("entry", "http", "invalid")
    assert metrics.events_by_status() == {"accepted": 2, "invalid": 1}
