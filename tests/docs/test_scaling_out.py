"""What the guide to scaling out shows must run, and its clusters must let nobody else in.

All of it runs on this machine, at 127.0.0.1 and at ports that are free. The one block that does not
run is the second node of Ray, which listens on all interfaces.
"""

import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection

import psutil
import pytest

from ecomp_deap import compress, evolve, make_toolbox
from tests.evaluation.workers.running import listening
from tests.markdown import (
    ROOT,
    blocks,
    broken_links,
    missing_paths,
    run_python,
    section,
    unknown_options,
)

GUIDE = ROOT / "docs" / "scaling-out.md"
PAGE = GUIDE.read_text(encoding="utf-8")
SECONDS = 90

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def adapted(text, changes):
    """Return a text with changes, each of which must have something to change."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def environment(**more):
    """Return this process's environment without what concerns clusters, and with our commands."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "DASK_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), own["PATH"]])
    return {**own, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(command, folder, env):
    """Run a command of the guide to its end."""
    return subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@contextmanager
def started(command, folder, env):
    """Run a command of the guide until the block ends, and then leave none of its processes."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec env {command}"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:
            _, left = psutil.wait_procs(family, timeout=10)
            for one in left:
                one.kill()
            process.kill()
            process.wait()


def line_with(words, process):
    """Wait until a process writes a line with these words, and return it."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return line
    raise AssertionError("".join(lines))


def answers(address, folder, *, certificate):
    """Return whether a server says anything to a client with or without a certificate."""
    host, port = address.rsplit("/", 1)[-1].split(":")
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(folder / "node.pem", folder / "node.key")
    with create_connection((host, int(port)), timeout=SECONDS) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as encrypted:
                return encrypted.recv(1) != b""
        except (ssl.SSLError, ConnectionError):
            return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the scripts that the guide shows."""
    folder = tmp_path_factory.mktemp("scaling-out")
    for block in blocks(PAGE, "python"):
        name = re.match(r"# (\w+\.py)\n", block)[1]
        (folder / name).write_text(block, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def search(folder):
    """The names that the guide's search has."""
    names: dict = {}
    run_python([(folder / "my_task.py").read_text(encoding="utf-8")], folder, names, "my_task.py")
    return names


@pytest.fixture(scope="module")
def expected(search):
    """What that search finds without workers."""
    return compress(search["task"], **search["options"]).digest()


@pytest.fixture(scope="module")
def certificates(folder):
    """The folder in which the guide's commands have made certificates."""
    (command,) = blocks(section(PAGE, "Certificates"), "bash")
    command = adapted(command, {"10.0.0.5": "127.0.0.1", "10.0.0.6": "127.0.0.1"})
    made = run(command, folder, environment())
    assert made.returncode == 0, made.stderr
    return folder


def script(folder, name, changes):
    """Return the name of a script that is another one with changes."""
    text = adapted((folder / name).read_text(encoding="utf-8"), changes)
    (folder / f"here_{name}").write_text(text, encoding="utf-8")
    return f"here_{name}"


def test_sizes_are_told(folder):
    done = run("python sizes.py", folder, environment())
    assert re.fullmatch(r"\d+\.\d+ ms a child, 0\.\d+ MiB to a worker\n", done.stdout), done.stderr


def test_blocks_of_another_size_are_measured_by_processes_too(folder, search):
    toolbox = make_toolbox(search["task"], seed=1, block_size=4)
    alone = evolve(toolbox, population=12, generations=2, finalise_count=0)
    done = run("python blocks.py", folder, environment())
    assert done.stdout.split()[:1] == [alone.digest()], done.stderr


def test_pools_of_others_find_the_same(folder, expected):
    done = run("python pools.py", folder, environment())
    assert (done.stdout, done.returncode) == (f"{expected}\n", 0), done.stderr


@needs_openssl
def test_a_dask_cluster_with_certificates_takes_nobody_without(certificates, expected):
    (config,) = blocks(section(PAGE, "Dask"), "yaml")
    scheduling, working = blocks(section(PAGE, "Dask"), "bash")
    (certificates / "dask.yaml").write_text(adapted(config, {"/etc/ecomp": str(certificates)}))
    env = environment(DASK_CONFIG=str(certificates / "dask.yaml"))
    scheduling = adapted(
        scheduling,
        {"10.0.0.5": "127.0.0.1", "--port 8786": "--port 0", "127.0.0.1:8787": "127.0.0.1:0"},
    )
    with started(scheduling, certificates, env) as scheduler:
        address = line_with("Scheduler at:", scheduler).split()[-1]
        assert address.startswith("tls://127.0.0.1:")
        there = {"tls://10.0.0.5:8786": address}
        ports = {"40000:40099": "0", "40100:40199": "0", "--nworkers 8": "--nworkers 1"}
        working = adapted(working, {**there, **ports, "10.0.0.6": "127.0.0.1"})
        with started(working, certificates, env) as worker:
            line_with("Registered to:", worker)
            search = f"python {script(certificates, 'dask_search.py', there)}"
            done = run(search, certificates, env)
            assert done.stdout.split()[:1] == [expected], done.stderr
            for process in (scheduler, worker):
                assert listening(process.pid) == {"127.0.0.1"}
            assert answers(address, certificates, certificate=True)
            assert not answers(address, certificates, certificate=False)
            plain = {
                "tls://10.0.0.5:8786": address.replace("tls://", "tcp://"),
                '{"GPU": 1}': '{"GPU": 1}, patience_s=1.0',
            }
            search = f"python {script(certificates, 'dask_search.py', plain)}"
            refused = run(search, certificates, environment())
            assert "workers: no Dask cluster with workers at tcp://127.0.0.1" in refused.stderr


@needs_openssl
def test_a_ray_cluster_takes_nobody_without_its_token_or_a_certificate(certificates, expected):
    token, settings, heading, _ = blocks(section(PAGE, "Ray"), "bash")
    env = environment(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")  # so that it stays on this machine
    assert run(token, certificates, env).returncode == 0
    assert (certificates / "ray.token").stat().st_mode & 0o077 == 0
    settings = adapted(settings, {"/etc/ecomp": str(certificates)})
    exported = run(f"{settings}env -0", certificates, env).stdout
    env = dict(line.split("=", 1) for line in exported.split("\0") if line)
    # In a folder of its own, as sockets have short names.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as own:
        changes = {"10.0.0.5": "127.0.0.1", "--port=6379": f"--port=0 --temp-dir={own}"}
        heading = adapted(heading, {**changes, "--num-cpus=8": "--num-cpus=2"})
        with started(heading, certificates, env) as head:
            line_with("block forever", head)
            address = Path(own, "ray_current_cluster").read_text(encoding="utf-8").strip()
            name = script(certificates, "ray_search.py", {"10.0.0.5:6379": address})
            done = run(f"python {name}", certificates, env)
            assert expected in done.stdout.split(), done.stderr
            assert listening(head.pid) <= {"127.0.0.1", "::ffff:127.0.0.1"}
            assert answers(address, certificates, certificate=True)
            assert not answers(address, certificates, certificate=False)
            wrong = {**env, "RAY_AUTH_TOKEN": "wrong", "RAY_NUM_REDIS_GET_RETRIES": "1"}
            refused = run(f"python {name}", certificates, wrong)
            assert "Unauthenticated" in refused.stderr
            assert f"workers: no Ray cluster at {address}" in refused.stderr


def test_a_search_by_mpi_is_the_same(folder, expected):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    env = environment(UCX_TLS="self,sm")  # through memory, and not the network
    forking = shutil.which("mpiexec.gforker", path=env["PATH"])
    if forking is None:
        pytest.skip("there is no MPICH whose processes are forked, and listen to nobody")
    (command,) = blocks(section(PAGE, "MPI, and anything else"), "bash")
    done = run(adapted(command, {"mpiexec ": f"{forking} "}), folder, env)
    assert done.stdout.split()[:1] == [expected], done.stderr


def test_linked_files_and_sections_exist():
    assert broken_links(GUIDE) == []


def test_named_paths_exist():
    assert missing_paths(PAGE) == []


def test_named_options_exist():
    ours = re.findall(r"`(?:ecomp-deap run [^`]*?)?(--(?:block|gpus|workers|dask|ray)[^`]*)`", PAGE)
    assert len(ours) == 5
    assert unknown_options(" ".join(ours), ["run"]) == []


def test_figures_are_those_that_were_measured():
    figures = ROOT / "experiments" / "results" / "benchmarks"
    workers = (figures / "workers" / "table.md").read_text(encoding="utf-8")
    scaling = (figures / "scaling" / "table.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"\| overhead, (\w+) \|(?:[^|]*\|){3} ([\d.]+) \|", workers))
    (shown,) = re.findall(r"\| a job takes beyond[^|]*\|(.*)", PAGE)
    assert [float(ms) for ms in re.findall(r"([\d.]+) ms", shown)] == [
        float(f"{float(rows[kind]):.2g}") for kind in ("processes", "Dask", "Ray")
    ]
    (driver,) = re.findall(r"takes (\d+) µs a child", scaling)
    assert f"{float(f'{float(driver):.2g}'):g} µs each" in PAGE
    for child, limit in re.findall(r"\| ([\d.]+) s \|.*\| ([\d,]+) workers on", scaling)[:3]:
        assert limit in PAGE, child
