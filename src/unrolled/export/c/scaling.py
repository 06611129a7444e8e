"""The C code that standardises raw numbers as training did: `schema.RunningScaler`, for one stream."""

from __future__ import annotations

import numpy as np

from unrolled.export.c.fields import Field
from unrolled.export.c.text import array, comment
from unrolled.schema import Scaler

__all__ = ["channel_list", "scaler_checks", "scaler_fields", "scaler_step", "scaler_tables"]

MOST_TIME = 2.0**62


def channel_list(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(comment, names[:12]))
    return f"/* {shown}{', ...' if len(names) > 12 else ''} */"


def scaler_tables(name: str, scaler: Scaler) -> str:
    found = array(f"model_{name}_mean", np.array(scaler.mean)) + array(
        f"model_{name}_scale", np.array(scaler.scale)
    )
    if scaler.masked and len(scaler.masked) < len(scaler.channels):
        masked = np.array([channel in scaler.masked for channel in scaler.channels], np.int8)
        found += array(f"model_{name}_masked", masked)
    return found


def scaler_fields(prefix: str, scaler: Scaler) -> list[Field]:
    found = []
    if scaler.masked:
        found += [
            Field("double", f"{prefix}clock", 0, True, "typical steps since the first one"),
            Field(
                "double",
                f"{prefix}marked",
                len(scaler.masked),
                True,
                "the clock at each channel's last value",
            ),
            Field(
                "double",
                f"{prefix}last",
                len(scaler.channels),
                True,
                "each channel's last value, standardised",
            ),
        ]
    if scaler.gaps:
        found.append(Field("double", f"{prefix}time", 0, True, "of the last step"))
    if prefix:
        found.append(Field("float", f"{prefix}x", len(scaler.channels), False, "of this step"))
    return found


def _masked(name: str, scaler: Scaler) -> str:
    """Return the C expression that says whether channel c has a mask."""
    if not scaler.masked:
        return "0"
    return "1" if len(scaler.masked) == len(scaler.channels) else f"model_{name}_masked[c]"


def scaler_checks(scaler: Scaler, x: str, prefix: str = "") -> str:
    name = "past" if prefix else "input"
    count, masked = len(scaler.channels), _masked(name, scaler)
    code = f"    for (c = 0; c < {count}; c++)\n        if (model_infinite({x}[c])) return MODEL_BAD_INPUT;\n"
    if masked != "1":
        missing = f"model_missing({x}[c])" + ("" if masked == "0" else f" && !{masked}")
        refused = "MODEL_LEFT_OUT" if scaler.missing == "drop" else "MODEL_MISSING"
        code += f"    for (c = 0; c < {count}; c++)\n        if ({missing}) return {refused};\n"
    if scaler.gaps:
        code += (
            f"    if (!(time > -{MOST_TIME!r} && time < {MOST_TIME!r})) return MODEL_BAD_TIME;\n"
            f"    if (s->steps > 0 && !(time > s->{prefix}time)) return MODEL_BAD_TIME;\n"
        )
    return code


def scaler_step(name: str, prefix: str, scaler: Scaler, x: str, row: str, most: float) -> str:
    count, marks = len(scaler.channels), len(scaler.masked)
    masked = _masked(name, scaler)
    value = f"((double){x}[c] - model_{name}_mean[c]) / model_{name}_scale[c]"
    code = "    {\n"
    code += f"        float *row = s->{row};\n"
    if marks or scaler.gaps:
        passed = "s->steps > 0 ? 1.0 : 0.0"
        if scaler.gaps:
            passed = f"s->steps > 0 ? (time - s->{prefix}time) / {scaler.step!r} : 0.0"
        code += f"        const double passed = {passed};\n"
    if marks:
        code += "        int32_t m = 0;\n" + f"        s->{prefix}clock += passed;\n"
        code += f"""        for (c = 0; c < {count}; c++) {{
            const int absent = model_missing({x}[c]);
            const double value = absent ? s->{prefix}last[c] : {value};
            s->{prefix}last[c] = value;
            row[c] = (float)model_clip(value, {most!r});
            if ({masked}) {{
                const double since = s->{prefix}clock - s->{prefix}marked[m];
                row[{count} + m] = absent ? 0.0f : 1.0f;
                row[{count + marks} + m] =
                    (float)model_clip(model_log1p(since > 0.0 ? since : 0.0), {most!r});
                if (!absent) s->{prefix}marked[m] = s->{prefix}clock;
                m++;
            }}
        }}
"""
    else:
        code += f"        for (c = 0; c < {count}; c++) row[c] = (float)model_clip({value}, {most!r});\n"
    if scaler.gaps:
        code += f"        row[{count + 2 * marks}] = (float)model_clip(model_log1p(passed), {most!r});\n"
        code += f"        s->{prefix}time = time;\n"
    return code + "    }\n"
