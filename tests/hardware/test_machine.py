"""The fingerprint: plain, the same in every process, another for another machine."""

import json
import subprocess
import sys

import pytest

from hardware.machine import fingerprint, fingerprint_id


def in_a_fresh_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_plain_values_that_say_something():
    found = fingerprint()
    assert all(isinstance(v, (str, int, float)) for v in found.values())
    assert found["cpu"] and found["cores"] >= 1 and found["os"] and found["torch"] and found["onnxruntime"]
    assert json.loads(json.dumps(found)) == found


def test_the_same_in_every_process_whatever_it_may_use():
    code = "import os\n"
    code += "if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from hardware.machine import *; print(fingerprint_id(fingerprint()))"
    assert {in_a_fresh_process(code), in_a_fresh_process(code)} == {fingerprint_id(fingerprint())}


@pytest.mark.parametrize("key", ["cpu", "cores", "gpu", "onnxruntime", "governor"])
def test_another_machine_has_another_id(key):
    found = fingerprint()
    assert fingerprint_id({**found, key: "another"}) != fingerprint_id(found)
    assert fingerprint_id(dict(reversed(found.items()))) == fingerprint_id(found)


def test_importing_hardware_and_its_fingerprint_imports_no_torch():
    code = "import sys, hardware, hardware.machine\n"
    code += "hardware.machine.fingerprint(); print('torch' in sys.modules)"
    assert in_a_fresh_process(code) == "False"
    assert in_a_fresh_process(code.replace("hardware.machine.fingerprint()", "hardware.Meter")) == "True"  # the test can fail
