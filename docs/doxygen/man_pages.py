"""Man pages from Doxygen's XML: one for each function, struct, enum, callback and header.

Doxygen's own have a page for each header, and a function's page is that whole header.
"""
import re
import shutil
import textwrap
import xml.etree.ElementTree as ElementTree

SECTION = "3"


def escape(text):
    """Text as it is, to roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


BLOCKS = ("parameterlist", "simplesect", "itemizedlist", "verbatim", "preformatted",
          "programlisting", "blockquote")


def piece(node):
    """An element within a line, names in bold."""
    words = inline(node)
    return f"\\fB{words}\\fP" if node.tag in ("ref", "computeroutput", "bold") else words


def inline(node):
    """The words of a node and of those in it, as one line of roff."""
    parts = [escape(node.text or "")]
    for child in node:
        parts += [" " if child.tag in BLOCKS or child.tag == "sp" else piece(child),
                  escape(child.tail or "")]
    return re.sub(r"\s+", " ", "".join(parts))


def plain(node):
    return re.sub(r"\s+", " ", "".join(node.itertext())).strip() if node is not None else ""


def block(node):
    """Roff of a list or of code; nothing of what has a section of its own."""
    out = []
    if node.tag == "itemizedlist":
        for item in node.findall("listitem"):
            out += [".IP \\(bu 2", " ".join(inline(p).strip() for p in item)]
    elif node.tag in ("verbatim", "preformatted"):
        code = textwrap.dedent("".join(node.itertext())).strip("\n")
        out += [".PP", ".nf", ".RS 4", escape(code), ".RE", ".fi"]
    elif node.tag == "programlisting":
        out += [".PP", ".nf", ".RS 4"]
        out += [inline(line) for line in node.findall("codeline")] + [".RE", ".fi"]
    return out


def paragraphs(*nodes):
    """Roff of descriptions. The first two are one where a brief sentence was cut off a comment."""
    out = []
    for para in (p for node in nodes for p in node.findall("para")):
        words = escape(para.text or "")
        parts = []
        for child in para:
            if child.tag in BLOCKS:
                parts += [words, child]
                words = escape(child.tail or "")
            else:
                words += piece(child) + escape(child.tail or "")
        for part in parts + [words]:
            if not isinstance(part, str):
                out += block(part)
            elif part.strip():
                out += [".PP", re.sub(r"\s+", " ", part).strip()]
    if len(nodes) == 2 and len(out) >= 4 and out[0] == out[2] == ".PP" and out[3][0] != ".":
        out[1:4] = [out[1] + " " + out[3]]
    return out


def sections(node, kind, title=None):
    """Paragraphs under @return, @since or @par of a description."""
    out = []
    for found in node.iter("simplesect"):
        if found.get("kind") == kind and (not title or plain(found.find("title")) == title):
            out += paragraphs(found)
    return out


class Page:
    def __init__(self, name, brief, version):
        self.name, self.parts = name, {}
        self.lines = [f'.TH "{name}" {SECTION} "" "librlhf {version}" "librlhf"',
                      ".SH NAME", f"{escape(name)} \\- {escape(brief.rstrip('.'))}"]

    def section(self, title, lines):
        if lines and lines[0] == ".PP":
            lines = lines[1:]
        if lines:
            self.lines += [f".SH {title}", *lines]

    def synopsis(self, header, code=""):
        lines = [".nf", f"\\fB#include <rlhf/{escape(header)}>\\fP"]
        if code:
            lines += ["", escape(code)]
        self.section("SYNOPSIS", lines + [".fi"])

    def write(self, folder):
        (folder / f"{self.name}.{SECTION}").write_text("\n".join(self.lines) + "\n")


def prototype(member):
    """The declaration, broken after commas where it is long."""
    whole = f"{plain(member.find('type'))} {member.findtext('name')}{member.findtext('argsstring')}"
    whole += ";"
    if len(whole) <= 76:
        return whole
    head, _, rest = whole.partition("(")
    return head + "(\n    " + rest.replace(", ", ",\n    ")


def entries(pairs):
    """A list of names with what each means."""
    out = []
    for name, words in pairs:
        out += [".TP", f"\\fB{escape(name)}\\fP", words or escape("-")]
    return out


def words_of(member):
    """All that the comment of a field or a constant says."""
    return " ".join(inline(para).strip()
                    for part in ("briefdescription", "detaileddescription")
                    for para in member.find(part).findall("para")).strip()


def function_page(member, header, version, file_threads):
    detail = member.find("detaileddescription")
    page = Page(member.findtext("name"), plain(member.find("briefdescription")), version)
    page.synopsis(header, prototype(member))
    page.section("DESCRIPTION", paragraphs(member.find("briefdescription"), detail))
    page.section("PARAMETERS", entries(
        (plain(item.find("parameternamelist")), " ".join(
            inline(p).strip() for p in item.find("parameterdescription")))
        for item in detail.iter("parameteritem")))
    page.section("RETURN VALUE", sections(detail, "return"))
    page.section("THREADS", sections(detail, "par", "Threads") or file_threads)
    since = " ".join(plain(s) for s in detail.iter("simplesect") if s.get("kind") == "since")
    page.section("HISTORY", [f"Since version {escape(since)}."] if since else [])
    return page


def type_page(member, header, version, fields, title):
    page = Page(member.findtext("name") or member.findtext("compoundname"),
                plain(member.find("briefdescription")), version)
    code = member.findtext("definition") if member.get("kind") == "typedef" else ""
    page.synopsis(header, spaced(code) + ";" if code else "")
    page.section("DESCRIPTION", paragraphs(member.find("briefdescription"),
                                           member.find("detaileddescription")))
    page.section(title, entries(fields))
    return page


def spaced(code):
    """Pointers to functions as C is written."""
    return re.sub(r" *\(\* *", " (*", code).replace(") (", ")(")


def declared(field):
    kind = plain(field.find("type"))
    joint = "" if kind.endswith("*") else " "
    return spaced(f"{kind}{joint}{field.findtext('name')}{field.findtext('argsstring') or ''}")


def see_also(page, names):
    page.section("SEE ALSO", [",\n".join(f"\\fB{escape(n)}\\fP({SECTION})" for n in names)])


def undocumented(member, name):
    return [] if words_of(member) else [f"{name} is not documented"]


def header_pages(compound, xml, version, failures):
    """Pages of a header and of all that it declares."""
    header = compound.findtext("compoundname")
    overview = f"rlhf_{header.replace('.', '_')}" if header != "rlhf.h" else "rlhf"
    detail = compound.find("detaileddescription")
    threads = sections(detail, "par", "Threads")
    members = [m for s in compound.findall("sectiondef") for m in s.findall("memberdef")]
    pages, listed = [], {"FUNCTIONS": [], "TYPES": [], "CONSTANTS": []}
    for member in members:
        kind, name = member.get("kind"), member.findtext("name")
        listing = {"function": "FUNCTIONS", "define": "CONSTANTS"}.get(kind, "TYPES")
        listed[listing].append((name, inline_brief(member)))
        failures += undocumented(member, name)
        if kind == "function":
            pages.append(function_page(member, header, version, threads))
        elif kind == "enum":
            values = member.findall("enumvalue")
            for value in values:
                failures += undocumented(value, value.findtext("name"))
            pages.append(type_page(member, header, version, [
                (v.findtext("name") + " " + v.findtext("initializer"), words_of(v))
                for v in values], "VALUES"))
        elif kind == "typedef" and member.findtext("argsstring"): # a callback
            pages.append(type_page(member, header, version, [], ""))
    for inner in compound.findall("innerclass"):
        struct = ElementTree.parse(xml / f"{inner.get('refid')}.xml").getroot().find("compounddef")
        fields = list(struct.iter("memberdef"))
        listed["TYPES"].append((inner.text, inline_brief(struct)))
        for field in fields:
            failures += undocumented(field, f"{inner.text}.{field.findtext('name')}")
        pages.append(type_page(struct, header, version,
                               [(declared(f), words_of(f)) for f in fields], "FIELDS"))
    page = Page(overview, plain(compound.find("briefdescription")), version)
    page.synopsis(header)
    page.section("DESCRIPTION", paragraphs(compound.find("briefdescription"), detail))
    page.section("THREADS", threads)
    for title, names in listed.items():
        page.section(title, entries(sorted(names)))
    for other in pages:
        see_also(other, [overview] if overview == "rlhf" else [overview, "rlhf"])
    return page, pages


def inline_brief(member):
    return " ".join(inline(p).strip() for p in member.find("briefdescription"))


def write(xml, folder, version):
    """Writes the pages; what is not documented."""
    failures, overviews, total = [], [], 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(xml.glob("*_8h.xml")):
        compound = ElementTree.parse(path).getroot().find("compounddef")
        page, pages = header_pages(compound, xml, version, failures)
        overviews.append(page)
        for other in pages:
            other.write(folder)
        total += len(pages)
    names = sorted(p.name for p in overviews if p.name != "rlhf")
    for page in overviews:
        see_also(page, names if page.name == "rlhf" else ["rlhf"])
        page.write(folder)
    if total < 100:
        failures.append(f"only {total} man pages")
    return failures
