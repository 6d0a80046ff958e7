"""One Galaxy on a free port of loopback, with sqlite, a celery worker and Pulsar: configure, start, stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..zoo_server import PATTERN
from .layout import CHECKOUT, HERE, Failure, Site, Tool, environment, read_tools, read_workflow_tools, say
from .shed_tools import place_shed_tools

ADMIN_KEY = "only-for-loopback-0123456789"
USER = {"username": "admin", "email": "admin@example.org", "password": "admin12345"}
ZOO_MODEL = "quiet-newt"
START_TIMEOUT = 300
STOP_TIMEOUT = 30
MONITOR_SLEEP = 0.5
# Galaxy's own tools that workflows over collections are made of.
COLLECTION_TOOLS = ("build_list", "extract_dataset", "flatten_collection", "relabel_from_file", "apply_rules")


def configure(site: Site) -> None:
    """Write the configuration of a fresh Galaxy; the former one's database and datasets go."""
    if processes(site):
        raise Failure(f"the Galaxy in {site.state} is running: stop it first.")
    shutil.rmtree(site.server, ignore_errors=True)
    site.server.mkdir(parents=True)
    pack(site)
    tools = read_tools(site, site.packages)
    if lost := {tool.id for tool in read_tools(site, site.tools)} - {tool.id for tool in tools}:
        raise Failure(f"{', '.join(sorted(lost))}: no .shed.yml packs it, so no server would get it.")
    for name in {name for tool in tools for name in tool.requirements}:
        package = site.server / "dependencies" / name
        (package / "tools-env").mkdir(parents=True)
        (package / "tools-env" / "env.sh").write_text(f'export PATH="{site.tools_env}/bin:$PATH"\n')
        (package / "default").symlink_to("tools-env")  # a folder of that name would not be found
    stock_zoo(site)
    (site.server / "zoo.port").write_text(str(free_port()))
    panel = [*(tool.path for tool in tools if not tool.manages_data), place_exit_code(site)]
    hidden = place_shed_tools(site)
    (site.server / "tool_conf.xml").write_text(toolbox(panel, hidden))
    (site.server / "allowlist.txt").write_text("\n".join(one for tool in tools for one in (tool.id, tool.shed_id)))
    site.config.write_text(json.dumps({"galaxy": settings(site)}, indent=2))  # JSON is YAML


def pack(site: Site) -> None:
    """Pack the tools as for the Tool Shed and unpack them for Galaxy: so the tests see what a server would get.

    planemo writes the archive beside the folder that it packs, under one name for all repositories of a .shed.yml: so
    they are packed one by one. Links to what it needs keep that out of the checkout. They are removed again, because a
    wheel that is built afterwards would miss the folders that they lead to.
    """
    config = yaml.safe_load((site.repository / ".shed.yml").read_text())
    for name, repository in config.pop("repositories").items():
        stage = site.server / "shed"
        stage.mkdir()
        (stage / ".shed.yml").write_text(json.dumps(config | repository | {"name": name}))  # JSON is YAML
        for folder in ("tools", "bioimage_inference"):
            (stage / folder).symlink_to(site.repository / folder)
        command = [str(site.planemo / "bin" / "planemo"), "shed_build", str(stage)]
        packed = subprocess.run(command, env=environment(site.planemo), capture_output=True, text=True)
        shutil.rmtree(stage)
        if packed.returncode:
            raise Failure(f"planemo cannot pack {name}:\n{packed.stdout}{packed.stderr}")
        with tarfile.open(stage.with_name("shed.tar.gz")) as archive:
            archive.extractall(site.packages / name, filter="data")


def stock_zoo(site: Site) -> None:
    """The demo model as a model of the zoo, which the data manager downloads."""
    folder = site.zoo / ZOO_MODEL
    with zipfile.ZipFile(site.repository / "test-data" / "demo-model.zip") as package:
        package.extractall(folder)
    publish(site, "1.0.0")


def publish(site: Site, version: str) -> None:
    """Give the model of the zoo a version."""
    path = site.zoo / ZOO_MODEL / "rdf.yaml"
    description = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(description | {"id": ZOO_MODEL, "version": version}, sort_keys=False))


def place_exit_code(site: Site) -> Path:
    """Put the tool of `failures.py` beside the macros of our tools, as Galaxy gets them."""
    folder = site.server / "exit_code"
    folder.mkdir(exist_ok=True)
    macros = site.packages / "bioimage_inference" / "macros.xml"
    shutil.copy(macros, folder)
    return Path(shutil.copy(HERE / "exit_code.xml", folder))


