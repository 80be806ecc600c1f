"""Sweeps whose worker, scheduler or client dies: no point is lost, and none counts twice."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

import caffe_ext
from caffe_ext.sweeps.choices import DataChoice
from caffe_ext.sweeps.data import prepare_data
from programs import arguments, left
from runner import Runner, Undisturbed, finish
from sweep_cluster import POINTS, SweepProcesses, kill, list_descendants, list_trainings
from sweep_hosts import SweepHosts, can_make_hosts


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SweepProcesses]:
    cluster = SweepProcesses(tmp_path)
    yield cluster
    cluster.close()


def check_finished(cluster: SweepProcesses, *, again: int) -> None:
    """Check that every point has one result, and how many were started again."""
    assert [row["state"] for row in cluster.rows()] == ["done"] * POINTS
    assert len(cluster.results()) == POINTS
    assert cluster.count("started").total() == POINTS + again


def change_an_image(folder: Path) -> None:
    """Set a byte of the first image."""
    with lmdb.open(str(folder), map_size=1 << 30) as env, env.begin(write=True) as writer:
        cursor = writer.cursor()
        cursor.first()
        key, value = cursor.item()
        changed = bytearray(value)
        changed[len(changed) // 2] ^= 1
        writer.put(key, bytes(changed))


def test_a_worker_killed_in_the_middle_of_a_point(cluster: SweepProcesses) -> None:
    cluster.start_scheduler()
    workers = [cluster.start_worker(name) for name in ("first", "second")]
    client = cluster.start_client()
    cluster.wait_for_starts(2)
    cluster.wait(lambda: bool(list_trainings(workers[0])))
    left_behind = list_descendants(workers[0])
    kill(workers[0])
    cluster.wait(lambda: not any(one.is_running() for one in left_behind))
    assert cluster.finish(client) == 0
    check_finished(cluster, again=1)
    assert set(cluster.count("ended").values()) == {1}


def test_all_workers_lost_and_new_ones_come(cluster: SweepProcesses) -> None:
    cluster.start_scheduler()
    workers = [cluster.start_worker(name) for name in ("first", "second")]
    client = cluster.start_client()
    cluster.wait_for_starts(2)
    for worker in workers:
        kill(worker)
    cluster.start_worker("third")
    assert cluster.finish(client) == 0
    check_finished(cluster, again=2)


def test_the_scheduler_killed_and_started_again(cluster: SweepProcesses) -> None:
    scheduler = cluster.start_scheduler()
    workers = [cluster.start_worker("first")]
    client = cluster.start_client()
    cluster.wait(lambda: len(cluster.results()) == 1)
    before = cluster.results()
    cluster.wait_for_starts(2)
    kill(scheduler)
    cluster.wait(lambda: workers[0].poll() is not None)
    cluster.start_scheduler()
    cluster.start_worker("second")
    assert cluster.finish(client) == 0
    log = cluster.read_log("client")
    assert "does not answer; waiting for it" in log
    assert "connected to the scheduler" in log
    check_finished(cluster, again=1)
    assert before.items() <= cluster.results().items()


def test_the_client_killed_and_started_again(cluster: SweepProcesses) -> None:
    """What the worker was computing meanwhile is not computed again."""
    cluster.start_scheduler()
    cluster.start_worker("first")
    client = cluster.start_client()
    cluster.wait(lambda: len(cluster.results()) == 1)
    cluster.wait_for_starts(2)
    kill(client)
    before = cluster.results()
    assert cluster.finish(cluster.start_client()) == 0
    assert before.items() <= cluster.results().items()
    assert set(cluster.count("ended").values()) == {1}
    assert [row["state"] for row in cluster.rows()] == ["done"] * POINTS


def test_control_c_stops_everything(cluster: SweepProcesses) -> None:
    client = cluster.start_client(alone=True)
    cluster.wait(lambda: len(cluster.results()) >= 1)
    cluster.wait(lambda: bool(list_trainings(client)))
    processes = list_descendants(client)
    os.killpg(client.pid, signal.SIGINT)  # as a terminal does
    assert cluster.finish(client) == 130
    done, log = len(cluster.results()), cluster.read_log("client")
    assert f"stopped: {done} of {POINTS} points are done; run the same" in log
    assert "Traceback" not in log
    # What is finished is in the table.
    assert [row["state"] for row in cluster.rows()].count("done") == done
    cluster.wait(lambda: not any(one.is_running() for one in processes))


def test_a_killed_sweep_leaves_no_process(cluster: SweepProcesses) -> None:
    client = cluster.start_client(alone=True)
    cluster.wait(lambda: bool(list_trainings(client)))
    processes = list_descendants(client)
    kill(client)
    cluster.wait(lambda: not any(one.is_running() for one in processes))


def test_a_worker_with_another_version_gets_no_points(
    cluster: SweepProcesses, tmp_path: Path
) -> None:
    package = Path(caffe_ext.__file__).parent
    other = tmp_path / "other"
    shutil.copytree(package, other / "caffe_ext", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "caffe_ext" / "errors.py").open("a") as file:
        file.write("# changed\n")
    cluster.start_scheduler()
    cluster.start_worker("other", PYTHONPATH=f"{other}:{os.environ.get('PYTHONPATH', '')}")
    client = cluster.start_client()
    assert cluster.finish(client) == 1
    log = cluster.read_log("client")
    assert "no worker can compute the points: its caffe_ext 0.1.0 differs from that of" in log
    cluster.start_worker("good")
    assert cluster.finish(cluster.start_client()) == 0
    check_finished(cluster, again=0)


def test_a_worker_with_other_data_gets_no_points(cluster: SweepProcesses, tmp_path: Path) -> None:
    data = prepare_data(DataChoice("digits", 0), tmp_path / "changed")
    change_an_image(data.files["train_lmdb"])
    cluster.start_scheduler()
    cluster.start_worker("changed", CAFFE_EXT_SWEEP_DATA=f"{tmp_path / 'changed'}")
    cluster.start_worker("good")
    client = cluster.start_client()
    assert cluster.finish(client) == 0
    log = cluster.read_log("client")
    assert "gets no points: the data set digits (" in log
    assert "is not the one of the sweep: its digest is" in log
    check_finished(cluster, again=1)  # the refused one


def test_a_point_that_hangs_ends_at_the_time_limit(cluster: SweepProcesses) -> None:
    cluster.start_scheduler()
    worker = cluster.start_worker("first")
    client = cluster.start_client("--time-limit", "30s")
    cluster.wait(lambda: bool(list_trainings(worker)))
    (hanging,) = list_trainings(worker)
    hanging.suspend()
    assert cluster.finish(client) == 1
    assert "failed: it ran longer than the time limit of 30 s" in cluster.read_log("client")
    states = sorted(row["state"] for row in cluster.rows())
    assert states == ["done"] * (POINTS - 1) + ["failed"]
    cluster.wait(lambda: not hanging.is_running())  # a zombie, until it is waited for


def test_a_full_disk(runner: Runner, undisturbed: Undisturbed, output: Path) -> None:
    """Where the client writes a result: it says so, and the same command again continues."""
    changes, expected = undisturbed.of("sweep")
    argv = arguments("sweep", undisturbed.inputs, output)
    full = runner.run("sweep", argv, output, at=changes * 3 // 4, how="FULL")
    assert full["status"] == 1, full["printed"]
    assert "No space left on device" in full["printed"]
    assert "Traceback" not in full["printed"]
    finish(runner, "sweep", argv, output)
    assert left(output) == expected


@pytest.mark.skipif(not can_make_hosts(), reason="no network namespaces can be made here")
def test_a_host_that_drops_out_of_the_network(tmp_path: Path) -> None:
    """Scheduler and client on one host, a worker on each of two others; one loses its cable."""
    with SweepHosts(3) as hosts:
        cluster = SweepProcesses(tmp_path, hosts)
        try:
            cluster.start_scheduler()
            cluster.start_worker("first", host=1)
            cluster.start_worker("second", host=2)
            client = cluster.start_client()
            cluster.wait(lambda: len(cluster.read_started()) >= 2)
            stored = cluster.results()
            hosts.cut(1)
            assert cluster.finish(client) == 0
            assert [row["state"] for row in cluster.rows()] == ["done"] * POINTS
            later = [row["worker"] for row in cluster.rows() if row["digest"] not in stored]
            assert later
            assert all(hosts.address(2) in one for one in later)
        finally:
            cluster.close()
