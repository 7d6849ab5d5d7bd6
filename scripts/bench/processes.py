"""Processes that end with the block which started them, also when the bench itself is ended."""

import contextlib
import os
import signal
import subprocess
import threading
import time
import types

_live = set()
_ending = threading.Event()
_lock = threading.Lock()


class Missing(Exception):
    """Why a cell gave no figures."""


@contextlib.contextmanager
def started(words, **options):
    """A process with a session and a group of its own."""
    with _lock:
        if _ending.is_set():
            raise Missing("the bench is ending")
        process = subprocess.Popen(words, text=True, start_new_session=True, **options)
        _live.add(process)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(3)
        _live.discard(process)


def end_all():
    """Ends all processes, so that whoever waits for one unwinds, and lets no other start."""
    with _lock:
        _ending.set()
    for process in list(_live):
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)


def pause(seconds):
    if _ending.wait(seconds):
        raise Missing("the bench is ending")


def run(words, seconds=30):
    """Runs a command to its end, or ends it after its time. Returns what it wrote, and its status."""
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Missing(f"{words[0]}: still running after {seconds} s") from None
        return types.SimpleNamespace(output=output, errors=errors, status=process.returncode)


def require(*words):
    done = run(words)
    if done.status != 0:
        raise Missing(f"{' '.join(words)}: {done.errors.strip()}")
    return done.output


def remove(*words):
    """For what undoes something, so it runs also while the bench is ending; it may be undone already."""
    subprocess.run(words, check=False, capture_output=True)


def wait_until(condition, what):
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise Missing(what)
        pause(0.01)


def quietly(words):
    return started(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def tree(pid):
    """A process and all that it started."""
    found = [pid]
    for number in found:
        with contextlib.suppress(OSError), open(f"/proc/{number}/task/{number}/children", encoding="ascii") as file:
            found += [int(word) for word in file.read().split()]
    return found
