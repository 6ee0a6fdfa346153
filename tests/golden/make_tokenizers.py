#!/usr/bin/env python3
"""Makes tests/golden/tokenizers/*.json with Hugging Face's `tokenizers`.

train.json      corpora, and the merges and ids that BpeTrainer learns from them
pipelines.json  small tokenizer.json documents of many kinds, with ids and decoded texts
data.json       what the files of RLHF_DATA_DIR give; hashes where the text is not ours

Usage: RLHF_DATA_DIR=… make_tokenizers.py [FOLDER]     (needs: pip install tokenizers)
All texts are written here. The committed files were made with tokenizers 0.23.
"""
import gzip
import hashlib
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

TEXTS = [
    "", " ", "  ", "\n", "\t\n", "a", " a", "a ", "  two leading, one trailing ",
    "Once upon a time, in a land of hills.", "the cat's hat, they're ours; we'd I'll I'm it's",
    "THE CAT'S HAT", "don''t 's 't're", "x=12345678; y = 3.14159, z=1e-9", "room 101b, 4th floor",
    "line one\nline two\r\n\r\n  indented\t\ttabs   ", "\n\n\n   \n", "é è ü ß Ångström naïve",
    "Ελληνικά και русский текст", "日本語の文 と 中文", "עברית العربية", "हिन्दी ภาษาไทย",
    "🙂🙃 👩\u200d👩\u200d👧 flags 🇩🇪🇫🇷 👍🏽", "½ ² Ⅷ ٣ ௧", "a\u0301 e\u0301 combining",
    "nbsp\u00a0here em\u2003space ideo\u3000graphic nel\u0085 mong\u180eol ls\u2028ps\u2029",
    "zero\u200bwidth \ufeffbom", "\u0000nul\u0000", "emptied<|endoftext|>halves", "<|endoftext|>",
    " <|endoftext|> <|endoftext|>", "<s> in the text </s>", "<unk><s>", "a <mask> b<mask>c \t<mask>\n d",
    "<tool>call</tool><tool>", "<a><b><a>b<a", "the<ab>the<a>b", "▁under▁lined ▁ text▁",
    "<0x41><0x0A>", "!!!???...---", "a" * 130, "ab" * 90 + "b", "abcabcabc" * 12, "the" * 40,
    " " * 70 + "x", "\U0010ffff\ue000", "mixed🙂in日word the end",
]

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def story(rng, sentences):
    """English-like text with words that repeat as in real text."""
    who = ["the cat", "a small dog", "Anna", "the old miller", "my sister", "the king's son"]
    does = ["walked to", "looked at", "wasn't afraid of", "had always loved", "ran from", "counted"]
    what = ["the river", "seven hills", "the tallest tower", "an empty house", "the market",
            "127 sheep", "the winter's first snow", "her brother"]
    end = [".", ".", ".", "!", "?", "; then it rained.", ", and nobody knew why.", "...\n"]
    out = []
    for _ in range(sentences):
        s = f"{rng.choice(who)} {rng.choice(does)} {rng.choice(what)}{rng.choice(end)}"
        out.append(s[0].upper() + s[1:])
    return " ".join(out)


def letters(rng, alphabet, words, longest):
    return " ".join("".join(rng.choice(alphabet) for _ in range(rng.randint(1, longest)))
                    for _ in range(words))


def train(texts, vocab_size, min_frequency=2, special=("<|endoftext|>",), pre=None):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre or pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def merges_of(t):
    return [" ".join(m) if isinstance(m, list) else m
            for m in json.loads(t.to_str())["model"]["merges"]]


def vocab_of(t):
    vocab = json.loads(t.to_str())["model"]["vocab"]
    return sorted(vocab, key=vocab.get)


