"""Machine code as lists of instructions, and which of them are integer arithmetic, control or the movement of data.

The lists are closed: whatever they do not name is a finding. So the proof does not rest on knowing every instruction
that computes with floats or divides. Instructions are as GNU's and LLVM's assemblers spell them (x86 in AT&T syntax).
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_X86_SCALAR = r"""
    (add|adc|sub|sbb|inc|dec|neg|not|and|or|xor|imul|mul|shl|shr|sar|rol|ror|lea|cmp|test|mov|push|pop|xchg|call|jmp
    |ret|leave|popcnt|lzcnt|tzcnt|bextr|blsr|blsi|blsmsk|andn|bt|bts|btr|bswap)[bwlqd]?
    |(mulx|rorx|shlx|shrx|sarx|bzhi|pdep|pext)[lq]? |movabsq? |mov[sz](bw|bl|bq|wl|wq|lq|b|w|x|xd)
    |(set|cmov|j)(n?[abceglopsz]|n?[abgl]e|p[eo])[lqw]? |cltq|cltd|cqto|cqo|cdq|cdqe|cwtl
    |stos[bwlqd]?|movs[bwlqd]|nop[wlq]?|endbr64|ud2|int3
"""
_X86_INTEGER_VECTORS = r"""
    v?p(abs|add|sub|adds|subs|addus|subus|hadd|avg)[bwdq]
    |v?pmul(l|h|hu|hrs)[wdq]|v?pmulu?dq|v?pmadd(wd|ubsw)|vpdp(bu|ws)sds?|v?psadbw
    |v?p(and|andn|or|xor)[dq]?|vpternlog[dq]
    |v?p(sll|srl|sra)v?[wdq]|v?ps[lr]ldq|vpro[lr]v?[dq]
    |v?p(min|max)[su][bwdq]
    |v?pcmp(eq|gt|neq|lt|le|nlt|nle|ge)?u?[bwdq]|vptestn?m[bwdq]|v?ptest
    |v?pmov[sz]x(bw|bd|bq|wd|wq|dq)|vpmov(s|us)?(qb|qw|qd|db|dw|wb)|vpmov[bwdq]2m|vpmovm2[bwdq]|v?pmovmskb
    |v?pack[su]s(dw|wb)
    |k(mov|and|andn|or|xor|xnor|not|add|test|ortest|shiftl|shiftr)[bwdq]|kunpck(bw|wd|dq)