def toolbox(panel: list[Path], hidden: list[str]) -> str:
    """Galaxy's list of tools: upload, collections, ours, and the lines of hidden tools."""
    sections = {
        "Get Data": ["data_source/upload.xml"],
        "Collection Operations": [f"${{model_tools_path}}/{name}.xml" for name in COLLECTION_TOOLS],
        "Bioimage inference": [str(path) for path in panel],
    }
    lines = ["<toolbox>"]
    for number, (name, files) in enumerate(sections.items()):
        lines += [
            f'<section id="section{number}" name="{name}">',
            *(f'<tool file="{f}"/>' for f in files),
            "</section>",
        ]
    return "\n".join([*lines, *hidden, "</toolbox>\n"])


def settings(site: Site) -> dict[str, Any]:
    dependencies = {"type": "galaxy_packages", "base_path": str(site.server / "dependencies"), "versionless": True}
    tables = sorted(site.packages.rglob("tool_data_table_conf.xml.test"))
    return {
        "data_dir": str(site.server / "data"),
        # sqlite gives up a locked database after 5 seconds, and Galaxy then forgets a job. On a busy machine, the
        # tests that run at once lock it longer. With this setting, messages need a database of their own again.
        "database_connection": f"sqlite:///{site.server}/data/universe.sqlite?isolation_level=IMMEDIATE&timeout=60",
        "amqp_internal_connection": f"sqlalchemy+sqlite:///{site.server}/data/control.sqlite?isolation_level=IMMEDIATE",
        "tool_config_file": str(site.server / "tool_conf.xml"),
        "bootstrap_admin_api_key": ADMIN_KEY,
        "admin_users": USER["email"],
        "id_secret": ADMIN_KEY,
        "dependency_resolvers": [dependencies],
        # Pages of our tools are shown as pages; those of others as program code.
        "sanitize_allowlist_file": str(site.server / "allowlist.txt"),
        "conda_auto_init": False,
        "conda_auto_install": False,
        "watch_tools": "false",
        "cleanup_job": "onsuccess",
        # Uploads and metadata are the worker's: a process for each would take three to four times as long.
        "enable_celery_tasks": True,
        "metadata_strategy": "directory_celery",
        # By default, the threads that pass a job on look for it once a second.
        "job_handler_monitor_sleep": MONITOR_SLEEP,
        "job_runner_monitor_sleep": MONITOR_SLEEP,
        "workflow_monitor_sleep": MONITOR_SLEEP,
        "celery_conf": {
            "task_routes": {"galaxy.fetch_data": "galaxy.external", "galaxy.set_job_metadata": "galaxy.external"},
            # Each thread that sends a task keeps a connection. By default there are 15 for a database, and on a busy
            # machine they ran out. The database of the other messages has its limit already when Celery's options come.
            "broker_url": f"sqlalchemy+sqlite:///{site.server}/tasks.sqlite?isolation_level=IMMEDIATE&timeout=60",
            "broker_transport_options": {"max_overflow": -1},
        },
        "job_config": jobs(site, dependencies),
        "tool_data_table_config_path": ",".join(map(str, tables)) or None,
        "data_manager_config_file": ",".join(map(str, sorted(site.packages.rglob("data_manager_conf.xml")))) or None,
        "galaxy_data_manager_data_path": str(site.offered),
    }


def jobs(site: Site, dependencies: dict[str, Any]) -> dict[str, Any]:
    """Jobs run by Pulsar, as on a remote cluster: of the tool's files they get <required_files> and nothing else."""
    pulsar = {
        "staging_directory": str(site.server / "pulsar" / "jobs"),
        "persistence_directory": str(site.server / "pulsar" / "state"),
        "manager": {"type": "queued_python", "num_concurrent_jobs": 2, "min_polling_interval": MONITOR_SLEEP},
        "conda_auto_init": False,
        "conda_auto_install": False,
        "dependency_resolution": {"resolvers": [dependencies]},
    }
    destination = {
        "runner": "pulsar",
        "default_file_action": "copy",
        "dependency_resolution": "remote",
        "rewrite_parameters": True,
        "remote_metadata": False,
        # Enough for all tests but the one in which memory runs out.
        "env": [
            {"name": "GALAXY_MEMORY_MB", "value": "1536"},
            {"name": "BIOIMAGEIO_COLLECTION_HTTP_PATTERN", "value": site.zoo_url + PATTERN},
            {"name": "BIOIMAGEIO_CACHE_PATH", "value": str(site.server / "cache")},
        ],
    }
    load = "galaxy.jobs.runners.pulsar:PulsarEmbeddedJobRunner"
    return {
        "runners": {"pulsar": {"load": load, "workers": 2, "pulsar_app_config": pulsar}},
        "execution": {"default": "pulsar", "environments": {"pulsar": destination}},
    }


