"""The check that compiles runs beside the others, and the certificate is the same however its process fares."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pebench.suite.proofs.beside import FORKS

# Another check is the one apart: `test_a_new_encoding_passes_the_check` has torch.compile, which takes seconds.
ALIKE = """
import os, signal, torch
from pebench.encodings.rope import RoPE
from pebench.suite.proofs import beside, certificate

torch.set_num_threads(1)
parent = os.getpid()

def hides_the_future(cls, seed):
    assert os.getpid() != parent
    return certificate.hides_the_future(cls, seed)

def killed(cls, seed):
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("tried in the parent")

beside.CHECKS = [certificate.says_what_it_is, hides_the_future, certificate.reads_content]
beside.compiles_whole = hides_the_future
made = beside.certificate("rope", RoPE)()
alone = (certificate.says_what_it_is, certificate.hides_the_future, certificate.reads_content)
assert made == [certificate.run_check(check, "rope", RoPE, 0) for check in alone]
for beside.FORKS in (True, False):
    assert "tried in the parent" in beside.begun(killed, "rope", RoPE)().detail
"""


def test_a_certificate_made_by_two_processes_is_the_same_and_outlives_one_of_them() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", ALIKE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Another thread takes the signal, as one of torch's does: a mask of the main thread does not hold it back.
INTERRUPTED = """
import os, signal, time
import torch
from pebench.encodings.rope import RoPE
from pebench.suite.proofs import beside, certificate

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)

torch.set_num_threads(2)
torch.ones(1000, 1000) @ torch.ones(1000, 1000)  # starts torch's threads
assert len(os.listdir("/proc/self/task")) > 1
os.register_at_fork(after_in_parent=interrupt)
try:
    beside.begun(certificate.says_what_it_is, "rope", RoPE)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(not FORKS, reason="this system does not fork")
def test_ctrl_c_during_the_fork_counts_once_it_is_made() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@pytest.mark.skipif(not FORKS, reason="this system does not fork")
def test_ctrl_c_ends_both_processes_in_silence() -> None:
    check = subprocess.Popen(
        [sys.executable, "-P", "-m", "pebench.suite.cli", "check", "rope"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (beside := psutil.Process(check.pid).children()):
        time.sleep(0.001)  # so that the signal may come while Python's own hooks run after the fork
    os.killpg(check.pid, signal.SIGINT)
    said, errors = check.communicate(timeout=60)
    assert (check.returncode, said) == (130, "")
    assert "Traceback" not in errors
    assert psutil.wait_procs(beside, timeout=10)[1] == []