def corpora():
    rng = random.Random(20)
    many = "\n".join(TEXTS)
    yield "story", [story(rng, 120), story(rng, 80)], 600, 2, ["<|endoftext|>"]
    yield "story, one merge", [story(rng, 10)], 257, 2, []
    yield "no room for merges", ["aaa aaa"], 257, 1, ["<|endoftext|>"]
    yield "high frequency", [story(rng, 60)], 1000, 20, ["<s>", "</s>"]
    yield "every script", [many, many], 700, 2, ["<|endoftext|>"]
    yield "runs of one letter", ["a" * n for n in range(1, 40)] + ["aaaa aaa aa a"], 300, 1, []
    yield "two letters", [letters(rng, "ab", 300, 12)], 400, 1, ["<pad>"]
    yield "ties", [letters(rng, "abcdefghij", 200, 4)], 420, 1, ["<x>", "<y>", "<z>"]
    yield "special tokens that are letters or words", ["the the the a a then"] * 3, 300, 1, ["the", "a"]
    yield "nothing", [""], 300, 1, ["<|endoftext|>"]


def make_train():
    rows = []
    for name, texts, size, least, special in corpora():
        t = train(texts, size, least, special)
        bare = Tokenizer.from_str(t.to_str())
        rows.append({"name": name, "texts": texts, "vocab_size": size, "min_frequency": least,
                     "special_tokens": special, "merges": merges_of(t), "vocab": vocab_of(t),
                     "encode": [{"text": x, "ids": bare.encode(x).ids}
                                for x in TEXTS[::3] + texts[:1]]})
    return rows


def document(t, **model):
    """The tokenizer as a document, with fields of the model changed."""
    d = json.loads(t.to_str())
    d["model"].update(model)
    return d


