"""What accelerators can compute at most, by their vendors' data sheets."""

import re
from dataclasses import dataclass
from typing import Literal

Precision = Literal["bf16", "fp16", "tf32", "fp32"]


@dataclass(frozen=True)
class Peak:
    """Dense matrix TFLOP/s (data sheets of NVIDIA often print twice that, for sparse matrices) by precision."""

    device: str
    bf16: float | None
    fp16: float | None
    tf32: float | None
    fp32: float | None
    source: str


# The first whose pattern is found in the name that the driver says decides: variants stand before what they vary.
_PEAKS = (
    Peak(r"B200\b", 2250, 2250, 1125, 75, "NVIDIA HGX B200 data sheet"),
    Peak(r"GH200\b", 990, 990, 494, 67, "NVIDIA GH200 data sheet"),
    Peak(r"H200 NVL", 835.5, 835.5, 417.5, 60, "NVIDIA H200 data sheet"),
    Peak(r"H200\b", 989, 989, 494, 67, "NVIDIA H200 data sheet"),
    Peak(r"H100 NVL", 835.5, 835.5, 417.5, 60, "NVIDIA H100 NVL data sheet"),
    Peak(r"H[18]00 PCIe", 756, 756, 378, 51, "NVIDIA H100 data sheet"),
    Peak(r"H[18]00\b", 989, 989, 494, 67, "NVIDIA H100 data sheet"),
    Peak(r"H20\b", 148, 148, 74, 44, "NVIDIA H20 data sheet"),
    Peak(r"A[18]00\b", 312, 312, 156, 19.5, "NVIDIA A100 data sheet"),
    Peak(r"A40\b", 149.7, 149.7, 74.8, 37.4, "NVIDIA A40 data sheet"),
    Peak(r"A30\b", 165, 165, 82, 10.3, "NVIDIA A30 data sheet"),
    Peak(r"A10\b", 125, 125, 62.5, 31.2, "NVIDIA A10 data sheet"),
    Peak(r"L40S\b", 362, 362, 183, 91.6, "NVIDIA L40S data sheet"),
    Peak(r"L40\b", 181, 181, 90.5, 90.5, "NVIDIA L40 data sheet"),
    Peak(r"L4\b", 121, 121, 60, 30.3, "NVIDIA L4 data sheet"),
    Peak(r"V100-PCI", None, 112, None, 14, "NVIDIA V100 data sheet"),
    Peak(r"V100-SXM", None, 125, None, 15.7, "NVIDIA V100 data sheet"),
    Peak(r"\bT4\b", None, 65, None, 8.1, "NVIDIA T4 data sheet"),
    Peak(r"RTX 4090(?! (D|Laptop))", 165.2, 165.2, 82.6, 82.6, "NVIDIA Ada GPU architecture white paper"),
    Peak(r"RTX 3090(?! Ti)", 71, 71, 35.6, 35.6, "NVIDIA Ampere GA102 architecture white paper"),
    Peak(r"MI3(00|25)X\b", 1307.4, 1307.4, 653.7, 163.4, "AMD Instinct MI300X and MI325X data sheets"),
    Peak(r"MI250X\b", 383, 383, None, 95.7, "AMD Instinct MI250X data sheet"),
)


def peak_flops(device_name: str, precision: Precision) -> float | None:
    """Return the peak in FLOP/s of a device, by the name that torch says, or None when it is not known.

    A part of a GPU (MIG) has no figure of its own, and a CPU's depends on more than its name.
    """
    if "MIG" in device_name:
        return None
    found = next((peak for peak in _PEAKS if re.search(peak.device, device_name)), None)
    teraflops: float | None = getattr(found, precision) if found else None
    return None if teraflops is None else teraflops * 1e12