def start(site: Site) -> None:
    """Start the web server and the worker; returns when both are ready and every tool and its packages are found."""
    if processes(site):
        raise Failure(f"the Galaxy in {site.state} is running already.")
    if not site.config.exists():
        raise Failure("there is no configuration yet: run config first.")
    began = time.monotonic()
    port = free_port()
    (site.server / "port").write_text(str(port))
    script, zoo_port = CHECKOUT / "tests" / "zoo_server.py", (site.server / "zoo.port").read_text()
    launch(site, "zoo", ["python", str(script), str(site.zoo), zoo_port])
    web = launch(site, "web", ["galaxy-web", "-c", str(site.config), "-b", f"127.0.0.1:{port}"])
    wait_for(site, "web", web, lambda: answers(site))
    worker = "celery --app galaxy.celery worker --pool threads --concurrency 2 --loglevel INFO"
    queues = ["--queues", "celery,galaxy.internal,galaxy.external"]
    celery = launch(site, "celery", [*worker.split(), *queues])
    make_user(site)
    for tool in read_tools(site, site.packages):
        check_loaded(site, tool, tool.id)
    for tool in read_workflow_tools(site):
        check_loaded(site, tool, tool.shed_id)
    wait_for(site, "celery", celery, lambda: "ready." in log_of(site, "celery").read_text())
    say(f"ready at {site.url} after {time.monotonic() - began:.0f} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def launch(site: Site, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a server out of reach of the terminal's Ctrl-C; `stop` knows it and its jobs by their environment."""
    with log_of(site, name).open("w") as log:
        return subprocess.Popen(
            [site.galaxy / "bin" / command[0], *command[1:]],
            cwd=site.server,
            env=environment(site.galaxy) | {"GALAXY_CONFIG_FILE": str(site.config)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def log_of(site: Site, name: str) -> Path:
    return site.server / f"{name}.log"


def wait_for(site: Site, name: str, server: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            tail = log_of(site, name).read_text().splitlines()[-40:]
            raise Failure(f"Galaxy's {name} process did not come up. Its last lines:\n" + "\n".join(tail))
        time.sleep(0.25)


def answers(site: Site) -> bool:
    try:
        call(site, "GET", "version")
    except urllib.error.URLError:
        return False
    return True


def call(site: Site, method: str, path: str, body: Mapping[str, Any] | None = None, key: str = ADMIN_KEY) -> Any:
    """One request to Galaxy's API, as the administrator or as the user with another key."""
    request = urllib.request.Request(
        f"{site.url}/api/{path}",
        method=method,
        data=json.dumps(body).encode() if body else None,
        headers={"x-api-key": key, "content-type": "application/json"},
    )
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with without_proxy.open(request, timeout=60) as response:
        return json.load(response)


def as_user(site: Site, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """One request to Galaxy's API as the user who runs the tests."""
    return call(site, method, path, body, key=(site.server / "user.key").read_text())


def make_user(site: Site) -> None:
    """The user who runs the tests; the key is kept for other commands."""
    key = site.server / "user.key"
    if not key.exists():
        user = call(site, "POST", "users", USER)
        key.write_text(call(site, "POST", f"users/{user['id']}/api_key"))


def check_loaded(site: Site, tool: Tool, tool_id: str) -> None:
    """A tool that Galaxy could not read is only missing, and one without its packages runs in Galaxy's own Python."""
    try:
        packages = call(site, "GET", f"tools/{tool_id}/requirements")
    except urllib.error.HTTPError as error:
        raise Failure(f"Galaxy did not load {tool.path}; see {log_of(site, 'web')}.") from error
    missing = [package["name"] for package in packages if not package["dependency_type"]]
    if missing:
        raise Failure(f"Galaxy does not find the packages of {tool.path}: {', '.join(missing)}. Run config again.")


def reload(site: Site) -> None:
    """Pack the tools again and let the running Galaxy read them."""
    pack(site)
    place_exit_code(site)
    place_shed_tools(site)
    call(site, "PUT", "configuration/toolbox")


def processes(site: Site) -> list[int]:
    """Galaxy's processes and their jobs: all that carry this Galaxy's configuration in their environment."""
    mark = f"GALAXY_CONFIG_FILE={site.config}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # another user's, or ended meanwhile
                continue
            if mark in variables:
                found.append(int(folder.name))
    return found


def stop(site: Site) -> None:
    """End Galaxy and its jobs: politely, and after a while for certain."""
    deadline = time.monotonic() + STOP_TIMEOUT
    signal_all(processes(site), signal.SIGTERM)
    while processes(site) and time.monotonic() < deadline:
        time.sleep(0.1)
    signal_all(processes(site), signal.SIGKILL)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # ended meanwhile
            continue