def sentencepiece_model(rng, byte_fallback, fuse_unk=False):
    """BPE over characters with "▁", as SentencePiece writes it."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<unk>", "<s>", "</s>"]
    if byte_fallback:
        special += [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator([story(rng, 100)], trainers.BpeTrainer(
        vocab_size=len(special) + 200, special_tokens=special, show_progress=False))
    t.pre_tokenizer = None
    d = document(t, byte_fallback=byte_fallback, fuse_unk=fuse_unk)
    d["added_tokens"] = d["added_tokens"][:3]
    d["pre_tokenizer"] = None
    return d


LLAMA_DECODER = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}


def template(bos, eos, bos_id, eos_id):
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        + ([{"SpecialToken": {"id": eos, "type_id": 0}}] if eos else []),
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]}
                           for n, i in ((bos, bos_id), (eos, eos_id)) if n}}


def pipelines():
    rng = random.Random(21)
    corpus = [story(rng, 60), "\n".join(TEXTS)]

    t = train(corpus, 500)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, special=True)])
    t.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("</tool>", normalized=False)])
    yield "byte-level, added tokens of all kinds", document(t)

    t = train(corpus, 420, special=())
    t.add_tokens(["<a>", "<a><b>", "<ab>", "<a>b"])
    t.add_special_tokens(["<|endoftext|>", "the<"])
    yield "added tokens that overlap", document(t)

    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t = train(corpus, 500, pre=pre, special=["<s>", "</s>"])
    d = document(t, ignore_merges=True)
    d["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        template("<s>", None, 0, None)]}
    yield "Llama 3: a pattern of its own, ignore_merges, a template", d

    d = json.loads(json.dumps(d))
    d["model"]["merges"] = d["model"]["merges"][:40]
    d["model"]["ignore_merges"] = False
    yield "tokens that no merge reaches", d
    d = json.loads(json.dumps(d))
    d["model"]["ignore_merges"] = True
    yield "tokens that no merge reaches, taken whole", d

    for each in (True, False):
        pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=each),
                                       pre_tokenizers.ByteLevel(add_prefix_space=each)])
        yield f"digits, {'each' if each else 'runs'}", document(train(corpus, 450, pre=pre))

    d = sentencepiece_model(rng, True)
    d["decoder"] = LLAMA_DECODER
    d["post_processor"] = template("<s>", "</s>", 1, 2)
    yield "SentencePiece with byte fallback", d
    d = json.loads(json.dumps(d))
    for token in d["added_tokens"]:
        token["normalized"] = True
    yield "SentencePiece, special tokens normalized", d
    d = json.loads(json.dumps(d))
    for i in (0x80, 0xE2, 0xF0):
        del d["model"]["vocab"][f"<0x{i:02X}>"]
    yield "SentencePiece, byte fallback with holes", d
    for fuse in (False, True):
        d = sentencepiece_model(rng, False, fuse)
        d["decoder"] = LLAMA_DECODER
        yield f"SentencePiece without bytes, fuse_unk {fuse}", d

    for scheme, cut in (("always", True), ("first", False), ("never", True), ("first", True)):
        d = sentencepiece_model(rng, True)
        d["normalizer"] = None
        d["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
        d["decoder"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
        yield f"Metaspace {scheme}, split {cut}", d

    for behavior, invert, pattern in (("Removed", False, {"String": " "}), ("Removed", True, {"Regex": r"\p{L}+"}),
                                      ("Isolated", True, {"Regex": r"\s"})):
        d = document(train(corpus, 400))
        d["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}, d["pre_tokenizer"]]}
        yield f"split, {behavior}, invert {invert}", d

    d = sentencepiece_model(rng, False)
    d["normalizer"] = None
    d["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": r"[ \n\t]+"}, "behavior": "Removed", "invert": False}
    yield "characters, no decoder", d


def make_pipelines():
    rows = []
    for name, doc in pipelines():
        t = Tokenizer.from_str(json.dumps(doc))
        cases = []
        for i, text in enumerate(TEXTS):
            parse, add = i % 4 != 1, i % 3 == 0
            t.encode_special_tokens = not parse
            ids = t.encode(text, add_special_tokens=add).ids
            # `tokenizers` does not know a special token again that it has normalized: what it then
            # leaves in the text is no behaviour to copy.
            quirk = any(a["special"] and a["normalized"] for a in doc["added_tokens"])
            cases.append({"text": text, "parse_special": parse, "template": add, "ids": ids,
                          "plain": t.decode(ids, skip_special_tokens=False),
                          "skipped": None if quirk else t.decode(ids, skip_special_tokens=True)})
        row = {"name": name, "tokenizer": doc, "cases": cases}
        if doc["decoder"] and doc["decoder"]["type"] == "ByteLevel":
            rng = random.Random(name)
            lossy = [[rng.randrange(300) for _ in range(12)] for _ in range(4)]
            row["lossy"] = [{"ids": x, "text": t.decode(x, skip_special_tokens=False)} for x in lossy]
        rows.append(row)
    return rows


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def sha_ids(ids):
    return sha(" ".join(map(str, ids)))


def make_data(folder):
    t = Tokenizer.from_file(f"{folder}/models/stories260K/hf/tokenizer.json")
    cases = [{"text": x, "template": i % 2 == 0, "ids": t.encode(x, add_special_tokens=i % 2 == 0).ids}
             for i, x in enumerate(TEXTS)]
    for c in cases:
        c["decoded"] = t.decode(c["ids"])
    with open(f"{folder}/models/stories260K/greedy_reference.json") as f:
        greedy = json.load(f)
    text = t.decode(greedy["greedy_ids"])
    with open(f"{folder}/text/tinyshakespeare.txt") as f:
        plays = f.read()
    trained = train([plays], 2048)
    with gzip.open(f"{folder}/bpe/gpt2/tokenizer.json.gz", "rt") as f:
        gpt2 = Tokenizer.from_str(f.read())
    gpt2.no_truncation()
    return {
        "stories260K": {"cases": cases, "greedy_text_sha256": sha(text),
                        "greedy_again_sha256": sha_ids(t.encode(text).ids),
                        "plays_ids_sha256": sha_ids(t.encode(plays).ids)},
        "tinyshakespeare": {"vocab_size": 2048, "merges_sha256": sha("\n".join(merges_of(trained))),
                            "ids_sha256": sha_ids(trained.encode(plays).ids)},
        "gpt2": {"plays_ids_sha256": sha_ids(gpt2.encode(plays).ids)},
    }


def write(folder, name, rows):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        if isinstance(rows, list):
            f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")
        else:
            json.dump(rows, f, ensure_ascii=False)
            f.write("\n")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "tokenizers")
    write(folder, "train.json", make_train())
    write(folder, "pipelines.json", make_pipelines())
    data = os.environ.get("RLHF_DATA_DIR")
    if data:
        write(folder, "data.json", make_data(data))
    else:
        print("RLHF_DATA_DIR is not set: data.json is left as it is")


if __name__ == "__main__":
    main()
