"""Beyond one process: shards, Slurm jobs, Ray tasks; whatever computes a run, it is the same to the bit."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from everychip.errors import ConfigError
from everychip.study import store
from everychip.study.divided import run_divided
from everychip.study.execution import run
from everychip.study.executors import Executor, Slurm
from everychip.study.executors.work import FAILURE, executed_apart, put
from everychip.study.experiment import Experiment
from everychip.study.grid import Study
from everychip.study.shards import Shard
from everychip.study.study import DRAWS, RECORD, RUNS, run_study

RECIPE = """
name = "spread"
[base]
seed = 0
data = "digits"
model = "mlp"
method = "noise_injection"
compute = { threads = 1 }
[base.hardware]
device = { kind = "gaussian", sigma = 0.1 }
[base.training]
epochs = 1
[base.evaluation]
chips = 3
sigma = [0.1]
[axes.images]
all = {}
some = { evaluation = { images = 50 } }
[sweep]
seed = [0, 1]
"""


ONE_RUN = (
    RECIPE.partition("[axes.images]")[0].replace("chips = 3", "chips = 12")
    + """
[always.evaluation]
batch_size = 500
[sweep]
seed = [0]
"""
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "spread.toml"
    path.write_text(RECIPE)
    return Study.from_toml(str(path))


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The draws of the study, computed in this process."""
    folder = tmp_path_factory.mktemp("serial")
    (folder / "spread.toml").write_text(RECIPE)
    run_study(Study.from_toml(str(folder / "spread.toml")), folder / "out")
    return (folder / "out" / DRAWS).read_bytes()


def test_shards_share_the_runs_and_no_run_is_in_two(study: Study) -> None:
    runs = list(study.expand().in_order())
    shares = [Shard(i, 3).of(runs) for i in (1, 2, 3)]
    assert sorted(run.id for share in shares for run in share) == sorted(run.id for run in runs)
    homes = {run.training_id: i for i, share in enumerate(shares) for run in share}
    assert all(homes[run.training_id] == i for i, share in enumerate(shares) for run in share)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"1 ≤ i ≤ n"):
        Shard.parse(text)


def test_shards_in_one_folder_give_the_whole(study: Study, serial: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for index in (2, 1):
        outcome = run_study(study, folder, shard=Shard(index, 2))
        assert outcome.executed == 2
        assert not (folder / RECORD).exists()
    whole = run_study(study, folder)
    assert (whole.executed, whole.failed) == (0, {})
    assert (folder / DRAWS).read_bytes() == serial


def test_files_of_a_run_travel_and_arrive_whole(study: Study, tmp_path: Path) -> None:
    first, second = (e for e in study.expand().in_order() if e.seed == 0)
    words, files = executed_apart(first.table(), None)
    assert words == ""
    put(files, tmp_path / first.id)
    assert store.open_run(tmp_path / first.id).id == first.id
    words, later = executed_apart(second.table(), files)
    put(later, tmp_path / second.id)
    assert store.open_run(tmp_path / second.id).record["trained_by"] == first.id


def test_a_run_that_fails_elsewhere_brings_its_one_line() -> None:
    absent = ["data.kind=hub", "data.name=a/b", "data.path=/nowhere"]
    table = Experiment.from_toml("digits", absent).table()
    words, files = executed_apart(table, None)
    assert "/nowhere" in words
    assert set(files) <= {FAILURE}


@pytest.mark.slow
def test_slurm_jobs_give_the_draws_of_the_whole(study: Study, serial: bytes, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    outcome = run_study(study, tmp_path / "out", workers=2, on=Slurm(cluster="local"))
    assert outcome.failed == {}
    assert (tmp_path / "out" / DRAWS).read_bytes() == serial


@pytest.mark.slow
def test_slurm_jobs_of_blocks_give_the_run_of_one_worker(study: Study, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    experiment = study.expand().experiments[0]
    whole = run(experiment, tmp_path / "whole").record["sha256"]
    on = Slurm(cluster="local", block=2)
    assert run_divided(experiment, tmp_path / "out", workers=2, on=on).record["sha256"] == whole


def test_slurm_where_there_is_none_is_one_line(study: Study, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match=r"sbatch"):
        run_study(study, tmp_path / "out", on=Slurm())


RAY = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import ray
    from ray.cluster_utils import Cluster
    from everychip.study.executors import Ray
    from everychip.study.grid import Study
    from everychip.study.study import Watcher, run_study

    recipe, folder = sys.argv[1:]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    victim = cluster.add_node(num_cpus=1, object_store_memory=10**8)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2

    class Killer(Watcher):
        started_runs = 0

        def started(self, experiment):
            self.started_runs += 1
            if self.started_runs == 2:  # both nodes are at work
                time.sleep(4)  # their workers are up, and not done
                cluster.remove_node(victim, allow_graceful=False)

    class KillerInABlock(Watcher):
        dead = False

        def event(self, run, event):
            if not self.dead:  # the first block has landed, others are under way
                self.dead = True
                cluster.remove_node(victim, allow_graceful=False)

    study = Study.from_toml(recipe)
    if study.always:  # one run in blocks
        outcome = run_study(study, Path(folder), workers=2, on=Ray(block=2), watcher=KillerInABlock())
    else:
        outcome = run_study(study, Path(folder), workers=2, on=Ray(), watcher=Killer())
    for _ in range(60):  # the head notices after some missed heartbeats
        if len([n for n in ray.nodes() if n["Alive"]]) == 1:
            break
        time.sleep(0.5)
    print(outcome.executed, dict(outcome.failed), len([n for n in ray.nodes() if n["Alive"]]))
    """
)


def on_ray(recipe: str, place: Path) -> list[str]:
    """How many runs were executed on two nodes, which failed, how many nodes are left."""
    pytest.importorskip("ray")
    (place / "spread.toml").write_text(recipe)
    words = [RAY, str(place / "spread.toml"), str(place / "out")]
    done = subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()[-3:]


@pytest.mark.slow
def test_ray_with_a_node_killed_while_blocks_are_measured_gives_the_run_of_one_worker(tmp_path: Path) -> None:
    recipe = ONE_RUN
    (tmp_path / "one.toml").write_text(recipe)
    run_study(Study.from_toml(str(tmp_path / "one.toml")), tmp_path / "whole")
    assert on_ray(recipe, tmp_path) == ["1", "{}", "1"]
    assert (tmp_path / "out" / DRAWS).read_bytes() == (tmp_path / "whole" / DRAWS).read_bytes()


@pytest.mark.slow
def test_ray_on_two_nodes_one_killed_gives_the_draws_of_the_whole(serial: bytes, tmp_path: Path) -> None:
    assert on_ray(RECIPE, tmp_path) == ["4", "{}", "1"]
    assert (tmp_path / "out" / DRAWS).read_bytes() == serial
    assert len(list((tmp_path / "out" / RUNS).iterdir())) == 4


def test_an_executor_is_a_component() -> None:
    assert Executor.parse({"kind": "slurm", "minutes": 5}).table()["minutes"] == 5
    with pytest.raises(ConfigError, match="slurm"):
        Executor.parse("slrum")
