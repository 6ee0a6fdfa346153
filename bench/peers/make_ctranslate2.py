"""A GPT-2 folder as CTranslate2 reads it, in fp32.

    make_ctranslate2.py MODEL_DIR OUT_DIR
"""
import json
import pathlib
import sys

import peer
from ctranslate2.converters import TransformersConverter


class WithoutTokenizer(TransformersConverter):
    """The folder has no tokenizer, so the converter is given one of placeholders."""

    def load_tokenizer(self, tokenizer_class, model_name_or_path, **kwargs):
        config = json.loads(pathlib.Path(model_name_or_path, "config.json").read_text())
        return peer.placeholder_tokenizer(config["vocab_size"])


WithoutTokenizer(sys.argv[1]).convert(sys.argv[2], quantization="float32", force=True)