"""
_X86_MOVES = _words(
    """
    movd movq movdqa movdqu movaps movups movapd movupd movss movsd movhps movlps movhpd movlpd movhlps movlhps
    movddup movshdup movsldup lddqu movntdq movntps
    vmovd vmovq vmovdqa vmovdqu vmovdqa32 vmovdqa64 vmovdqu8 vmovdqu16 vmovdqu32 vmovdqu64 vmovaps vmovups vmovapd
    vmovupd vmovss vmovsd vmovhps vmovlps vmovhpd vmovlpd vmovhlps vmovlhps vmovddup vmovshdup vmovsldup vmovntdq
    punpcklbw punpckhbw punpcklwd punpckhwd punpckldq punpckhdq punpcklqdq punpckhqdq unpcklps unpckhps unpcklpd
    unpckhpd vpunpcklbw vpunpckhbw vpunpcklwd vpunpckhwd vpunpckldq vpunpckhdq vpunpcklqdq vpunpckhqdq vunpcklps
    vunpckhps vunpcklpd vunpckhpd
    pshufb pshufd pshuflw pshufhw shufps shufpd palignr vpshufb vpshufd vpshuflw vpshufhw vshufps vshufpd vpalignr
    valignd valignq vpermb vpermw vpermd vpermq vpermps vpermpd vpermilps vpermilpd vperm2i128 vperm2f128 vpermt2b
    vpermt2w vpermt2d vpermt2q vpermt2ps vpermt2pd vpermi2b vpermi2w vpermi2d vpermi2q vpermi2ps vpermi2pd
    vshufi32x4 vshufi64x2 vshuff32x4 vshuff64x2
    pblendw pblendvb blendps blendpd blendvps blendvpd vpblendw vpblendd vpblendvb vblendps vblendpd vblendvps vblendvpd
    vpblendmb vpblendmw vpblendmd vpblendmq vblendmps vblendmpd
    vpbroadcastb vpbroadcastw vpbroadcastd vpbroadcastq vbroadcastss vbroadcastsd vbroadcasti128 vbroadcastf128
    vbroadcasti32x2 vbroadcasti32x4 vbroadcasti64x2 vbroadcasti32x8 vbroadcasti64x4 vbroadcastf32x2 vbroadcastf32x4
    vbroadcastf64x2 vbroadcastf32x8 vbroadcastf64x4
    pinsrb pinsrw pinsrd pinsrq pextrb pextrw pextrd pextrq insertps extractps vpinsrb vpinsrw vpinsrd vpinsrq vpextrb
    vpextrw vpextrd vpextrq vinsertps vextractps vinserti128 vinsertf128 vextracti128 vextractf128 vinserti32x4
    vinserti64x2 vinserti32x8 vinserti64x4 vinsertf32x4 vinsertf64x2 vinsertf32x8 vinsertf64x4 vextracti32x4
    vextracti64x2 vextracti32x8 vextracti64x4 vextractf32x4 vextractf64x2 vextractf32x8 vextractf64x4
    vpgatherdd vpgatherqd vpgatherdq vpgatherqq vpscatterdd vpscatterqd vpscatterdq vpscatterqq
    vpmaskmovd vpmaskmovq vmaskmovps vmaskmovpd vpcompressd vpcompressq vpexpandd vpexpandq
    vzeroupper vzeroall prefetcht0 prefetcht1 prefetcht2 prefetchnta
    """
)
_X86_BITS = frozenset(
    f"{v}{op}{kind}" for v in ("", "v") for op in ("and", "andn", "or", "xor") for kind in ("ps", "pd")
)
"""Bitwise, whatever the registers hold: the same as pand and its like, one byte shorter."""
_X86_FENCES = frozenset({"mfence", "lfence", "sfence", "pause"})

_ARM_INTEGER = r"""
    (add|sub|adc|sbc|neg|ngc|and|bic)s?|orr|orn|eor|eon|mul|mneg|madd|msub|[su]mull|[su]mnegl|[su]maddl|[su]msubl|[su]mulh
    |lsl|lsr|asr|ror|extr|bfi|bfxil|bfm|[su]bfm|[su]bfx|[su]bfiz|[su]xt[bhw]|cmp|cmn|tst|ccmp|ccmn
    |csel|csinc|csinv|csneg|cset|csetm|cinc|cinv|cneg|clz|cls|rbit|rev|rev16|rev32|mvn|adrp?
    |b|bl|blr|br|ret|cbn?z|tbn?z|b\.(eq|ne|hs|lo|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)|nop|hint|bti|paciasp|autiasp|isb|dsb|dmb
    |addp|addv|addhn2?|r?subhn2?|[su](add|sub)[lw]2?|[su]addlp|[su]adalp|[su]addlv|[su]h(add|sub)|[su]?q(add|sub)
    |mla|mls|[su]ml[as]l2?|[su]mull2|s?u?s?dot|abs|[su]abd
    |shl|[su]shl|[su]shll2?|shll2?|[su]shr|[su]sra|[su]rshr|[su]rshl|[su]rsra|r?shrn2?|sli|sri|[su]xtl2?|xtn2?|[su]qxtn2?|sqxtun2?
    |[su](max|min)[pv]?|cm(eq|gt|ge|hi|hs|lt|le|tst)|not|bsl|bit|bif
"""
_ARM_MOVES = _words(
    """
    mov movz movk movn movi mvni fmov dup ins umov smov zip1 zip2 uzp1 uzp2 trn1 trn2 ext tbl tbx rev64
    ldr ldrb ldrh ldrsb ldrsh ldrsw ldur ldurb ldurh ldursb ldursh ldursw ldp ldpsw ldnp str strb strh stur sturb sturh
    stp stnp prfm prfum ld1 ld2 ld3 ld4 ld1r ld2r ld3r ld4r st1 st2 st3 st4
    """
)
"""``fmov`` moves bits between register files; converting is ``fcvt``, ``scvtf``."""

_DIVIDES = re.compile(r"v?i?div\w*|[su]div|f\w*div\w*")
_X86 = re.compile(rf"(?:{_X86_SCALAR}|{_X86_INTEGER_VECTORS})", re.VERBOSE)
_ARM = re.compile(rf"(?:{_ARM_INTEGER})", re.VERBOSE)

_SASS = _words(
    """
    IADD3 IMAD IDP IMMA IGMMA IMNMX IABS LEA LOP3 PLOP3 SHF SHFL SEL PRMT POPC FLO ISETP P2R R2P S2R S2UR CS2R MOV UMOV
    UIADD3 UIMAD ULEA ULOP3 USHF USEL UISETP UPRMT R2UR ULDC LDC LDG STG LDS STS LDSM LDL STL LDGSTS LDGDEPBAR DEPBAR
    VOTE VOTEU REDUX RED ATOM ATOMG MEMBAR ERRBAR CCTL BAR BRA BRX BSSY BSYNC BMOV BREAK WARPSYNC EXIT NOP RET CALL
    VIADD VIMNMX VIADDMNMX UVIADD
    """
)
"""Classes (`profiler.kernels.cuda.sass`) of NVIDIA's instructions, without the shapes and widths behind a dot."""


