#!/usr/bin/env python3
"""Writes rlhf/_bindings.py from the public headers: enums, structs, tables of options, functions.

    generate.py [INCLUDE_DIR]            writes rlhf/_bindings.py beside this file
    generate.py --check [INCLUDE_DIR]    compares, and says what differs

The standard library alone is needed. The headers are regular enough for a few expressions
(tests/abi/ holds them to that); what this program does not understand ends it with words.
"""
import pathlib
import re
import sys
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE / "rlhf" / "_bindings.py"
SCALARS = {"size_t": "c_size_t", "int32_t": "c_int32", "int64_t": "c_int64",
           "uint64_t": "c_uint64", "uint8_t": "c_uint8", "double": "c_double", "float": "c_float",
           "char": "c_char"}
COMMENT = r"/\*\*(?!<)(?:(?!\*/).)*\*/"


def fail(words):
    raise SystemExit(f"generate.py: {words}")


# ---- reading ----------------------------------------------------------------------------

def clean(comment):
    """A comment's text without its stars; paragraphs stay."""
    text = re.sub(r"^/\*\*<?|\*/$", "", comment.strip())
    lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in text.strip().splitlines()]
    return "\n".join(lines).strip()


def one_line(comment):
    return re.sub(r"\s+", " ", clean(comment))


def read_headers(include):
    """Text of each header, those that it includes before it."""
    texts, seen = [], set()

    def visit(name):
        if name in seen:
            return
        seen.add(name)
        text = (include / "rlhf" / name).read_text(encoding="utf-8")
        for other in re.findall(r"^#include <rlhf/(\w+\.h)>", text, flags=re.M):
            visit(other)
        if name != "rlhf.h":
            texts.append(text)
    visit("rlhf.h")
    return texts


def python_name(c_name):
    """rlhf_ppo_options to PPOOptions."""
    words = c_name.removeprefix("rlhf_").removesuffix("_fn").split("_")
    big = {"ppo", "lm", "kl", "cpu"}
    return "".join(w.upper() if w in big else w.capitalize() for w in words)


class Headers:
    def __init__(self, include):
        self.enums, self.structs, self.opaque = {}, {}, {}
        self.callbacks, self.functions, self.constants = {}, {}, {}
        self.order = []  # names of types as they are declared
        for text in read_headers(include):
            self.read(text)

    def read(self, text):
        for name, value in re.findall(r"^#define (RLHF_\w+)\s+(\d+)\s*$", text, flags=re.M):
            self.constants[name] = int(value)
        text = re.sub(r"^#.*$", "", text, flags=re.M)
        pattern = re.compile(
            rf"(?P<doc>{COMMENT})\s*(?:"
            r"typedef enum (?P<enum>\w+) \{(?P<values>.*?)\} \w+;"
            r"|typedef struct (?P<struct>\w+) \{(?P<fields>.*?)\n\} \w+;"
            r"|typedef struct (?P<opaque>\w+) \w+;"
            r"|typedef (?P<result>[\w ]+?)\s*\(\*(?P<callback>\w+)\)\((?P<callback_args>[^;]*)\);"
            r"|(?P<function>RLHF_API\b[^;]*);)", re.S)
        for match in pattern.finditer(text):
            self.take(match)
        declared = text.count("RLHF_API ") + text.count("RLHF_API\n")
        found = sum(1 for match in pattern.finditer(text) if match["function"])
        if declared != found:
            fail(f"{declared} functions are declared, {found} were understood")

    def take(self, match):
        doc = clean(match["doc"])
        if match["enum"]:
            self.enums[match["enum"]] = (doc, self.enum_values(match["values"]))
            self.order.append(match["enum"])
        elif match["struct"]:
            self.structs[match["struct"]] = (doc, self.struct_fields(match["fields"]))
            self.order.append(match["struct"])
        elif match["opaque"]:
            self.opaque[match["opaque"]] = doc
            self.order.append(match["opaque"])
        elif match["callback"]:
            self.callbacks[match["callback"]] = (doc, match["result"].strip(),
                                                 self.parameters(match["callback_args"]))
            self.order.append(match["callback"])
        else:
            code = re.sub(r"\b(RLHF_API|RLHF_MUST_CHECK)\b", "", match["function"])
            parts = re.fullmatch(r"\s*(.*?)(\brlhf_\w+)\s*\((.*)\)\s*", code, flags=re.S)
            result, name, arguments = parts.groups()
            self.functions[name] = (doc, " ".join(result.split()), self.parameters(arguments))

    @staticmethod
    def enum_values(body):
        values = []
        for name, number, doc in re.findall(
                r"(RLHF_\w+)\s*=\s*(-?\d+),?\s*(/\*\*<.*?\*/)?", body, flags=re.S):
            values.append((name, int(number), one_line(doc) if doc else ""))
        if len(values) != body.count("="):
            fail(f"an enum of which not all is understood: {body}")
        return values

    def struct_fields(self, body):
        """[name, C type or (result, parameters), array length, comment] of each field."""
        fields, before = [], ""
        for match in re.finditer(r"/\*.*?\*/|[^\s/][^;/]*;", body, flags=re.S):
            token = match.group()
            if token.startswith("/**<"):
                fields[-1][3] = one_line(token)
            elif token.startswith("/**"):
                before = one_line(token)
            elif not token.startswith("/*"):
                fields.append([*self.declarator(token.rstrip(";")), before])
                before = ""
        return fields

    def declarator(self, code):
        slot = re.fullmatch(r"(.*?)\(\*(\w+)\)\s*\((.*)\)", code.strip(), flags=re.S)
        if slot:
            return [slot[2], (slot[1].strip(), self.parameters(slot[3])), None]
        plain = re.fullmatch(r"(.*?)(\w+)(?:\[(\w+)\])?", code.strip(), flags=re.S)
        return [plain[2], " ".join(plain[1].split()), plain[3]]

    def parameters(self, code):
        if code.strip() in ("", "void"):
            return []
        return [self.declarator(part)[:2] for part in code.split(",")]


