"""Loads an exported model with transformers alone: neither our packages nor peft can be imported in this process.

``plain_transformers.py FOLDER:LOADER ...`` reads messages as JSON from standard input and prints JSON: for each folder
the prompt's text and ids, the logits of its last token, and the answer of greedy ``generate``.
"""

import json
import sys

HIDDEN = ("trainables", "sweeps", "reports", "peft")


class HidingFinder:
    """A finder of modules that hides some packages."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)


sys.meta_path[:] = [HidingFinder(finder) for finder in sys.meta_path]

import torch  # noqa: E402
import transformers  # noqa: E402

messages = json.load(sys.stdin)


def describe(folder, loader):
    generates_text = "Causal" in loader
    model = getattr(transformers, loader).from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        answer = (
            model.generate(input_ids=ids, max_new_tokens=8)[0, ids.shape[1] :].tolist()
            if generates_text
            else []
        )
    return {
        "text": text,
        "ids": ids[0].tolist(),
        "logits": (logits[0, -1] if generates_text else logits[0]).float().tolist(),
        "answer": answer,
        "dtype": str(model.dtype),
        "pad": tokenizer.pad_token_id,
        "ends": model.generation_config.eos_token_id if generates_text else None,
    }


print(json.dumps([describe(*argument.rsplit(":", 1)) for argument in sys.argv[1:]]))
assert not any(name in sys.modules for name in HIDDEN)
