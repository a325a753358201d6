"""Fixtures every test may use."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import absl.logging
import pytest
from hypothesis import settings

from affstore.flows.environment import prepare
from tests import faulty_server
from tests.faulty_server import Faults

if TYPE_CHECKING:
    from affstore.flows.server import Server

prepare()
# One thread for torch, as in every run: the last bits of some kernels change with the number of threads, and where the
# suite's workers share the cores, threads wait for one another. It is set before torch is imported and inherited.
os.environ["OMP_NUM_THREADS"] = "1"
# TensorFlow's logger keeps the stderr that it finds when it is imported, and closes it when another library sets up
# logging, as Prefect does: that was pytest's own file.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__
# A busy machine is slow, not wrong.
settings.register_profile("affstore", deadline=None)
settings.load_profile("affstore")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real media and reference outputs that are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference media at {SHARED}, which is not on this machine")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of this session's own: untrained parameters are made once, and nothing of the user's is used."""
    folder = tmp_path_factory.mktemp("weights")
    os.environ["AFFSTORE_WEIGHTS"] = str(folder)
    os.environ["AFFSTORE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return folder


@pytest.fixture(scope="session")
def wheel_weights(weights_folder: Path) -> Path:
    """The session's weights folder with the small trained networks that wheels of the package index hold."""
    from affstore.models.extractors.registry import entry_of
    from affstore.models.weights.folder import WeightsFolder
    from affstore.store.contract.errors import WeightsError

    for name in ("fer2013_mini_xception", "silero_vad"):
        try:
            WeightsFolder(weights_folder).pull(entry_of(name))
        except WeightsError as error:
            pytest.skip(f"needs the package index: {error}")
    return weights_folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3-compatible server on this machine, and a bucket."""
    with moto_server() as endpoint:
        yield from _with_bucket(endpoint)


@contextmanager
def moto_server() -> Iterator[str]:
    """An S3-compatible server of this machine's own; gives its address."""
    pytest.importorskip("moto", reason="needs moto[server]")
    # In a process of its own, because some of the engine's calls hold Python's lock while they wait for an answer.
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _with_bucket(endpoint: str) -> Iterator[str]:
    import boto3  # type: ignore[import-untyped]

    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    patch = pytest.MonkeyPatch()
    for name, value in environment.items():
        patch.setenv(name, value)
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="affstore-test")
    yield "s3://affstore-test"
    patch.undo()


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def proxy(s3_server: str) -> Iterator[Faults]:
    """A server before the S3 server that fails as it is told; a process of its own, as that is."""
    backend, port = os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1], free_port()
    process = subprocess.Popen([sys.executable, faulty_server.__file__, str(port), backend])
    wait_for(port)
    yield Faults(port)
    process.kill()
    process.wait()


def wait_for(port: int) -> None:
    """Wait until something on this machine listens on a port."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"nothing listens on port {port}")


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prefect server, started when the first module asks for it: its start costs seconds."""
    from affstore.flows.server import running_server

    with running_server(tmp_path_factory.mktemp("prefect")) as found:
        found.wait()
        yield found


@pytest.fixture(scope="module")
def server(session_server: Server) -> Iterator[Server]:
    """The session's server, as a user has it who sets PREFECT_API_URL; modules that do not ask start their own."""
    from affstore.flows.server import using_server

    with using_server(session_server.url, session_server.secret):
        yield session_server


@pytest.fixture(scope="session", autouse=True)
def signals_are_heeded() -> Iterator[None]:
    """Commands inherit which signals are ignored, as where the tests run under `nohup` or behind `&`."""
    ignored = [one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts, also where the suite was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def s3_url(s3_server: str, request: pytest.FixtureRequest) -> str:
    """A prefix in the bucket that no other test has."""
    return f"{s3_server}/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Chromium and its driver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.set_script_timeout(300)  # axe looks at every cell of a large page
    yield started
    started.quit()


def program(name: str) -> str:
    """The path of a program of the system; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs the program {name}")
    return found


def show_at(browser: Any, width_px: int, scheme: str) -> None:
    """Let pages have a width and a colour scheme (`light`, `dark`)."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def check_readable_at_any_width(browser: Any, scheme: str) -> None:
    """See that a page has no serious fault and that nothing of it scrolls sideways, at 420 and 1400 px."""
    for width_px in (420, 1400):
        show_at(browser, width_px, scheme)
        assert accessibility_faults(browser) == []
        parts = "[document.documentElement, ...document.querySelectorAll('.scroll')]"
        hidden = browser.execute_script(f"return {parts}.map(one => one.scrollWidth - one.clientWidth)")
        assert max(hidden) <= 0, width_px


def accessibility_faults(browser: Any) -> list[tuple[str, str]]:
    """What axe-core calls serious on the page that a browser shows."""
    axe = pytest.importorskip("axe_selenium_python", reason="needs axe-selenium-python")
    found = axe.Axe(browser)
    found.inject()
    serious = [one for one in found.run()["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["nodes"][0]["html"]) for one in serious]
