"""Predicting on a Dask cluster of real processes: the results are those of one process, whatever dies on the way."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
import tifffile
import torch
import yaozarrs
import zarr
from distributed import LocalCluster
from distributed.security import Security
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import bioimage_inference
from bioimage_inference.api import Target, open_model
from bioimage_inference.cli import main
from bioimage_inference.cluster import tile_blocks as block_geometry
from bioimage_inference.cluster import worker
from bioimage_inference.cluster.cluster_run import predict_on_cluster
from bioimage_inference.cluster.connect import _is_open_to_others, connect
from bioimage_inference.cluster.process import ComputingProcess, ProcessLostError
from bioimage_inference.cluster.tile_blocks import make_blocks
from bioimage_inference.cluster.work import ImageJob, ModelSource, Place
from bioimage_inference.errors import BioimageInferenceError, ImageError, OutOfMemoryError, UsageError
from bioimage_inference.image.readers.reading import open_image
from bioimage_inference.inference.planning import close, prepare
from bioimage_inference.options import Options
from bioimage_inference.provenance.record import RunRecord, to_json
from tests import models
from tests.machine import HANG_SECONDS, missing, wait_until

Array = np.ndarray[Any, Any]
NORMALISE = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}]


def start(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers, processes=True, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start(2) as started:
        yield started


@pytest.fixture(scope="module")
def one_worker() -> Iterator[LocalCluster]:
    """Enough where the order and the place of the work do not matter: each run starts a process in each worker."""
    with start(1) as started:
        yield started


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that looks 3 pixels far, with a halo of 4, and normalises."""
    inputs, outputs = models.simple_tensors(size={"min": 16, "step": 4}, halo=4, outputs=2, preprocessing=NORMALISE)
    return models.write_model(tmp_path_factory.mktemp("blur"), models.Blur((3, 3), 2), inputs, outputs)


