"""Asks TPV what a job would get: `dry_run.py JSON`, run with the Python of Galaxy's environment.

JSON holds `config`, the files of the rules, and `jobs`, pairs of a tool's id and the GB of its input. The answer, a
line of JSON for each job, is the id of the destination, its parameters and its environment variables.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tpv.commands.dryrunner import TPVDryRunner

# TPV reads from Galaxy's configuration of jobs only that it is there.
JOB_CONF = {
    "runners": {"local": {"load": "galaxy.jobs.runners.local:LocalJobRunner"}},
    "execution": {"default": "tpv", "environments": {"tpv": {"runner": "dynamic", "type": "python"}}},
}


def ask(config: list[str], tool: str, gigabytes: float) -> dict[str, Any]:
    """The destination of one job."""
    with tempfile.TemporaryDirectory() as folder:
        job_conf = Path(folder, "job_conf.yml")
        job_conf.write_text(json.dumps(JOB_CONF))  # JSON is YAML
        runner = TPVDryRunner.from_params(
            job_conf=str(job_conf), tool_id=tool, tpv_confs=config, input_size=gigabytes or None
        )
        runner.job.destination_params = {}  # as for a job that is sent for the first time; TPV's stand-in lacks it
        destination, _ = runner.run()
    return {"id": destination.id, "params": destination.params, "env": destination.env}


def main(wanted: dict[str, Any]) -> None:
    """Answer for every job."""
    for tool, gigabytes in wanted["jobs"]:
        print(json.dumps(ask(wanted["config"], tool, gigabytes)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
