"""The distribution: what a wheel holds, and that it does no harm beside a project with folders of the same names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_prefect import call, server, start_run, wait_for  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("src", "flows", "tasks", "schemas", "sandbox")
FILES = ("pyproject.toml", "README.md", "LICENSE")
# A user's own Prefect project. Its names are those of our folders, and Prefect's own convention.
THEIRS = {
    "flows/nightly.py": "from tasks.work import work\nfrom sandbox.play import play\nprint(work(), play())\n",
    "tasks/work.py": "def work():\n    return 'their task'\n",
    "sandbox/play.py": "def play():\n    return 'their sandbox'\n",
    "schemas/order.py": "from pydantic import BaseModel\n\n\nclass Order(BaseModel):\n    order_number: int\n    summary: str\n",
    "job.yaml": "model: gemini-3-pro\ninput: rows.jsonl\nid: id\nprompt: 'Say {{ text }}'\n"
    "schema: schemas.order:Order\noutput: out\n",
    "rows.jsonl": '{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n',
    "flows/deployed.py": "from prefect import flow\nimport rowmill\nfrom sandbox.play import play\nfrom tasks.work import work\n\n\n"
    "@flow(name='theirs')\nasync def theirs(output: str):\n"
    "    job = rowmill.Job.load('job.yaml').model_copy(update={'output': output})\n"
    "    result = await rowmill.run_async(job, sandbox=True)\n"
    "    return [work(), play(), result.manifest['ledger']['ok'], rowmill.__file__]\n",
    "library.py": "import rowmill\nfrom rowmill.flows.extract import extract\nimport flows.nightly\n"
    "print(rowmill.Job.__name__, rowmill.__version__, extract.name, rowmill.__file__)\n",
}


def copied_tree(target: Path) -> Path:
    """The sources without what a build would leave in them."""
    for name in SOURCES:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the source distribution, as an installer builds it."""
    folder = tmp_path_factory.mktemp("dist")
    tree = copied_tree(folder / "tree")
    program = f"from setuptools import build_meta; print(build_meta.build_sdist({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", program], cwd=tree, check=True, capture_output=True, timeout=120)
    (sdist,) = folder.glob("*.tar.gz")
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder), str(sdist))
    (built,) = folder.glob("*.whl")
    return built


def pip(*args: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *args],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def python(wheel: Path, tmp_path: Path) -> Path:
    """An environment of its own with the wheel in it; it sees the dependencies, but not this checkout."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    own = {str(ROOT), str(ROOT / "src"), ""}
    packages = [path for path in sys.path if path not in own and (Path(path) / "prefect").is_dir()]
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(packages))
    pip(
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
        str(wheel),
    )
    return folder / "bin" / "python"


@pytest.fixture(params=[True, False], ids=["packages", "plain folders"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A user's project, its folders with and without `__init__.py`."""
    folder = tmp_path / "project"
    for name, text in THEIRS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        if request.param and "/" in name:
            (folder / name).with_name("__init__.py").write_text("")
    return folder


def run(project: Path, *command: str | Path) -> str:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("ROWMILL_", "PREFECT_", "PYTHON"))
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=project, env=kept, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_holds_one_package_and_all_its_files(wheel: Path) -> None:
    """One import name at the top; every file of the sources but bytecode, the typing marker and the licence are in it."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"rowmill", wheel.name.rpartition("-py3")[0] + ".dist-info"}
    assert "rowmill/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    for folder in SOURCES[1:]:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"rowmill/{path.relative_to(ROOT)}" in names


def test_a_wheel_leaves_a_users_own_folders_alone(python: Path, project: Path) -> None:
    """Beside flows, tasks, schemas and sandbox of the user's: the command, `-m`, the API, their schema and their flow."""
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert run(project, python, "-m", "flows.nightly") == "their task their sandbox\n"
    assert run(project, python.with_name("rowmill"), "--version").startswith("rowmill 0.")
    assert "2 rows, 2 can be asked" in run(project, python, "-m", "rowmill", "check", "job.yaml")
    manifest = json.loads(
        run(project, python.with_name("rowmill"), "run", "job.yaml", "--sandbox", "--direct", "--json")
    )
    assert manifest["ledger"]["ok"] == 2
    assert "order_number" in json.dumps(manifest["job"]["schema"])
    theirs, ours = run(project, python, "library.py").splitlines()
    assert theirs == "their task their sandbox"
    assert ours.startswith("Job 0.")
    assert "rowmill-extract" in ours
    assert str(python.parents[1]) in ours
    assert {path: path.read_bytes() for path in before} == before


