"""Peers: tiny models of other people's libraries, and their readers and writers."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.peer.orbax_restores import Restorer
from tiecli.cli.entry import main

# Before any of them is imported: nothing here may look for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"


@pytest.fixture(autouse=True)
def _quiet_peers() -> Iterator[None]:
    """Their deprecations are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    """JAX computes in 64 bits."""
    jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
    with jax.enable_x64(True):
        yield


def _peer(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: ModuleType = pytest.importorskip(name, reason=f"{name} comes with the extra `peer`")
    return module


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch, or skip."""
    return _peer("torch")


@pytest.fixture(scope="session")
def transformers(torch: ModuleType) -> ModuleType:
    """The library transformers, or skip."""
    return _peer("transformers")


@pytest.fixture(scope="session")
def hub() -> ModuleType:
    """The library huggingface_hub, or skip."""
    return _peer("huggingface_hub")


@pytest.fixture(scope="session")
def accelerate(torch: ModuleType) -> ModuleType:
    """The library accelerate, or skip."""
    return _peer("accelerate")


@pytest.fixture(scope="session")
def restorer() -> Iterator[Restorer]:
    """Stock Orbax, or skip; not imported here, since jax settles the number of devices when it starts."""
    try:
        version("orbax-checkpoint")
    except PackageNotFoundError:
        pytest.skip("orbax-checkpoint comes with the extra `peer`")
    restorer = Restorer()
    yield restorer
    restorer.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with `--json`, insists that it succeeds, and gives its document."""

    def run_json(*arguments: object) -> Any:
        code = main([*map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.out + captured.err
        return json.loads(captured.out)

    return run_json


@contextmanager
def seeded(torch: Any) -> Iterator[None]:
    """Makes random weights the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def build(torch: Any, transformers: Any) -> Callable[..., Any]:
    """Builds a tiny model of one family, its weights random and its ties as its class makes them."""

    def build_model(family: str, **members: Any) -> Any:
        common = {"vocab_size": 96, "pad_token_id": 0, **members}
        match family:
            case "gpt2":
                sizes = {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 16}
                config = transformers.GPT2Config(**common, **sizes, bos_token_id=0, eos_token_id=0)
                model_class = transformers.GPT2LMHeadModel
            case "llama":
                sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
                config = transformers.LlamaConfig(
                    **{"tie_word_embeddings": True} | common, **sizes, num_hidden_layers=2
                )
                model_class = transformers.LlamaForCausalLM
            case "bert":
                sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
                config = transformers.BertConfig(**common, **sizes, max_position_embeddings=16)
                model_class = transformers.BertForMaskedLM
            case _:
                sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 2}
                config = transformers.T5Config(**common, **sizes, decoder_start_token_id=0)
                model_class = transformers.T5ForConditionalGeneration
        with seeded(torch):
            model = model_class(config).eval()
            for parameter in model.parameters():  # norms and biases are constant when fresh
                parameter.data += torch.randn_like(parameter) * 0.1
        return model

    return build_model


@pytest.fixture
def logits(torch: Any) -> Callable[[Any], Any]:
    """Computes a model's logits for a fixed input."""

    def compute(model: Any) -> Any:
        tokens = torch.arange(1, 13).reshape(1, 12)
        inputs = {"input_ids": tokens}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = tokens.flip(1)
        with torch.no_grad():
            return model(**inputs).logits

    return compute


@pytest.fixture
def load(transformers: Any) -> Callable[[Path], Any]:
    """Loads a directory in stock transformers and insists that it reports nothing at all."""

    def load_model(directory: Path) -> Any:
        name = json.loads((directory / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        model_class = getattr(transformers, name)
        model, report = model_class.from_pretrained(directory, output_loading_info=True)
        assert {kind: names for kind, names in report.items() if names} == {}
        return model.eval()

    return load_model


def list_tensors(path: Path) -> dict[str, Any]:
    """Reads every tensor of a file or a directory, without regard to any index."""
    from safetensors.torch import load_file

    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


@pytest.fixture
def tensors() -> Callable[[Path], dict[str, Any]]:
    """Reads every tensor of a checkpoint by the reference reader."""
    return list_tensors


@pytest.fixture
def save_all_names(hub: Any) -> Callable[..., Path]:
    """Saves a model with every alias stored as a leaf of its own, as a merge or `torch.save` would leave it."""

    def save(model: Any, directory: Path, shard_size: str = "1GB") -> Path:
        directory.mkdir()
        state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
        hub.save_torch_state_dict(state, directory, max_shard_size=shard_size)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(directory)
        return directory

    return save