# ---- types ------------------------------------------------------------------------------

def ctype(headers, c_type, in_callback=False):
    """A C type as an expression of ctypes."""
    words = re.sub(r"\bconst\b|\bstruct\b", "", c_type).replace("*", " * ").split()
    base, stars = words[0], words[1:].count("*")
    if words[1:] != ["*"] * stars:
        fail(f"a type that is not understood: {c_type}")
    if base == "void":
        if stars == 0:
            return "None"
        expression, stars = "c_void_p", stars - 1
    elif base in headers.enums:
        expression = "c_int32"
    elif base in headers.callbacks or base in headers.structs or base in headers.opaque:
        expression = base
    else:
        expression = SCALARS.get(base) or fail(f"an unknown type: {c_type}")
    # Text that is handed in or lent out is bytes; a buffer that is written, and text that a
    # callback gets with its size, stays a pointer.
    if base == "char" and stars and not in_callback and "const" in c_type:
        expression, stars = "c_char_p", stars - 1
    for _ in range(stars):
        expression = f"POINTER({expression})"
    return expression


def callback_type(headers, result, parameters):
    types = [ctype(headers, result)] + [ctype(headers, t, True) for _, t in parameters]
    return f"CFUNCTYPE({', '.join(types)})"


def option_fields(headers, struct):
    """(name, kind, what, comment) of the fields that a keyword argument may set. `what` is an
    enum's, struct's or callback's name, or the field that counts an array."""
    _, fields = headers.structs[struct]
    counted = {re.search(r"\[(num_\w+)\]", doc)[1] for _, _, _, doc in fields
               if re.search(r"\[(num_\w+)\]", doc)}
    options = []
    for name, c_type, _, doc in fields:
        if name in {"struct_size", "reserved"} | counted or name.endswith("user_data"):
            continue
        base = c_type.replace("const", "").replace("*", "").strip()
        count = re.search(r"\[(num_\w+)\]", doc)
        enum = next((e for e in re.findall(r"\brlhf_\w+", doc) if e in headers.enums), "")
        if base in headers.callbacks:
            options.append((name, "callback", base, doc))
        elif base in headers.opaque:
            options.append((name, "handle", base, doc))
        elif base in headers.structs:
            if count:
                options.append((name, "structs", base, doc))
        elif c_type.count("*") == 2:
            options.append((name, "texts", count[1], doc))
        elif "*" in c_type and base == "char":
            options.append((name, "text", "", doc))
        elif "*" in c_type:
            options.append((name, "ids", count[1], doc))
        elif base == "double":
            options.append((name, "float", "", doc))
        elif enum and base == "int32_t":
            options.append((name, "enum", enum, doc))
        elif doc.startswith("0 or 1"):
            options.append((name, "bool", "", doc))
        else:
            options.append((name, "int", "", doc))
    return options


