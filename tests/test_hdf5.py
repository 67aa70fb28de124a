"""Files that claim, refer or pack more than hcache writes are refused before they are read; a
full disk is an error.
"""

import errno
import os

import h5py
import numpy as np
import pytest
from tiny import code_of

from hcache.cache import hdf5
from hcache.cache.hdf5 import (
    Malformed,
    Output,
    opened,
    read_array,
    read_row,
    replacing_hdf5,
    structure_of,
)


def structure(path):
    with opened(path) as descriptor:
        return structure_of(descriptor)


@pytest.fixture
def secret(tmp_path):
    """What lies outside, as HDF5 and as plain bytes."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["h"] = np.full((2, 3), 7.0)
    (tmp_path / "secret.bin").write_bytes(b"s" * 48)
    return tmp_path


def external_link(file, secret):
    file["h"] = h5py.ExternalLink(str(secret / "secret.h5"), "/h")


def soft_link(file, secret):
    file["x"] = np.zeros(3)
    file["h"] = h5py.SoftLink("/x")


def external_storage(file, secret):
    file.create_dataset("h", (2, 3), "f8", external=[(str(secret / "secret.bin"), 0, 48)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(str(secret / "secret.h5"), "h", (2, 3))
    file.create_virtual_dataset("h", layout)


def never_written(file, secret):
    file.create_dataset("h", (10**6, 10**6), "f4")


def packed_bomb(file, secret):
    file.create_dataset("h", (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")


def packed_zeros(file, secret):
    file.create_dataset(
        "h", data=np.zeros((3000, 8000), np.float32), chunks=(3000, 8000), compression="gzip"
    )


def texts(file, secret):
    file["h"] = ["a", "b"]


def references(file, secret):
    file["h"] = np.array([file.ref], dtype=h5py.ref_dtype)


def compound(file, secret):
    file["h"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def loop(file, secret):
    file["group/again"] = file


def named_type(file, secret):
    file["h"] = np.dtype("f4")


def odd_floats(file, secret):
    kind = h5py.h5t.IEEE_F16LE.copy()
    kind.set_ebias(3)
    h5py.h5d.create(file.id, b"h", kind, h5py.h5s.create_simple((3,))).write(
        h5py.h5s.ALL, h5py.h5s.ALL, np.ones(3, np.float16)
    )


def large_attribute(file, secret):
    file.attrs.create("made_by", np.zeros(2**21, np.uint8))


HARMS = [
    external_link,
    soft_link,
    external_storage,
    virtual,
    never_written,
    packed_bomb,
    packed_zeros,
    texts,
    references,
    compound,
    loop,
    named_type,
    odd_floats,
    large_attribute,
]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_what_hcache_does_not_write_is_refused_before_it_is_read(secret, harm):
    path = secret / "hostile.h5"
    with h5py.File(path, "w", libver="latest") as file:
        harm(file, secret)
    with pytest.raises(Malformed):
        structure(path)


def test_a_link_and_what_is_no_file_are_not_opened(secret):
    (secret / "link.h5").symlink_to(secret / "secret.h5")
    os.mkfifo(secret / "pipe.h5")
    for name in ("link.h5", "pipe.h5"):
        with pytest.raises(OSError) as caught:
            structure(secret / name)
        assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError):
        structure(secret)


@pytest.mark.parametrize("end", range(0, 2400, 300))
def test_a_file_cut_anywhere_is_malformed_and_not_unread(tmp_path, end):
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["h"] = np.arange(100.0)
    data = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[:end])
    with pytest.raises(Malformed):
        structure(tmp_path / "cut.h5")


def test_what_is_read_is_what_was_written(tmp_path):
    h = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    with replacing_hdf5(tmp_path / "a.h5") as file:
        file["h"], file["labels/set/name"], file["one"] = h, np.arange(4), 3.5
        file.attrs.update(run="m", widened=["h"])
    found = structure(tmp_path / "a.h5")
    assert list(found.places) == ["h", "one", "labels/set/name"] and found.attributes["run"] == "m"
    with opened(tmp_path / "a.h5") as descriptor:
        np.testing.assert_array_equal(read_array(descriptor, found.places["h"]), h)
        np.testing.assert_array_equal(read_array(descriptor, found.places["h"], 2), h[2])
        np.testing.assert_array_equal(read_row(descriptor, found.places["h"], 1, 3), h[1, 3])
        assert read_array(descriptor, found.places["one"]) == 3.5
        for ask in (
            lambda: read_array(descriptor, found.places["h"], 3),
            lambda: read_row(descriptor, found.places["h"], 0, 4),
        ):
            with pytest.raises(IndexError):
                ask()
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["h"][:], h)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EAGAIN])
def test_what_the_system_refuses_to_read_is_the_systems_error(tmp_path, monkeypatch, code):
    with replacing_hdf5(tmp_path / "a.h5") as file:
        file["h"] = np.zeros(3)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(hdf5.os, "preadv", refuse)
    with pytest.raises(OSError) as caught:
        structure(tmp_path / "a.h5")
    assert caught.value.errno == code


def fill(output):
    """Arrays, groups, scales and attributes: all sorts of HDF5's own structures."""
    for k in range(5):
        item = output.file.create_dataset(f"labels/set-{k}/a", data=np.full(3000, k, np.float32))
        output.file.attrs[f"of {k}"] = "x" * 500
        item.make_scale("sample")
        output.check()
    wide = output.file["labels/set-1/a"][:]
    del output.file["labels/set-1/a"]
    output.file["labels/set-1/b"] = wide.astype(np.float64)
    output.check()


def test_a_disk_that_is_full_after_any_number_of_writes_is_an_error_and_never_a_crash(
    tmp_path, monkeypatch
):
    """In a process of its own, which HDF5 would take along."""
    written, write = [], os.pwrite
    monkeypatch.setattr(
        hdf5.os, "pwrite", lambda fd, data, at: written.append(1) or write(fd, data, at)
    )
    output = Output(tmp_path / "whole.h5")
    fill(output)
    output.close()
    count = len(written)
    assert count > 5

    def try_all():
        for limit in range(count):
            left = [None] * limit

            def full(fd, data, at, left=left):
                if not left:
                    raise OSError(errno.ENOSPC, "No space left on device")
                left.pop()
                return write(fd, data, at)

            hdf5.os.pwrite = full
            output = Output(tmp_path / f"{limit}.h5")
            try:
                fill(output)
                output.close()
                return 1
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    return 2
            try:
                output.close()
                return 3
            except OSError:
                pass
        return 0

    child = os.fork()
    if child == 0:
        code = 9
        try:
            code = try_all()
        finally:
            os._exit(code)
    assert code_of(child) == 0


def test_what_fails_halfway_leaves_what_was_there(tmp_path):
    with replacing_hdf5(tmp_path / "a.h5") as file:
        file["h"] = np.zeros(3)
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(RuntimeError, match="mine"), replacing_hdf5(tmp_path / "a.h5") as file:
        file["h"] = np.ones(3)
        raise RuntimeError("mine")
    assert (tmp_path / "a.h5").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