@dataclass(frozen=True)
class Instruction:
    """``target`` is the function that a call or jump goes to, as the disassembler names it; ``*`` for one that is in a
    register or in memory; empty for all other instructions and for jumps within the function."""

    mnemonic: str
    text: str
    target: str = ""


Functions = Mapping[str, tuple[Instruction, ...]]


def finding(mnemonic: str, machine: str) -> str:
    """Why the instruction has no place in an integer-only kernel; empty where it has one."""
    if machine == "aarch64":
        known = mnemonic in _ARM_MOVES or _ARM.fullmatch(mnemonic)
    else:
        known = mnemonic in _X86_MOVES | _X86_BITS or _X86.fullmatch(mnemonic)
    if known:
        return ""
    kind = "division" if _DIVIDES.fullmatch(mnemonic) else "neither an integer instruction nor a move"
    return f"{mnemonic}: {kind}"


def findings(instructions: Iterable[Instruction], machine: str) -> list[str]:
    """Of a function, each once, with how often it is there."""
    counts = Counter(finding(one.mnemonic, machine) for one in instructions)
    return sorted(f"{text} ({count})" for text, count in counts.items() if text)


def sass_findings(kinds: Iterable[str]) -> list[str]:
    """Classes that are neither integer instructions nor moves."""
    return sorted(kind for kind in kinds if kind.partition(".")[0] not in _SASS)


def disassembled(code: bytes, folder: Path) -> Functions:
    """The functions of a shared object. Skips the test where binutils are missing."""
    if which("objdump") is None:
        pytest.skip("objdump is not installed (Debian: apt-get install binutils), which gcc needs too")
    path = folder / "kernel.so"
    path.write_bytes(code)
    done = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", str(path)], capture_output=True, text=True, check=True
    )
    return _functions(done.stdout, re.compile(r"^[0-9a-f]+ <([^>]+)>:$"), re.compile(r"^\s*[0-9a-f]+:\t(.*)$"))


def assembled(text: str) -> Functions:
    """The functions of what LLVM writes as assembly."""
    return _functions(text, re.compile(r"^([A-Za-z_]\w*):"), re.compile(r"^\t([a-z{].*)$"))


def reachable(functions: Functions, entry: str) -> tuple[dict[str, tuple[Instruction, ...]], set[str]]:
    """The functions that run when ``entry`` is called, and the names of what is called outside of these, ``*`` for
    whatever a pointer points to."""
    found: dict[str, tuple[Instruction, ...]] = {}
    outside: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        own = name.removesuffix("@plt")  # an exported function is called by way of the table, its own object's too
        name = own if own in functions else name
        if name in found:
            continue
        if name not in functions or name.endswith("@plt"):
            outside.add(name)
            continue
        found[name] = functions[name]
        waiting += [one.target for one in functions[name] if one.target]
    return found, outside


_PREFIXES = _words("{vex} {evex} rep repz repnz lock bnd notrack data16 cs ds es")


def _functions(text: str, label: re.Pattern[str], instruction: re.Pattern[str]) -> Functions:
    found: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    name = ""
    for line in text.splitlines():
        if begins := label.match(line):
            name = begins[1]
            body = found.setdefault(name, [])
        elif written := instruction.match(line):
            words = [word for word in written[1].split() if word not in _PREFIXES]
            if words:
                body.append(Instruction(words[0], written[1], _target(words, name)))
    return {key: tuple(value) for key, value in found.items()}


_JUMPS = re.compile(r"callq?|jmpq?|bl|blr|b|br|j\w+|b\.\w+")


def _target(words: list[str], function: str) -> str:
    if not _JUMPS.fullmatch(words[0]) or len(words) < 2:
        return ""
    if words[0] in ("blr", "br") or words[1].startswith("*"):
        return "*"
    target = words[-1].strip("<>") if words[-1].startswith("<") else words[1]
    name = target.partition("+")[0].partition("@PLT")[0]
    return "" if name == function or name.startswith(".L") else name
