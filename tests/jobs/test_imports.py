"""What processes do not load: each package here would cost every worker, every job or every test a second of a core."""

import subprocess
import sys

CODE = """
import sys

def refuse(*packages):
    loaded = [name for name in packages if name in sys.modules]
    assert not loaded, loaded

import app.jobs.worker
refuse("torch", "pandas", "optuna")
import app.jobs.child
from models.training import train
from tests.models.panels import make_panel, small
train(make_panel(3), small("mlp", epochs=1))
refuse("pandas", "optuna", "torch._dynamo")
import app.main
refuse("pandas", "optuna", "torch._dynamo")
"""


def test_a_worker_loads_no_torch_and_a_training_no_compiler() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
