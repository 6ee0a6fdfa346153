#!/usr/bin/env python3
"""The public headers are the specification: every declaration says what a caller must know.

    check_comments.py SOURCE_ROOT
    check_comments.py --self-test SOURCE_ROOT

Each header begins with a @file comment. Each RLHF_API function has a comment of its own, with
@since; with @return where it returns a status; with @threads unless the @file comment has it; and
each @param of it is one of its parameters. Each type has a comment, and each field of a struct too.
A status or function that a comment names exists.
"""
import pathlib
import re
import shutil
import sys
import tempfile

# Fields of config.json, and the name of what is no status.
OTHER_NAMES = {"rlhf_score_offset", "rlhf_append_eos_id", "RLHF_ERR_UNKNOWN"}
COMMENT = re.compile(r"/\*\*.*?\*/", re.S)


def declarations(text):
    """(line, comment before it or "", code) of each RLHF_API statement."""
    for match in re.finditer(r"^RLHF_API\b[^;]*;", text, flags=re.M):
        before = text[:match.start()].rstrip()
        comment = ""
        if before.endswith("*/"):
            start = before.rfind("/**")
            comment = before[start:] if start >= 0 else ""
        yield text[:match.start()].count("\n") + 1, comment, match.group()


def parameters(code):
    """Names of a function's parameters."""
    inside = code[code.index("(") + 1:code.rindex(")")]
    return set(re.findall(r"(\w+)\s*(?:,|$)", inside)) - {"void"}


def check_function(where, line, comment, code, file_has_threads):
    name = re.search(r"(rlhf_\w+)\s*\(", code).group(1)
    at, found = f"{where}:{line}: {name}", []
    if not comment:
        return [f"{at} has no comment"]
    if "@since" not in comment:
        found.append(f"{at}: no @since")
    if re.search(r"\brlhf_status\s+rlhf_\w+\s*\(", code) and "@return" not in comment:
        found.append(f"{at}: no @return")
    if "@threads" not in comment and not file_has_threads:
        found.append(f"{at}: no @threads, and none for the file")
    for parameter in re.findall(r"@param\s+(\w+)", comment):
        if parameter not in parameters(code):
            found.append(f"{at}: @param {parameter} is no parameter")
    return found


def undocumented(body):
    """(offset, code) of the fields that no comment before (/**) or behind (/**<) them is of."""
    pending, before = None, False
    for match in re.finditer(r"/\*\*<.*?\*/|/\*.*?\*/|[^\s/][^;/]*;", body, flags=re.S):
        token = match.group()
        if token.startswith("/**<"):
            pending = None
        elif token.startswith("/*"):
            before = token.startswith("/**")
        else:
            if pending:
                yield pending
            pending = None if before else (match.start(), token)
            before = False
    if pending:
        yield pending


def check_types(where, text):
    """Types and fields; a field's comment stands behind it or before it."""
    found = []
    for match in re.finditer(r"^typedef\b", text, flags=re.M):
        line = text[:match.start()].count("\n") + 1
        if not text[:match.start()].rstrip().endswith("*/"):
            found.append(f"{where}:{line}: a type without a comment")
    for match in re.finditer(r"^typedef struct \w+ \{\n(.*?)^\} (\w+);", text, flags=re.M | re.S):
        first = text[:match.start(1)].count("\n") + 1
        for at, field in undocumented(match.group(1)):
            line = first + match.group(1)[:at].count("\n")
            found.append(f"{where}:{line}: {match.group(2)}: {field} without a comment")
    return found


def check(root):
    headers = sorted((root / "include/rlhf").glob("*.h"))
    texts = {path: path.read_text() for path in headers}
    known = set()
    for text in texts.values():
        known |= set(re.findall(r"\b(?:rlhf|RLHF)_\w+", COMMENT.sub("", text)))
    failures, functions = [], 0
    for path, text in texts.items():
        where = path.relative_to(root)
        file_comment = re.match(r"/\*\*\n \* @file .*?\*/", text, flags=re.S)
        if not file_comment:
            failures.append(f"{where}: does not begin with a @file comment")
        file_has_threads = bool(file_comment) and "@threads" in file_comment.group()
        for line, comment, code in declarations(text):
            functions += 1
            failures += check_function(where, line, comment, code, file_has_threads)
        failures += check_types(where, text)
        for comment in COMMENT.finditer(text):
            for name in re.findall(r"\b(?:rlhf|RLHF)_\w+\b(?!\*)", comment.group()):
                if name not in known | OTHER_NAMES and not name.endswith("_"):
                    line = text[:comment.start()].count("\n") + 1
                    failures.append(f"{where}:{line}: {name} does not exist")
    if functions < 100 and not failures:
        failures.append(f"only {functions} functions found in {root}")
    return failures


def self_test(root):
    """Each rule must notice its breach in a copy."""
    breaches = [
        ("model.h", r"/\*\*\n \* @file.*?\*/\n", "", "does not begin with a @file comment"),
        ("model.h", r"\n \* @threads As common.h says.", "", "no @threads, and none"),
        ("lm.h", r" \* @return RLHF_OK; RLHF_ERR_STATE .there is none.*?\n \*/", " * @since 0\n */",
         "rlhf_lm_trainer_gradient: no @return"),
        ("ppo.h", r" \* @since 0.1\n( \*/\nRLHF_API int64_t rlhf_rollout_num)", r"\1",
         "rlhf_rollout_num_sequences: no @since"),
        ("config.h", r"/\*\*\n \* Ends the reading.*?\*/\n", "", "rlhf_config_finish has no comment"),
        ("dataset.h", r"@param held_out ", "@param held ", "@param held is no parameter"),
        ("reward.h", r"/\*\* How a reward model starts. \*/\n", "", "a type without a comment"),
        ("reward.h", r"(uint64_t seed;) */\*\*<.*?\*/", r"\1", "rlhf_reward_model_options: uint64_t seed; without"),
        ("feedback.h", r"RLHF_ERR_EXISTS", "RLHF_ERR_EXIST", "RLHF_ERR_EXIST does not exist"),
    ]
    failures = []
    for name, pattern, replacement, expected in breaches:
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder)
            shutil.copytree(root / "include", copy / "include")
            path = copy / "include/rlhf" / name
            text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.S)
            path.write_text(text)
            if count != 1:
                failures.append(f"the self-test no longer finds {pattern!r} in {name}")
            elif expected not in "\n".join(check(copy)):
                failures.append(f"unnoticed in {name}: {expected}")
    return failures


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    failures = run(pathlib.Path(arguments[0]))
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