TYPES = {"int": "int", "float": "float", "bool": "bool", "text": "Optional[str]",
         "ids": "Optional[Sequence[int]]", "texts": "Sequence[str]",
         "structs": "Optional[Sequence[Mapping[str, Any]]]"}


def enum_values_text(headers, enum):
    return ", ".join(f'"{name}"' for name, _ in short_names(headers, enum))


def short_names(headers, enum):
    """[("cosine", "RLHF_SCHEDULE_COSINE")]: as YAML has them."""
    names = [name for name, _, _ in headers.enums[enum][1]]
    common = names[0]
    while not all(name.startswith(common) for name in names) or not common.endswith("_"):
        common = common[:-1]
    return [(name[len(common):].lower(), name) for name in names]


# ---- writing ----------------------------------------------------------------------------

PREAMBLE = '''\
"""The C interface of librlhf, as its headers have it. Made by generate.py: not to be edited.

Enums and structs keep their C names in the tables and layouts; `Library` has every function as
an attribute of the same name, its documentation in `__doc__`.
"""
from __future__ import annotations

import enum
from ctypes import (CDLL, CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_float,
                    c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p)
from typing import (TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional,
                    Sequence, Tuple, Type, TypedDict, Union)

if TYPE_CHECKING:
    from ._tokenizer import Tokenizer


class Field(NamedTuple):
    """A field of an options struct that a keyword argument sets."""

    name: str
    kind: str  # int, float, bool, enum, text, texts, ids, structs, handle, callback
    what: str  # the C name of an enum, struct, handle or callback; the field that counts an array
    doc: str
'''


def docstring(text, indent):
    """A docstring's lines."""
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if text.endswith('"'):
        text += " "
    lines = text.splitlines()
    pad = " " * indent
    if len(lines) == 1:
        return [f'{pad}"""{lines[0]}"""']
    return [f'{pad}"""{lines[0]}'] + [f"{pad}{line}".rstrip() for line in lines[1:]] + [f'{pad}"""']


def write_enum(headers, name):
    doc, values = headers.enums[name]
    text = re.sub(r"\s*\n\s*", " ", doc) + "\n\n" + "\n".join(
        f"{short.upper()}: {value[2]}" if value[2] else short.upper()
        for (short, _), value in zip(short_names(headers, name), values))
    text = "\n".join("\n".join(textwrap.wrap(line, 92)) if line else "" for line in
                     text.splitlines())
    out = ["", "", f"class {python_name(name)}(enum.IntEnum):", *docstring(text, 4), ""]
    for (short, _), (_, number, _) in zip(short_names(headers, name), values):
        out.append(f"    {short.upper()} = {number}")
    return out


def write_struct(headers, name):
    doc, fields = headers.structs[name]
    notes = [f"{field}: {note}" for field, _, _, note in fields if field != "struct_size"]
    text = doc + "\n\n" + "\n".join("\n".join(textwrap.wrap(note, 92, subsequent_indent="    "))
                                    for note in notes)
    out = ["", "", f"class {name}(Structure):", *docstring(text, 4), "", "    _fields_ = ["]
    for field, c_type, length, _ in fields:
        if isinstance(c_type, tuple):
            expression = callback_type(headers, *c_type)
        else:
            expression = ctype(headers, c_type)
        line = f'("{field}", {expression}{f" * {length}" if length else ""}),'
        out += textwrap.wrap(line, 98, initial_indent=" " * 8, subsequent_indent=" " * 10)
    return out + ["    ]"]


def write_types(headers):
    out = []
    for name in headers.order:
        if name in headers.enums:
            out += write_enum(headers, name)
        elif name in headers.opaque:
            out += ["", "", f"class {name}(Structure):",
                    *docstring(re.sub(r"\s*\n\s*", " ", headers.opaque[name]), 4)]
        elif name in headers.callbacks:
            doc, result, parameters = headers.callbacks[name]
            out += ["", "", f"{name} = {callback_type(headers, result, parameters)}",
                    *docstring(doc, 0)]
        else:
            out += write_struct(headers, name)
    return out