@contextmanager
def process_worker(python: Path, project: Path, server: dict[str, str]) -> Iterator[None]:  # noqa: F811
    """A process worker of the environment's own Prefect, which stands in the user's project and knows no checkout."""
    environment = {name: value for name, value in server.items() if name != "PYTHONPATH"}
    worker = subprocess.Popen(
        [str(python), "-m", "prefect", "worker", "start", "--pool", "theirs"],
        env=environment, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(30)


def deploy(server: dict[str, str], flow: str, entrypoint: str, project: Path) -> str:  # noqa: F811
    """A deployment of a flow that is found from the user's project; gives `flow/name`."""
    made = call(server, "/flows/", {"name": flow})
    here = {"prefect.deployments.steps.set_working_directory": {"directory": str(project)}}
    name = f"in-{project.parent.name}"
    told = {"name": name, "flow_id": made["id"], "entrypoint": entrypoint, "work_pool_name": "theirs", "path": "."}
    assert call(server, "/deployments/", {**told, "pull_steps": [here]})
    return f"{flow}/{name}"


@pytest.mark.nightly
def test_a_worker_in_a_users_project_runs_their_flows_and_ours(
    python: Path,
    project: Path,
    server: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """A flow of theirs that calls the API, beside their own packages, and the flow `extract` by its module: each by a
    process worker that stands in their project, with the schema that is theirs.
    """
    call(server, "/work_pools/", {"name": "theirs", "type": "process"})
    theirs = deploy(server, "theirs", "flows/deployed.py:theirs", project)
    ours = deploy(server, "rowmill-extract", "rowmill.flows.extract.extract", project)
    name = f"by-{tmp_path.name}"
    (project / "job.yaml").write_text(f"{THEIRS['job.yaml']}name: {name}\n")

    def ended() -> Any:
        runs = call(server, "/flow_runs/filter", {"deployments": {"name": {"any_": [theirs.partition("/")[2]]}}})
        return (
            runs
            if len(runs) == 2 and all(run["state_type"] in ("COMPLETED", "FAILED", "CRASHED") for run in runs)
            else None
        )

    with process_worker(python, project, server):
        start_run(server, theirs, output=str(project / "by-them"))
        start_run(server, ours, job_file=str(project / "job.yaml"), sandbox=True)
        runs = wait_for(ended, 150)
    assert [run["state_name"] for run in runs] == ["Completed", "Completed"], runs
    for folder in ("by-them", "out"):
        manifest = json.loads((project / folder / "run.json").read_text())
        assert manifest["ledger"]["ok"] == 2
        assert "order_number" in json.dumps(manifest["job"]["schema"])
    assert run(project, python, "-m", "flows.nightly") == "their task their sandbox\n"


def test_removing_the_package_removes_no_file_of_the_users(python: Path, project: Path) -> None:
    """After an uninstall their project is whole, and nothing of ours is left."""
    pip("--python", str(python), "uninstall", "--yes", "rowmill")
    assert run(project, python, "-m", "flows.nightly") == "their task their sandbox\n"
    assert not list(python.parents[1].glob("lib/*/site-packages/rowmill*"))


def test_importing_rowmill_changes_nothing_of_the_users() -> None:
    """No environment variable and no setting of Prefect's: a library leaves a user's own flows as they are."""
    program = (
        "import os, polars; before = dict(os.environ)\n"
        "from prefect.settings import get_current_settings as now; settings = now().model_dump()\n"
        "import rowmill.flows.cli, rowmill.flows.extract, rowmill.flows.dataframe\n"
        "assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())\n"
        "assert now().model_dump() == settings\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_importing_any_module_changes_no_environment_variable() -> None:
    """Whatever part of rowmill is imported, the environment stays what it was."""
    modules = [
        ".".join(("rowmill", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for folder in SOURCES[1:]
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    program = (
        "import importlib, os, sys\n"
        # Other libraries set variables of their own when they are imported.
        "import prefect.main, polars, ray, distributed\n"
        "before = dict(os.environ)\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert dict(os.environ) == before, name\n"
    )
    subprocess.run([sys.executable, "-c", program, *modules], check=True, timeout=120)


def test_importing_the_api_imports_nothing_else() -> None:
    """`import rowmill` costs nothing; a name of the API brings its module when it is first used."""
    program = (
        "import sys, rowmill\n"
        "assert not [name for name in sys.modules if name.startswith('rowmill.')]\n"
        "assert 'prefect' not in sys.modules and 'polars' not in sys.modules\n"
        "assert set(rowmill.__all__) <= set(dir(rowmill))\n"
        "for name in rowmill.__all__:\n"
        "    assert getattr(rowmill, name) is not None\n"
        "assert 'prefect' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
