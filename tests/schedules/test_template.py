"""What newcomers copy works as it stands."""

from daemon.clock import Clock
from daemon.metrics import Metrics
from daemon.ports import Schedule
from daemon.scheduling import Job, Scheduler
from schedules._template import Template
from tests.dispatch.support import until
from tests.test_metrics import samples


async def test_it_runs() -> None:
    metrics = Metrics()
    scheduler = Scheduler(Clock(), metrics)
    schedule: Schedule = Template(Clock())
    scheduler.apply([Job(schedule.name, 60, 0, schedule.run)])
    key = ("deskhand_job_last_success_timestamp_seconds", "job=template")
    await until(lambda: key in samples(metrics))
    await scheduler.stop()