def image(folder: Path, *shape: int, axes: str = "YX", name: str = "cells.tif") -> Path:
    array = np.random.default_rng(len(shape)).integers(0, 5000, shape).astype("uint16")
    metadata = {"axes": axes, "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.1}
    tifffile.imwrite(folder / name, array, ome=True, metadata=metadata)
    return folder / name


def job(path: Path, outputs: Sequence[str] = ("out",)) -> ImageJob:
    """An image whose tiles workers share."""
    return ImageJob(
        path, {}, {name: Target(zarr=Path(f"{path.parent / path.stem}_{name}.ome.zarr")) for name in outputs}
    )


def whole(path: Path) -> ImageJob:
    """An image that one worker predicts."""
    stem = path.parent / path.stem
    return ImageJob(path, {}, {"out": Target(Path(f"{stem}_out.tif"), Path(f"{stem}_out.npy"))})


def on_cluster(address: str, model: Path, *jobs: ImageJob, progress: Any = None, **options: Any) -> list[Any]:
    """Records as JSON, or errors, in the order of the jobs."""
    tell = progress or (lambda done, total: None)
    wanted = Options(**options)
    with (
        open_model(model) as opened,
        connect(address, wanted.memory, wanted.threads, lambda line: None) as connected,
    ):
        found = dict(predict_on_cluster(connected, opened, jobs, wanted, tell, tiles=len(jobs) == 1))
    ended = [found[number] for number in range(len(jobs))]
    return [to_json(one) if isinstance(one, RunRecord) else one for one in ended]


def alone(model: Path, path: Path, **options: Any) -> Array:
    """What a single process predicts."""
    array = bioimage_inference.predict(model, path, **options).outputs["out"].array
    assert array is not None
    return array


def stored(record: Any) -> Array:
    if isinstance(record, BioimageInferenceError):
        raise record
    return np.asarray(zarr.open_array(Path(record["outputs"][0]["zarr"]) / "0", mode="r"))


def test_tiles_of_one_image_are_shared_out_and_the_result_is_that_of_one_process(
    tmp_path: Path, model: Path, cluster: LocalCluster
) -> None:
    path, seen = image(tmp_path, 150, 230), []
    (record,) = on_cluster(
        cluster.scheduler_address, model, job(path), progress=lambda *now: seen.append(now), tile=(48, 64)
    )
    np.testing.assert_allclose(stored(record), alone(model, path, tile=(48, 64))[0], atol=1e-6)
    assert record["plan"]["tiles"] == record["cluster"]["tasks"] == seen[-1][0] == seen[-1][1] > 12
    assert sorted(done for done, _ in seen) == list(range(1, len(seen) + 1))
    assert record["model"]["source"] == str(model)
    (mean,) = [
        one["values"] for step in record["processing"] for one in step["statistics"] if one["statistic"] == "mean"
    ]
    assert mean == [[pytest.approx(tifffile.imread(path).mean())]]
    assert record["outputs"][0]["sha256"]["zarr"]
    chunks = zarr.open_array(Path(record["outputs"][0]["zarr"]) / "0", mode="r").cdata_shape
    assert chunks == (2, *record["plan"]["grid"].values()), "a chunk for what is kept of each tile"
    opened = open_image(Path(record["outputs"][0]["zarr"]))
    assert (opened.axes, opened.channel_names, opened.pixel_size["x"].value) == ("cyx", ("out0", "out1"), 0.1)
    opened.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cells.tif", "cells_out.ome.zarr"]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_the_store_is_valid_has_levels_and_is_the_same_again(
    tmp_path: Path, model: Path, cluster: LocalCluster, version: Any
) -> None:
    path, hashes = image(tmp_path, 140, 530), []
    for _ in range(2):
        (record,) = on_cluster(cluster.scheduler_address, model, job(path), tile=(48, 128), zarr_version=version)
        full = stored(record)
        hashes.append(record["outputs"][0]["sha256"]["zarr"])
    assert hashes[0] == hashes[1]
    store = Path(record["outputs"][0]["zarr"])
    yaozarrs.validate_zarr_store(store)
    small = np.asarray(zarr.open_array(store / "1", mode="r"))
    np.testing.assert_allclose(small, full.reshape(2, 70, 2, 265, 2).mean((2, 4)), rtol=1e-5)
    attributes: Any = dict(zarr.open_group(store, mode="r").attrs)
    ome = attributes.get("ome", attributes)
    assert ome["multiscales"][0]["name"] == store.name
    assert [one["window"]["start"] for one in ome["omero"]["channels"]] == full.min((1, 2)).tolist()


@pytest.mark.slow
def test_a_worker_is_killed_midway(tmp_path: Path, model: Path) -> None:
    path = image(tmp_path, 300, 400)
    with start(2) as cluster:
        victims = [worker.pid for worker in cluster.workers.values()][:1]

        def kill(done: int, total: int) -> None:
            if done >= 3 and victims:
                os.kill(victims.pop(), signal.SIGKILL)

        (record,) = on_cluster(cluster.scheduler_address, model, job(path), progress=kill, tile=(48, 48))
    assert not victims
    np.testing.assert_allclose(stored(record), alone(model, path, tile=(48, 48))[0], atol=1e-6)


@pytest.mark.slow
def test_workers_that_die_again_and_again_end_the_run_and_leave_nothing(tmp_path: Path, model: Path) -> None:
    path = image(tmp_path, 300, 400)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), start(1) as cluster:

        def kill(done: int, total: int) -> None:
            if done == 3:
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

        (error,) = on_cluster(cluster.scheduler_address, model, job(path), progress=kill, tile=(48, 48))
    assert isinstance(error, OutOfMemoryError)
    assert "Workers were lost" in str(error)
    assert [file.name for file in tmp_path.iterdir()] == ["cells.tif"]


def computing(cluster: LocalCluster) -> list[psutil.Process]:
    """The processes of a cluster in which networks run."""
    found = []
    workers = [psutil.Process(one.pid) for one in cluster.workers.values()]
    for one in (child for parent in workers for child in parent.children()):
        with suppress(psutil.NoSuchProcess):
            if any(argument.endswith("cluster.computing") for argument in one.cmdline()):
                found.append(one)
    return found


