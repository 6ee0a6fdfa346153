"""The peers' side: an environment from PyPI, models, and their conversions, made where absent."""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

SCRIPTS = pathlib.Path(__file__).resolve().parents[1] / "peers"
CONVERSIONS = {
    "llama-110m-f32.gguf": ("make_gguf.py", "llama-110m", "f32"),
    "llama-110m-bf16.gguf": ("make_gguf.py", "llama-110m", "bf16"),
    "llama-15m-f32.gguf": ("make_gguf.py", "llama-15m", "f32"),
    "llama-15m-f16.gguf": ("make_gguf.py", "llama-15m", "f16"),
    "gpt2-124m.ct2": ("make_ctranslate2.py", "gpt2-124m"),
}
MODELS = ("gpt2-124m", "llama-15m", "llama-110m", "stories260K")


def environment(work):
    """The interpreter: RLHF_PEERS_PYTHON, or that of an environment with requirements.txt in it."""
    named = os.environ.get("RLHF_PEERS_PYTHON")
    if named:
        return named
    requirements = SCRIPTS / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder, stamp = work / "venv", work / "venv" / "made-with-requirements"
    python = folder / "bin/python"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {folder}: some 6 GB from PyPI", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", requirements],
                       check=True)
        stamp.write_text(wanted)
    return str(python)


def models(work, python, names):
    """{name: path} of models and conversions; those that are absent are made. RLHF_PEERS_MODELS names a
    folder with some of the models."""
    folder = work / "models"
    folder.mkdir(parents=True, exist_ok=True)
    given = os.environ.get("RLHF_PEERS_MODELS")
    found = {}
    for name in MODELS:
        at = pathlib.Path(given, name) if given else folder / name
        found[name] = at if (at / "model.safetensors").exists() else folder / name
    if not all((path / "model.safetensors").exists() for path in found.values()):
        subprocess.run([python, SCRIPTS / "make_models.py", folder], check=True)
    for name in names:
        if name in CONVERSIONS:
            script, model, *rest = CONVERSIONS[name]
            target = found[name] = folder / name
            if not target.exists():
                print(f"making {target}", flush=True)
                part = folder / f"part-{name}"
                subprocess.run([python, SCRIPTS / script, found[model], part, *rest], check=True)
                part.rename(target)
    return found


def versions(python):
    """[(package, version)] of what requirements.txt names, and the interpreter's."""
    names = [line.split("==")[0] for line in (SCRIPTS / "requirements.txt").read_text().splitlines()
             if line and not line.startswith("#")]
    script = ("import importlib.metadata as m, json, platform, sys\n"
              "def v(n):\n"
              "    try: return m.version(n)\n"
              "    except m.PackageNotFoundError: return 'absent'\n"
              "print(json.dumps([('Python', platform.python_version())] + [(n, v(n)) for n in sys.argv[1:]]))")
    done = subprocess.run([python, "-c", script, *names], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
