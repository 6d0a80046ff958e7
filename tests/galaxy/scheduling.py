"""The rules for TPV in tools/tpv: TPV itself tells what jobs of some sizes get."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .checks import Result
from .layout import HERE, Site, environment, python

OWNER = "toolshed.g2.bx.psu.edu/repos/bgruening/bioimage_inference"
# What the rules of a server bring: the defaults of TPV's shared database, and a cluster. What counts is what jobs ask.
SERVER = {
    "global": {"default_inherits": "default"},
    "tools": {"default": {"abstract": True, "gpus": 0, "cores": 1, "mem": "cores * 3.8"}},
    "destinations": {
        "cluster": {
            "runner": "slurm",
            "max_accepted_cores": 64,
            "max_accepted_mem": 256,
            "max_accepted_gpus": 1,
            "params": {"asked": "{cores} {mem:g} {gpus}"},
        }
    },
}
# The table of docs/how-to/job-resources.md: tool, GB of input, and cores, GB of memory, GPUs.
JOBS = [
    ("bioimage_inference", 0, "4 4 0"),
    ("bioimage_inference", 0.05, "4 4.2 0"),
    ("bioimage_inference", 0.5, "4 10 1"),
    ("bioimage_inference", 5, "4 16 1"),
    ("bioimage_model_info", 0.5, "1 4 0"),
    ("bioimage_compare", 0.5, "4 5 0"),
    ("bioimage_segment", 0.5, "1 4 0"),
]
# With the example of that page for a server without GPUs.
LOCAL_JOBS = [("bioimage_inference", 0.5, "4 6 0"), ("bioimage_segment", 0.5, "1 4 0")]


def check_rules(site: Site) -> list[Result]:
    """Ask TPV for every job. Its linter is left out: it runs mypy over Galaxy, which takes minutes."""
    rules = site.repository / "tools" / "tpv" / "bioimage_inference.yml"
    server, local = site.server / "tpv_server.yml", site.server / "tpv_local.yml"
    server.write_text(json.dumps(SERVER))  # JSON is YAML
    page = (site.repository / "docs" / "how-to" / "job-resources.md").read_text()
    local.write_text(next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "SCALING" in block))
    return [
        Result("TPV sends jobs by the rules", wrong_jobs(site, [server, rules], JOBS)),
        Result("TPV sends jobs by a server's own rules", wrong_jobs(site, [server, rules, local], LOCAL_JOBS)),
    ]


def wrong_jobs(site: Site, config: Sequence[Path], jobs: Sequence[tuple[str, float, str]]) -> str:
    """Empty where every job gets what the page for administrators says."""
    tools = [(f"{OWNER}/{tool}/2.5.0+galaxy0", size) for tool, size, _ in jobs]
    wanted_jobs = json.dumps({"config": [str(file) for file in config], "jobs": tools})
    command = [python(site.galaxy), str(HERE / "dry_run.py"), wanted_jobs]
    asked = subprocess.run(command, env=environment(site.galaxy), capture_output=True, text=True)
    if asked.returncode:
        return asked.stderr
    problems = []
    for (tool, size, wanted), line in zip(jobs, asked.stdout.splitlines(), strict=True):
        answer = json.loads(line)
        memory = {"name": "GALAXY_MEMORY_MB", "value": str(int(float(wanted.split()[1]) * 1024))}
        container = answer["params"].get("singularity_run_extra_arguments")
        found = answer["params"]["asked"], memory in answer["env"], container
        if found != (wanted, True, " --nv " if wanted.endswith("1") else None):
            problems.append(f"{tool} with {size} GB gets {answer}, not {wanted}.")
    return "\n".join(problems)
