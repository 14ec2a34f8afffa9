"""Sealed folders: whole or not there, and any damage named."""

import hashlib

import pytest

from jaxml.core import checksummed_dirs


def fill(directory, number, text="text"):
    with checksummed_dirs.new(directory, number) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text(text)
        (folder / "b").write_bytes(bytes(range(256)))


@pytest.fixture
def three(tmp_path):
    for number in (9, 10, 200):
        fill(tmp_path, number)
    return tmp_path


def test_whole(three):
    assert checksummed_dirs.numbers(three) == [9, 10, 200]
    assert checksummed_dirs.checked(three) == three / "200"
    assert checksummed_dirs.checked(three, 9) == three / "9"
    # the format of sha256sum
    digest = hashlib.sha256(b"text").hexdigest()
    assert f"{digest}  inner/a\n" in (three / "9" / "SHA256SUMS").read_text()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flip": (lambda f: flip(f / "b"), "b is not what was written"),
    "flip of the last bit": (
        lambda f: (f / "b").write_bytes(bytes(range(255)) + b"\xfe"),
        "b is not what was written",
    ),
    "cut": (lambda f: (f / "inner/a").write_text("tex"), "inner/a is not what was written"),
    "empty": (lambda f: (f / "inner/a").write_text(""), "inner/a is not what was written"),
    "gone": (lambda f: (f / "b").unlink(), "b is missing"),
    "added": (lambda f: (f / "c").write_text(""), "c is not what was written"),
    "flip in the sums": (lambda f: flip(f / "SHA256SUMS"), "."),
    "sums cut": (lambda f: (f / "SHA256SUMS").write_text(""), "b is not what was written"),
    "sums of bytes": (lambda f: (f / "SHA256SUMS").write_bytes(b"\xff"), "is missing"),
    "sums gone": (lambda f: (f / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_the_one_before_is_offered(kind, three):
    damage, fault = DAMAGE[kind]
    damage(three / "200")
    with pytest.raises(
        checksummed_dirs.DamagedError, match=rf"200, which is damaged: .*{fault}"
    ) as raised:
        checksummed_dirs.checked(three)
    assert raised.match("; 10 before it is whole")
    assert (raised.value.number, raised.value.before) == (200, 10)
    assert checksummed_dirs.checked(three, 10) == three / "10"
    damage(three / "10")
    with pytest.raises(checksummed_dirs.DamagedError, match="; 9 before it is whole"):
        checksummed_dirs.checked(three)
    damage(three / "9")
    with pytest.raises(checksummed_dirs.DamagedError, match="; none before it is whole"):
        checksummed_dirs.checked(three)


def test_every_bit_of_a_file_counts(tmp_path):
    fill(tmp_path, 1, text="ab")
    for path in (tmp_path / "1/inner/a", tmp_path / "1/SHA256SUMS"):
        content = path.read_bytes()
        for bit in range(8 * len(content)):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(checksummed_dirs.DamagedError):
                checksummed_dirs.checked(tmp_path)
        path.write_bytes(content)
    checksummed_dirs.checked(tmp_path)


def test_one_that_was_cut_short_is_not_there(three):
    def cut_short():
        with checksummed_dirs.new(three, 300) as folder:
            (folder / "b").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert checksummed_dirs.numbers(three) == [9, 10, 200]
    assert (three / ".300.partial").is_dir()
    fill(three, 250)
    assert sorted(path.name for path in three.iterdir()) == ["10", "200", "250", "9"]


def test_remove(three):
    checksummed_dirs.remove_after(three, 9)
    assert [path.name for path in three.iterdir()] == ["9"]


def test_nothing_there(tmp_path):
    assert checksummed_dirs.numbers(tmp_path / "nowhere") == []
    with pytest.raises(ValueError, match=r"a directory of checkpoints, got .* without any"):
        checksummed_dirs.checked(tmp_path / "nowhere")
