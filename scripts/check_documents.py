"""Checks the documents: links lead to files and headings, `paths` in the architecture exist, keys and metrics are described."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
PATH = re.compile(r"`((?:sfu|signaling|src|web|docs|config|scripts|tests)/[\w./-]*)`")
METRIC = re.compile(r'"(redred_\w+)"')
KEY = re.compile(r"^(?:#: )?(\w+) = ")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors a renderer gives to the headings of a document."""
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def faults(document: pathlib.Path) -> list[str]:
    text = document.read_text(encoding="utf-8")
    found = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            found.append(f"{document.relative_to(ROOT)}: {link} leads nowhere")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
            found.append(f"{document.relative_to(ROOT)}: {link} names no heading")
    return found


def missing_paths() -> list[str]:
    """The map of the house must not show rooms that are not there."""
    document = ROOT / "docs/ARCHITECTURE.md"
    named = PATH.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
    return [f"docs/ARCHITECTURE.md: {path} does not exist" for path in named if not (ROOT / path).exists()]


def undescribed_keys() -> list[str]:
    """Every key of the sample configuration stands in the operator's manual."""
    manual = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section, found = "", []
    for line in (ROOT / "config/redred.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif (key := KEY.match(line)) and f"`{section}{key[1]}`" not in manual:
            found.append(f"docs/operations.md: the key {section}{key[1]} is not described")
    return found


def undescribed_metrics() -> list[str]:
    """Every metric stands in the protocol, and the protocol names none that is not there."""
    sources = [*(ROOT / "src").glob("metrics.rs"), *(ROOT / "src").glob("metrics/*.rs")]
    exported = {name for source in sources for name in METRIC.findall(source.read_text(encoding="utf-8"))}
    described = set(re.findall(r"`(redred_\w+)`", (ROOT / "docs/protocol.md").read_text(encoding="utf-8")))
    found = [f"docs/protocol.md: the metric {name} is not described" for name in sorted(exported - described)]
    return found + [f"docs/protocol.md: there is no metric {name}" for name in sorted(described - exported)]


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()
    found = [fault for name in listed for fault in faults(ROOT / name)] 
    found += missing_paths() + undescribed_keys() + undescribed_metrics()
    print("\n".join(found) if found else f"{len(listed)} documents, no broken link")
    return 1 if found else 0


sys.exit(main())
