"""Makes of CUDA C++ what an ordinary C++ compiler takes.

    translate.py kernels.cu kernels.cu.cpp

Three things of CUDA are no C++; all others are macros and functions of the emulation's headers.

* `kernel<T><<<grid, block>>>(n, x)` becomes a call of cuda_emulation::launch.
* `__shared__ float sum[32];` becomes a static variable that each block finds filled with NaNs.
* `extern __shared__ float row[];` becomes a pointer to the block's dynamic shared memory.

Every line stays on its line, so that messages of the compiler name the true place.
"""

import re
import sys
from pathlib import Path

IGNORED = re.compile(
    r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])*\'', re.DOTALL
)
SHARED = re.compile(
    r"(?P<before>(?:\b(?:extern|static|volatile)\s+)*)\b__shared__\b(?P<declaration>[^;]*);"
)
ALIGNMENT = re.compile(r"\b(?:__align__|alignas)\s*\((?:[^()]|\([^()]*\))*\)")


class TranslationError(Exception):
    """A message for the user, with the line."""


def without_comments(text: str) -> str:
    """The text with spaces for all characters of comments and literals, so that positions stay."""
    return IGNORED.sub(lambda match: re.sub(r"[^\n\\]", " ", match.group()), text)


def closing(code: str, opening: int) -> int:
    """The position of the bracket that closes the one at `opening`."""
    depth = 0
    for position in range(opening, len(code)):
        if code[position] in "([{":
            depth += 1
        elif code[position] in ")]}":
            depth -= 1
            if depth == 0:
                return position
    raise ValueError


def kernel_start(code: str, end: int) -> int:
    """Where the name of the kernel, template arguments included, begins that ends at `end`."""
    position = end
    if code[position - 1] == ">":
        depth = 0
        while True:
            position -= 1
            depth += {">": 1, "<": -1}.get(code[position], 0)
            if depth == 0:
                break
        position = len(code[:position].rstrip())
    name = re.search(r"(?:\w|::|##)+$", code[:position])
    if not name:
        raise ValueError
    return name.start()


def launches(text: str) -> str:
    """Replaces kernel launches, the last one first, so that positions before it stay."""
    code = without_comments(text)
    for opening in reversed([match.start() for match in re.finditer("<<<", code)]):
        try:
            end = len(code[:opening].rstrip("\\ \t\n"))
            start = kernel_start(code, end)
            depth = 0
            closed = opening + 3
            while depth > 0 or not code.startswith(">>>", closed):
                depth += {"(": 1, ")": -1}.get(code[closed], 0)
                closed += 1
            bracket = code.index("(", closed)
            if code[closed + 3 : bracket].strip("\\ \t\n"):
                raise ValueError
            after = closing(code, bracket)
        except (ValueError, IndexError):
            line = code.count("\n", 0, opening) + 1
            raise TranslationError(f"line {line}: this kernel launch cannot be read") from None
        kernel = text[start:end]
        name = " ".join(kernel.replace("\\\n", " ").split())
        arguments = text[bracket + 1 : after]
        comma = "," if code[bracket + 1 : after].strip("\\ \t\n") else ""
        text = (
            f'{text[:start]}::cuda_emulation::launch("{name}", '
            f"[&](auto... cuda_arguments) {{ {kernel}(cuda_arguments...); }},{text[end:opening]}"
            f"::cuda_emulation::Configuration({text[opening + 3 : closed]})"
            f"{comma}{text[closed + 3 : bracket]}{arguments}{text[after:]}"
        )
    return text


def declared_names(declaration: str) -> list[str]:
    """The names in `float a[2][3], b`."""
    bare = ALIGNMENT.sub("", declaration)
    bare = re.sub(r"\[[^\]]*\]", "", re.sub(r"<[^<>]*>", "", bare))
    return [re.findall(r"\w+", part)[-1] for part in bare.split(",")]


def shared_variables(text: str) -> str:
    """Replaces the declarations of shared memory."""
    code = without_comments(text)
    for match in reversed(list(SHARED.finditer(code))):
        declaration = text[match.start("declaration") : match.end("declaration")]
        names = declared_names(match.group("declaration"))
        qualifiers = match.group("before").replace("extern", "").replace("static", "")
        if "extern" in match.group("before"):
            kind = qualifiers + ALIGNMENT.sub("", declaration).rsplit(names[0], 1)[0].strip()
            value = f"static_cast<{kind}*>(::cuda_emulation::dynamic_shared())"
            new = f"{kind}* const {names[0]} = {value};"
        else:
            new = f"{qualifiers}static {declaration};"
            new += "".join(f" ::cuda_emulation::begin_shared({name});" for name in names)
        text = text[: match.start()] + new + text[match.end() :]
    return text


def translate(text: str, path: str) -> str:
    """The C++ of a .cu file, or of a header that has launches."""
    text = launches(shared_variables(text))
    prelude = (
        ""
        if path.endswith((".hpp", ".h", ".cuh"))
        else "#include <cuda_emulation/device_code.hpp>\n"
    )
    return f'{prelude}#line 1 "{path}"\n{text}'


def main() -> None:
    """Translates a file into another one."""
    source, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    try:
        translated = translate(source.read_text(encoding="utf-8"), str(source))
    except TranslationError as error:
        sys.exit(f"{source}: {error}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(translated, encoding="utf-8")


if __name__ == "__main__":
    main()
