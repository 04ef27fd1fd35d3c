"""What an executor hands on of a job."""

from __future__ import annotations

from attrs import evolve

from wegent.core.model import Job
from wegent.protocol import jobs


def spec_of(job: Job) -> jobs.Job:
    """The job as the protocol has it, as a part of the run's own span where there is one."""
    spec: jobs.Job = job.spec
    return spec if job.traceparent is None else evolve(spec, traceparent=job.traceparent)