def write_tables(headers):
    """Options by struct, enums by name, and types of the dictionaries of figures."""
    with_init = sorted(n[:-len("_init")] for n in headers.functions if n.endswith("_init"))
    structs = [s for s in headers.order if s in with_init] + ["rlhf_layer_config"]
    out = ["", "", "# C names of enums to what YAML and keyword arguments call their values.",
           "ENUMS: Dict[str, Type[enum.IntEnum]] = {"]
    out += [f'    "{name}": {python_name(name)},' for name in headers.enums] + ["}"]
    out += ["", "", "# What keyword arguments set, by struct.",
            "OPTIONS: Dict[str, List[Field]] = {"]
    for struct in structs:
        out.append(f'    "{struct}": [')
        for name, kind, what, doc in option_fields(headers, struct):
            if kind == "enum":
                doc = f"{doc} One of {enum_values_text(headers, what)}."
            out.append(f'        Field("{name}", "{kind}", "{what}",')
            lines = textwrap.wrap(doc, 82, drop_whitespace=False)
            quoted = [repr(line) for line in lines]
            out += [f"              {line}" for line in quoted[:-1]]
            out.append(f"              {quoted[-1]}),")
        out.append("    ],")
    out.append("}")
    for struct in structs:
        out += ["", "", f"class {python_name(struct)}(TypedDict, total=False):",
                f'    """Keyword arguments of {struct}."""', ""]
        for name, kind, what, _ in option_fields(headers, struct):
            if kind == "enum":
                kind_type = f"Union[str, {python_name(what)}]"
            elif kind == "callback":
                kind_type = "Optional[Callable[..., Any]]"
            elif kind == "handle":
                kind_type = f"Optional[{python_name(what)}]"
            else:
                kind_type = TYPES[kind]
            out.append(f"    {name}: {kind_type}")
    for struct in headers.order:
        if struct in headers.structs and struct.endswith("_stats"):
            out += ["", "", f"class {python_name(struct)}(TypedDict):",
                    *docstring(headers.structs[struct][0], 4), ""]
            for name, c_type, _, _ in headers.structs[struct][1]:
                if name != "struct_size":
                    out.append(f"    {name}: {'float' if c_type == 'double' else 'int'}")
    return out


def write_functions(headers):
    out = ["", "", "# Every function: what it returns, what it takes.",
           "FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {"]
    for name, (_, result, parameters) in headers.functions.items():
        types = ", ".join(ctype(headers, t) for _, t in parameters)
        line = f'    "{name}": ({ctype(headers, result)}, [{types}]),'
        if len(line) > 98:
            first, rest = line.split(" (", 1)
            out.append(first)
            out += textwrap.wrap(f"({rest}", 90, initial_indent=" " * 8,
                                 subsequent_indent=" " * 10)
        else:
            out.append(line)
    out += ["}", "", "", "# The headers' words on each.", "DOCS: Dict[str, str] = {"]
    for name, (doc, _, parameters) in headers.functions.items():
        arguments = ", ".join(parameter for parameter, _ in parameters)
        first = "\n".join(textwrap.wrap(f"{name}({arguments})", 94, subsequent_indent=" " * 4))
        body = docstring(f"{first}\n\n{doc}\n", 0)
        out += [f'    "{name}":', f"    {body[0]}", *body[1:-1], body[-1] + ","]
    out += ["}", "", "", "class Library:", '    """Every function of a loaded librlhf."""', ""]
    out += [f"    {name}: Callable[..., Any]" for name in headers.functions]
    out += ["", "    def __init__(self, path: str) -> None:",
            "        self.path = path",
            "        self.dll = CDLL(path)",
            "        for name, (result, arguments) in FUNCTIONS.items():",
            "            function = getattr(self.dll, name)",
            "            function.restype = result",
            "            function.argtypes = arguments",
            "            function.__doc__ = DOCS[name]",
            "            setattr(self, name, function)"]
    return out


def generate(include):
    headers = Headers(include)
    if len(headers.functions) < 100:
        fail(f"only {len(headers.functions)} functions found")
    out = PREAMBLE.splitlines() + ["", ""]
    out += [f"{name} = {value}" for name, value in headers.constants.items()]
    out += write_types(headers) + write_tables(headers) + write_functions(headers)
    return "\n".join(out) + "\n"


def main():
    arguments = sys.argv[1:]
    check = arguments[:1] == ["--check"]
    paths = arguments[1:] if check else arguments
    include = pathlib.Path(paths[0]) if paths else HERE.parents[1] / "include"
    text = generate(include)
    if not check:
        OUTPUT.write_text(text, encoding="utf-8")
        return 0
    if OUTPUT.read_text(encoding="utf-8") == text:
        return 0
    print(f"{OUTPUT} is not what the headers give: python3 bindings/python/generate.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
