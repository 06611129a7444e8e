"""What the C code reads of a forecaster's step, and the forecasts that it makes."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from unrolled.errors import ConfigError, expected
from unrolled.export.c.fields import Field
from unrolled.export.c.scaling import channel_list, scaler_checks, scaler_fields, scaler_step, scaler_tables
from unrolled.export.c.text import array, strings
from unrolled.schema import ForecastSchema

__all__ = ["SeriesSteps"]

FARTHEST = 1e4  # standard deviations of a forecaster's values
LEAST = 1e-3  # of a distribution's scale


class SeriesSteps:
    """A forecaster's steps: the value, then past columns; forecasts with intervals come out."""

    standardises = True
    parameters, given, answer_type = "const double x[MODEL_INPUTS]", "x", "double"

    def __init__(self, schema: ForecastSchema, outputs: int, normalise: str) -> None:
        if schema.distribution not in ("point", "quantiles", "gaussian"):
            want = "a forecaster of points, quantiles or a gaussian, whose intervals C works out cheaply"
            raise ConfigError(expected("distribution", want, schema.distribution))
        if schema.past is not None and schema.past.gaps:
            raise ConfigError(expected("columns", "past columns at even times", "times that are not"))
        self.schema, self.per, self.last = schema, outputs, normalise == "last"
        self.outputs = schema.horizon * outputs
        self.levels = len(schema.levels)
        self.answers = schema.horizon * (1 + 2 * self.levels)

    @property
    def past(self) -> tuple[str, ...]:
        return () if self.schema.past is None else self.schema.past.channels

    def header(self) -> str:
        series = len(self.schema.ids)
        levels = ", ".join(f"{level:g} %" for level in self.schema.levels)
        lines = [
            f"#define MODEL_INPUTS {1 + len(self.past)} /* raw numbers of a step */",
            channel_list(("the value", *self.past)),
            "/* NaN stands for a missing value, where training had some. */" if self.schema.masked else "",
            f"#define MODEL_HORIZON {self.schema.horizon} /* steps that are forecast */",
            f"#define MODEL_LEVELS {self.levels} /* intervals{': ' + levels if levels else ''} */",
            "/* An answer: forecasts [MODEL_HORIZON], then each interval's lower and its upper ends. */",
        ]
        if series > 1:
            lines += [
                f"#define MODEL_SERIES {series} /* none of them is chosen at first, nor after a reset */",
                "extern const char *const model_series[MODEL_SERIES]; /* their names */",
            ]
        return "\n".join(line for line in lines if line) + "\n"

    def functions(self) -> str:
        if len(self.schema.ids) == 1:
            return ""
        return (
            "/* Says which series comes: after model_init and after model_reset, before the first step. */\n"
            "int model_choose(model_state *s, int32_t series);\n"
        )

    def tables(self) -> str:
        schema = self.schema
        found = array("model_mean", np.array(schema.mean)) + array("model_scale", np.array(schema.scale))
        if schema.corrections and self.levels:
            found += array("model_corrections", np.array(schema.corrections))
        if schema.past is not None:
            found += scaler_tables("past", schema.past)
        if len(schema.ids) > 1:
            found += """
int model_choose(model_state *s, int32_t series)
{
    if (series < 0 || series >= MODEL_SERIES) return MODEL_NO_SERIES;
    s->series = series;
    return MODEL_OK;
}
"""
        return found

    def names(self, prefix: str) -> str:
        ids = self.schema.ids
        return strings(f"{prefix}_series", ids, f"{prefix.upper()}_SERIES") if len(ids) > 1 else ""

    def fields(self) -> list[Field]:
        found = [Field("double", "value", 0, True, "the last one, standardised")]
        if self.schema.masked:
            found.append(Field("uint32_t", "since", 0, True, "steps since the last value"))
        if len(self.schema.ids) > 1:
            found.append(Field("int32_t", "series", 0, True, "which one"))
        if self.schema.past is not None:
            found += scaler_fields("past_", self.schema.past)
        return found

    def read(self) -> str:
        schema = self.schema
        series = "s->series" if len(schema.ids) > 1 else "0"
        code = "    int missing;\n"
        if len(schema.ids) > 1:
            code += "    if (s->series < 0) return MODEL_NO_SERIES;\n"
        code += "    missing = model_missing64(x[0]);\n"
        code += "    if (!missing && !(x[0] < 1e100 && x[0] > -1e100)) return MODEL_BAD_INPUT;\n"
        if not schema.masked:
            code += "    if (missing) return MODEL_MISSING;\n"
        if schema.past is not None:
            code += f"    for (c = 0; c < {len(self.past)}; c++) s->past_x[c] = (float)x[1 + c];\n"
            code += scaler_checks(schema.past, "s->past_x", "past_")
        code += (
            "    if (!missing) s->value = "
            f"model_clip((x[0] - model_mean[{series}]) / model_scale[{series}], {FARTHEST});\n"
            "    s->row[0] = (float)s->value;\n"
        )
        at = 1
        if schema.masked:
            code += (
                "    s->since = missing && s->steps > 0 ? s->since + 1 : 0;\n"
                "    s->row[1] = missing ? 0.0f : 1.0f;\n"
                "    s->row[2] = (float)model_log1p((double)s->since);\n"
            )
            at = 3
        if schema.past is not None:
            code += scaler_step("past", "past_", schema.past, "s->past_x", f"row + {at}", FARTHEST)
        return code

    def after(self) -> str:
        """Bring what the network gave into the form that the runtime calls its output."""
        code, schema = "", self.schema
        if schema.distribution == "quantiles":
            middle = self.per // 2
            code += f"""    {{
        int32_t h, q;
        for (h = 0; h < MODEL_HORIZON; h++) {{
            float *given = raw + h * {self.per};
            const double median = (double)given[{middle}];
            double sum = 0.0;
            for (q = {middle + 1}; q < {self.per}; q++) {{
                sum += model_softplus((double)given[q]);
                given[q] = (float)(median + sum{" + (double)s->row[0]" if self.last else ""});
            }}
            for (q = {middle - 1}, sum = 0.0; q >= 0; q--) {{
                sum += model_softplus((double)given[q]);
                given[q] = (float)(median - sum{" + (double)s->row[0]" if self.last else ""});
            }}
            given[{middle}] = (float)(median{" + (double)s->row[0]" if self.last else ""});
        }}
    }}
"""
        elif self.last:
            code += f"    for (c = 0; c < MODEL_HORIZON; c++) raw[c * {self.per}] += s->row[0];\n"
        return code

    def finish(self) -> str:
        schema = self.schema
        series = "s->series" if len(schema.ids) > 1 else "0"
        points = schema.quantiles
        middle = points.index(0.5)
        sides = []
        for level in range(self.levels):
            below, above = middle - 1 - level, middle + 1 + level
            if schema.distribution == "quantiles":
                low, high = f"(double)given[{below}]", f"(double)given[{above}]"
            elif schema.distribution == "gaussian":
                low, high = (
                    f"point + spread * {NormalDist().inv_cdf(points[at])!r}" for at in (below, above)
                )
            else:
                low = high = "point"
            sides.append(f"        low = {low};\n        high = {high};\n" + self._corrected(level))
        spread = ""
        if schema.distribution == "gaussian" and self.levels:
            spread = f"        const double spread = model_softplus((double)given[1]) + {LEAST};\n"
        own = middle if schema.distribution == "quantiles" else 0
        nested = ", lowest = 0.0, highest = 0.0" if schema.corrections and self.levels > 1 else ""
        ends = f"        double low, high{nested};\n" if self.levels else ""
        at_series = "" if len(schema.ids) > 1 else "    (void)s;\n"
        return f"""static void model_answer(const model_state *s, const float *raw, double *answer)
{{
    int32_t h;
{at_series}    for (h = 0; h < MODEL_HORIZON; h++) {{
        const float *given = raw + h * {self.per};
        const double point = (double)given[{own}];
{spread}{ends}        answer[h] = point * model_scale[{series}] + model_mean[{series}];
{"".join(sides)}    }}
}}
"""

    def _corrected(self, level: int) -> str:
        series = "s->series" if len(self.schema.ids) > 1 else "0"
        code = ""
        if self.schema.corrections:
            at = f"model_corrections[{level} * MODEL_HORIZON + h]"
            code += f"        low = low - {at} < point ? low - {at} : point;\n"
            code += f"        high = high + {at} > point ? high + {at} : point;\n"
            if level:
                code += (
                    "        if (lowest < low) low = lowest;\n        if (highest > high) high = highest;\n"
                )
            if level + 1 < self.levels:
                code += "        lowest = low;\n        highest = high;\n"
        for side, name in enumerate(("low", "high")):
            place = f"answer[{1 + 2 * level + side} * MODEL_HORIZON + h]"
            code += f"        {place} = {name} * model_scale[{series}] + model_mean[{series}];\n"
        return code