@pytest.mark.slow
def test_a_process_that_computes_is_killed_midway(tmp_path: Path, model: Path, cluster: LocalCluster) -> None:
    path, killed = image(tmp_path, 300, 400), []

    def kill(done: int, total: int) -> None:
        if done == 3:
            killed.extend(computing(cluster))
            for process in killed:
                process.kill()

    (record,) = on_cluster(cluster.scheduler_address, model, job(path), progress=kill, tile=(48, 48))
    assert killed
    np.testing.assert_allclose(stored(record), alone(model, path, tile=(48, 48))[0], atol=1e-6)


@pytest.mark.slow
def test_a_process_that_dies_again_and_again_ends_the_run(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def lost(process: ComputingProcess, task: str, *arguments: Any) -> None:
        tried.append(task)
        process.close()
        raise ProcessLostError("signal 9, Killed")

    monkeypatch.setattr(ComputingProcess, "ask", lost)
    path = image(tmp_path, 40, 40)
    with open_model(model) as opened:
        source = ModelSource(str(model), None, None, None, True, opened.spec.sha256)
    place = Place(source, (tmp_path,), (tmp_path,), sandbox=True, addresses=(), gpu=True)
    with pytest.raises(OutOfMemoryError, match="signal 9, Killed"):
        worker.predict_whole(place, whole(path), Options())
    assert tried == ["predict_whole"] * 4


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_its_process_with_it(tmp_path: Path, model: Path) -> None:
    path = image(tmp_path, 300, 400)
    with start(1) as cluster:
        orphans: list[psutil.Process] = []

        def kill(done: int, total: int) -> None:
            if done == 3:
                orphans.extend(computing(cluster))
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

        on_cluster(cluster.scheduler_address, model, job(path), progress=kill, tile=(48, 48))
        assert orphans
        wait_until(lambda: not {one.pid for one in orphans} & {one.pid for one in everywhere()}, "they end as well")


def everywhere() -> list[psutil.Process]:
    """The processes of this machine that did not end. An ended process can wait for somebody to ask how it ended."""
    return [one for one in psutil.process_iter(["status"]) if one.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_a_time_series(tmp_path: Path, model: Path, one_worker: LocalCluster) -> None:
    """Statistics of every frame are its own."""
    path = image(tmp_path, 3, 150, 230, axes="TYX")
    (record,) = on_cluster(one_worker.scheduler_address, model, job(path), tile=(48, 64))
    array = stored(record)
    assert array.shape == (3, 2, 150, 230)
    np.testing.assert_allclose(array, alone(model, path, tile=(48, 64)), atol=1e-6)
    (mean,) = [
        one["values"] for step in record["processing"] for one in step["statistics"] if one["statistic"] == "mean"
    ]
    assert len(mean) == 3


def test_blocks_of_several_tiles_are_shards(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_geometry, "_FEWEST_TASKS", 4)
    path = image(tmp_path, 150, 230)
    with open_model(model) as opened:
        prepared = prepare(opened.spec, path, {}, Options(tile=(48, 64)))
        cut = make_blocks(prepared.plan, (), whole=False)
        output = cut.plan.outputs[0]
        shards = cut.shards(output, {"b": 1, "c": 2, "y": 150, "x": 230})
        chunks = cut.chunks(output, {"b": 1, "c": 2, "y": 150, "x": 230})
        close(prepared)
    assert shards is not None
    assert 4 <= len(cut) < len(cut.plan)
    assert shards["c"] == 2
    for block in cut:
        for letter, (begin, end) in cut.spans(output, block).items():
            assert begin % shards[letter] == 0
            assert end == min(begin + shards[letter], {"y": 150, "x": 230}[letter])
            assert shards[letter] % chunks[letter] == 0


@pytest.mark.slow
def test_shards_are_written(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers put tiles together where there are many, here from four tasks on."""
    path = image(tmp_path, 150, 230)
    preload, first = tmp_path / "preload.py", tmp_path / "first" / "sitecustomize.py"
    preload.write_text(f"import sys\nsys.path.insert(0, {str(first.parent)!r})\n")
    first.parent.mkdir()  # the process that computes has the worker's path, and imports this module when it starts
    first.write_text("import bioimage_inference.cluster.tile_blocks as blocks\nblocks._FEWEST_TASKS = 4\n")
    monkeypatch.setattr(block_geometry, "_FEWEST_TASKS", 4)
    with dask.config.set({"distributed.worker.preload": [str(preload)]}), start(2) as cluster:
        (record,) = on_cluster(cluster.scheduler_address, model, job(path), tile=(48, 64))
    array = zarr.open_array(Path(record["outputs"][0]["zarr"]) / "0", mode="r")
    assert array.shards is not None
    assert record["cluster"]["tasks"] < record["plan"]["tiles"]
    np.testing.assert_allclose(array[...], alone(model, path, tile=(48, 64))[0], atol=1e-6)


def test_of_several_images_each_is_a_task_and_a_broken_one_stops_no_other(
    tmp_path: Path, model: Path, cluster: LocalCluster
) -> None:
    paths = [image(tmp_path, 60, 70 + number, name=f"cells{number}.tif") for number in range(3)]
    paths[1].write_bytes(b"no image at all")
    seen: list[tuple[int, int]] = []
    first, error, last = on_cluster(
        cluster.scheduler_address, model, *map(whole, paths), progress=lambda *now: seen.append(now)
    )
    assert isinstance(error, ImageError)
    assert seen[-1] == (3, 3)
    for record, path in ((first, paths[0]), (last, paths[2])):
        np.testing.assert_array_equal(np.load(record["outputs"][0]["npy"]), alone(model, path))
        assert tifffile.imread(record["outputs"][0]["tiff"]).shape[-2:] == tifffile.imread(path).shape


@pytest.mark.slow
@pytest.mark.parametrize("network", ["pooled", "up", "down", "valid", "3d"])
def test_every_kind_of_geometry(tmp_path: Path, one_worker: LocalCluster, network: str) -> None:
    size: dict[str, Any] = {"min": 16, "step": 4}
    if network == "3d":
        inputs, outputs = models.simple_tensors("zyx", {"min": 4, "step": 1}, halo={"z": 1, "y": 2, "x": 3})
        module: torch.nn.Module = models.Blur((1, 2, 3))
    elif network == "valid":
        inputs, outputs = models.simple_tensors(size={"min": 16, "step": 1})
        for letter, axis in zip("yx", outputs[0]["axes"][2:], strict=True):
            axis["size"] = models.reference(letter, offset=-6)
        module = models.Valid(3)
    elif network == "pooled":
        inputs, outputs = models.simple_tensors(size={"min": 16, "step": 2}, halo=4)
        module = models.Pooled((3, 3))
    else:
        inputs, outputs = models.simple_tensors(size=size, halo=2)
        for axis in outputs[0]["axes"][2:]:
            axis["scale"] = 0.25 if network == "up" else 2.0
        module = models.Scaled(up=4) if network == "up" else models.Scaled(down=2)
    path = models.write_model(tmp_path / "model", module, inputs, outputs)
    tile: dict[str, Any] = {"tile": (5, 12, 14) if network == "3d" else (24, 28)}
    volume = image(tmp_path, *((9, 33, 47) if network == "3d" else (61, 83)), axes="ZYX" if network == "3d" else "YX")
    (record,) = on_cluster(one_worker.scheduler_address, path, job(volume), **tile)
    assert record["plan"]["tiles"] > 4
    np.testing.assert_allclose(stored(record), alone(path, volume, **tile)[0], atol=1e-3, rtol=1e-6)


@pytest.mark.slow
def test_a_step_that_needs_the_whole_output(tmp_path: Path, one_worker: LocalCluster) -> None:
    """The frames of a series are shared out; a single image cannot be, and the user is told."""
    steps = [{"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"], "max_percentile": 99.0}}]
    inputs, outputs = models.simple_tensors(size={"min": 16, "step": 4}, halo=4, postprocessing=steps)
    path = models.write_model(tmp_path / "model", models.Blur((3, 3)), inputs, outputs)
    series = image(tmp_path, 3, 60, 70, axes="TYX", name="series.tif")
    (record,) = on_cluster(one_worker.scheduler_address, path, job(series), tile=(32, 32))
    np.testing.assert_allclose(stored(record), alone(path, series, tile=(32, 32)), atol=1e-6)
    assert record["cluster"]["tasks"] == 3
    single = image(tmp_path, 60, 70)
    (error,) = on_cluster(one_worker.scheduler_address, path, job(single), tile=(32, 32))
    assert isinstance(error, UsageError)
    assert "without --dask" in str(error)


def test_an_image_that_turns_out_damaged(tmp_path: Path, model: Path, one_worker: LocalCluster) -> None:
    path = tmp_path / "cells.zarr"
    array = zarr.create_array(path, shape=(128, 128), chunks=(32, 32), dtype="uint16")
    array[...] = 7
    (path / "c" / "3" / "3").write_bytes(b"no chunk")
    (error,) = on_cluster(one_worker.scheduler_address, model, job(path), tile=(48, 48))
    assert isinstance(error, ImageError)
    assert "cannot be read" in str(error)
    assert [file.name for file in tmp_path.iterdir()] == ["cells.zarr"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:9", "No Dask scheduler answers"),
        ("nonsense://127.0.0.1:9", "No Dask scheduler answers"),
        ("local", "local:4"),
        ("local:0", "local:4"),
    ],
)
def test_addresses_where_nobody_answers(tmp_path: Path, model: Path, address: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        on_cluster(address, model, job(image(tmp_path, 40, 40)))
    assert [file.name for file in tmp_path.iterdir()] == ["cells.tif"]


def test_files_instead_of_a_folder_are_refused(tmp_path: Path, model: Path, one_worker: LocalCluster) -> None:
    path = image(tmp_path, 40, 40)
    only_tiff = ImageJob(path, {}, {"out": Target(tmp_path / "a.tif", None)})
    (error,) = on_cluster(one_worker.scheduler_address, model, only_tiff)
    assert isinstance(error, UsageError)
    assert "-o" in str(error)


def test_a_file_that_workers_do_not_see(tmp_path: Path, model: Path, one_worker: LocalCluster) -> None:
    paths = [image(tmp_path, 40, 40), tmp_path / "elsewhere.tif"]
    _, error = on_cluster(one_worker.scheduler_address, model, *map(whole, paths))
    assert isinstance(error, UsageError)
    assert "sees no file" in str(error)


def test_where_dask_is_not_installed(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioimage_inference.cluster.connect.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install \"bioimage_inference\[cluster\]\""):
        on_cluster("local:2", model, job(image(tmp_path, 40, 40)))


def command(*arguments: Any) -> tuple[int, str]:
    """Exit code and messages of the command line."""
    errors = io.StringIO()
    with redirect_stderr(errors), redirect_stdout(io.StringIO()):
        return main(["predict", *map(str, arguments)]), errors.getvalue()


def test_on_the_command_line(tmp_path: Path, model: Path, cluster: LocalCluster) -> None:
    """One image becomes an OME-Zarr; of two, each gets the files that it gets without a cluster."""
    first, second = image(tmp_path, 60, 70), image(tmp_path, 60, 71, name="more.tif")
    dask_is = ("--dask", cluster.scheduler_address)
    assert command(model, first, "-o", tmp_path / "one", "--tile", "48x48", *dask_is) == (0, "")
    assert {file.name for file in (tmp_path / "one").iterdir()} == {"cells_out.ome.zarr", "cells_provenance.json"}
    record = json.loads((tmp_path / "one" / "cells_provenance.json").read_text())
    schema = json.loads((files("bioimage_inference") / "provenance" / "provenance.schema.json").read_text())
    Draft202012Validator(schema).validate(record)
    assert command(model, first, second, "-o", tmp_path / "two", *dask_is) == (0, "")
    made = {file.name for file in (tmp_path / "two").iterdir()}
    assert {"cells_out.tif", "cells_out.npy", "more_out.tif", "more_provenance.json", "summary.csv"} <= made


@pytest.mark.parametrize(
    ("options", "expected"),
    [(("--tiff", "a.tif"), "-o DIR"), (("--segment",), "segment"), (("--dask", "tcp://127.0.0.1:9"), "No Dask")],
)
def test_what_the_command_line_refuses(tmp_path: Path, model: Path, options: tuple[str, ...], expected: str) -> None:
    code, errors = command(model, image(tmp_path, 40, 40), "--dask", "local:1", *options)
    assert code == 2
    assert expected in errors
    assert errors.count("\n") == 1


@contextmanager
def running(*arguments: object, environment: Mapping[str, str]) -> Iterator[None]:
    """A program of Dask as long as the block lasts."""
    command = [sys.executable, "-m", "distributed.cli.dask_" + str(arguments[0]), *map(str, arguments[1:])]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def certificates(home: Path) -> dict[str, str]:
    """The environment after the lines of the manual that make a certificate."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md").read_text()
    (lines,) = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    command = ["bash", "-ec", f"{lines}\nenv -0"]
    found = subprocess.run(command, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=True)
    together: dict[str, str] = dict(one.split("=", 1) for one in found.stdout.split("\0") if one)
    return {name: value for name, value in together.items() if name.startswith("DASK_")}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The address of a scheduler that asks for certificates, and the environment that names them."""
    if shutil.which("openssl") is None:
        missing("OpenSSL", "apt install openssl")
    folder = tmp_path_factory.mktemp("tls")
    environment = {**os.environ, **certificates(folder)}
    named = {name: value for name, value in environment.items() if name.startswith("DASK_DISTRIBUTED__COMM")}
    file = folder / "scheduler.json"
    scheduler = ("scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    with running(*scheduler, "--dashboard-address", ":0", "--scheduler-file", file, environment=environment):
        wait_until(lambda: file.exists() and file.read_text().endswith("}"), "the scheduler has its address")
        address = json.loads(file.read_text())["address"]
        with running("worker", address, "--nthreads", "1", "--local-directory", folder, environment=environment):
            yield address, named


def predict_with(environment: Mapping[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bioimage_inference", "predict", *map(str, arguments)]
    together = {**os.environ, **environment}
    return subprocess.run(command, env=together, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)


@pytest.mark.slow
def test_a_cluster_of_others_with_certificates(
    tmp_path: Path, model: Path, secured: tuple[str, Mapping[str, str]]
) -> None:
    address, certificates = secured
    path = image(tmp_path, 60, 70)
    found = predict_with(certificates, model, path, "-o", tmp_path / "out", "--dask", address, "--tile", "48x48")
    assert found.returncode == 0, found.stderr
    record = json.loads((tmp_path / "out" / "cells_provenance.json").read_text())
    assert record["cluster"]["address"] == address
    assert address.startswith("tls://")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [("tls", "There is no TLS connection to a Dask scheduler"), ("tcp", "No Dask scheduler answers")],
)
def test_without_its_certificates_there_is_no_connection(
    tmp_path: Path, model: Path, secured: tuple[str, Mapping[str, str]], scheme: str, expected: str
) -> None:
    address = f"{scheme}://{secured[0].partition('://')[2]}"
    found = predict_with({}, model, image(tmp_path, 60, 70), "-o", tmp_path / "out", "--dask", address)
    assert found.returncode == 2, found.stderr
    assert expected in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_with_certificates_of_another_cluster_there_is_no_connection(
    tmp_path: Path, model: Path, secured: tuple[str, Mapping[str, str]]
) -> None:
    others = Security.temporary()
    (tmp_path / "cluster.crt").write_text(others.tls_ca_file)
    (tmp_path / "cluster.key").write_text(others.tls_client_key)
    named = {name: str(tmp_path / Path(value).name) for name, value in secured[1].items() if value.startswith("/")}
    found = predict_with(named, model, image(tmp_path, 60, 70), "-o", tmp_path / "out", "--dask", secured[0])
    assert found.returncode == 2, found.stderr
    assert "There is no TLS connection" in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("tcp://node7:8786", True),
        ("node7:8786", True),
        ("tcp://10.0.0.7:8786", True),
        ("tcp://[fe80::1]:8786", True),
        ("tls://node7:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("localhost:8786", False),
        ("ucx://node7:8786", False),
    ],
)
def test_connections_that_others_can_use(address: str, is_open: bool) -> None:
    assert _is_open_to_others(address) is is_open


def test_the_python_in_the_batch_script_of_the_manual_can_be_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md").read_text()
    (code,) = re.findall(r"<<'PYTHON' &\n(.*?)^PYTHON$", page, re.DOTALL | re.MULTILINE)
    compile(code, "cluster.md", "exec")


@given(st.integers(20, 300), st.integers(16, 80), st.integers(16, 80))
def test_chunks_cover_the_image_once_and_tiles_reach_a_halo_beyond(
    model: Path, height: int, rows: int, columns: int
) -> None:
    with open_model(model) as opened:
        prepared = prepare(opened.spec, np.zeros((height, 100), "uint8"), {}, Options(axes="yx", tile=(rows, columns)))
        plan = make_blocks(prepared.plan, (), whole=False).plan
    for axis in plan.axes:
        kept, halo = plan.outputs[0].kept[axis.letter], plan.halo.get(axis.letter, 0)
        assert kept[0].start == 0
        assert kept[-1].stop == axis.size
        assert len({part.stop - part.start for part in kept[:-1]}) <= 1
        assert all(start % 4 == 0 for start in axis.starts[:-1])
        for number, (before, after) in enumerate(pairwise(kept)):
            assert before.stop == after.start
            assert before.stop + halo <= axis.starts[number] + axis.tile
            assert after.start - halo >= axis.starts[number + 1]


@pytest.mark.slow
def test_a_network_that_looks_at_the_whole_tile_is_said_to(one_worker: LocalCluster, tmp_path: Path) -> None:
    network = torch.nn.InstanceNorm2d(1)
    model = models.write_model(tmp_path / "model", network, *models.simple_tensors(halo=4))
    path = image(tmp_path, 200, 180)
    (record,) = on_cluster(one_worker.scheduler_address, model, job(path), tile=(96, 96))
    assert sum("looks at the tile as a whole (instance_norm)" in note for note in record["notes"]) == 1


@pytest.mark.slow
def test_an_image_without_objects_gives_a_store_without_entries(one_worker: LocalCluster, tmp_path: Path) -> None:
    path = tmp_path / "empty.tif"
    tifffile.imwrite(path, np.zeros((40, 50), np.float32))
    model = models.detector(tmp_path)
    (record,) = on_cluster(one_worker.scheduler_address, model, job(path, ("boxes", "scores")))
    assert [one["shape"] for one in record["outputs"]] == [[0, 4], [0]]
    assert zarr.open_array(Path(record["outputs"][0]["zarr"]) / "0", mode="r").shape == (0, 4, 1, 1)
    assert sum("found nothing in this image" in note for note in record["notes"]) == 2


@pytest.mark.slow
def test_labels_are_not_put_together_from_blocks(one_worker: LocalCluster, tmp_path: Path) -> None:
    class Labels(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x > 0).to(torch.int32)

    inputs, outputs = models.simple_tensors(size={"y": 96, "x": 96}, halo=4)
    outputs[0]["data"] = {"type": "int32"}
    model = models.write_model(tmp_path / "model", Labels(), inputs, outputs)
    (error,) = on_cluster(one_worker.scheduler_address, model, job(image(tmp_path, 200, 180)))
    assert isinstance(error, ImageError)
    assert "cannot be put together" in str(error)
