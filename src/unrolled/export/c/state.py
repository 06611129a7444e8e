"""A stream's state in C: its members, and the functions that save and load them."""

from __future__ import annotations

from unrolled.export.c.fields import Field, Reader
from unrolled.export.c.plan import Network

__all__ = ["FINGERPRINT", "SLOTS", "counts_steps", "members", "saved_bytes", "saving", "zeroed"]

STATE_MAGIC = b"uCs\x01"
FINGERPRINT = 16  # bytes of it, in a saved state and in a file of weights
HEAD = 4 + FINGERPRINT + 4  # of a saved state: magic, fingerprint, bytes that follow
SLOTS = {"lstm": 4, "gru": 4, "rnn_tanh": 1, "rnn_relu": 1}


def members(network: Network, reader: Reader) -> list[Field]:
    """Return the members of the state, the widest first."""
    found = reader.fields()
    if counts_steps(network, reader):
        found.append(Field("uint32_t", "steps", 0, True, "since the start"))
    for number, layer in enumerate(network.layers):
        found.append(Field("float", f"h{number}", layer.output_size, True, f"of layer {number}"))
        if layer.cell == "lstm":
            found.append(Field("float", f"c{number}", layer.hidden_size, True, f"of layer {number}"))
    top = network.layers[-1].output_size
    if network.pools:
        found.append(Field("float", "total", top, True, "the sum of h over the steps"))
        found.append(Field("float", "most", top, True, "its maximum"))
    if network.reach:
        seen = network.input_size * (1 + network.reach)
        found.append(Field("float", "seen", seen, True, "this step behind those before it"))
    if reader.standardises:
        found.append(Field("float", "row", network.input_size, False, "this step, standardised"))
    pre = max(SLOTS[layer.cell] * layer.hidden_size for layer in network.layers)
    found.append(Field("float", "work", max(pre, 2 * top if network.pools else 0), False, "of a step"))
    if any(layer.projection is not None for layer in network.layers):
        most = max(layer.hidden_size for layer in network.layers)
        found.append(Field("float", "hidden", most, False, "before a projection"))
    if reader.answer_type == "double":
        found.append(Field("float", "raw", reader.outputs, False, "what the network gave"))
    if network.weights == "int8":
        most = max(
            [network.input_size * (1 + network.reach)]
            + [max(layer.hidden_size, layer.output_size) for layer in network.layers]
        )
        found.append(Field("int8_t", "whole", most, False, "what is multiplied with int8 weights"))
    found.sort(key=lambda field: {"double": 0, "float": 1, "int8_t": 3}.get(field.type, 2))
    return _filled_up(found)


def counts_steps(network: Network, reader: Reader) -> bool:
    """Return whether the state says how many steps there were."""
    needs = ("clock", "time", "value", "past_clock")
    return network.pools or any(field.name in needs for field in reader.fields())


def _filled_up(found: list[Field]) -> list[Field]:
    """Return the members with as many bytes at the end that the size is the same for every compiler."""
    align = 8 if any(field.type == "double" for field in found) else 4
    left = -sum(field.nbytes for field in found) % align
    if left:
        found.append(Field("int8_t", "unused", left, False, "so that the size is the same everywhere"))
    return found


def saved_bytes(fields: list[Field]) -> int:
    """Return the bytes of a saved state of these members."""
    return HEAD + sum(field.nbytes for field in fields if field.saved) + 4


def zeroed(fields: list[Field]) -> str:
    """Return the statements that give what is saved its first values."""
    lines = []
    for field in fields:
        name = f"s->{field.name}"
        if not field.saved:
            continue
        if field.type == "float":
            lines.append(f"    model_zero({name}, {field.count});\n")
        elif not field.count:
            lines.append(f"    {name} = {'-1' if field.name == 'series' else '0'};\n")
        else:
            lines.append(f"    for (c = 0; c < {field.count}; c++) {name}[c] = 0.0;\n")
    return "".join(lines)


def saving(saved: list[Field]) -> str:
    """Return model_save and model_load.

    Args:
        saved: the members that are saved, in order.
    """
    put, get = [], []
    checks, at = [], HEAD
    for field in saved:
        name = f"s->{field.name}"
        place, count = (name, field.count) if field.count else (f"&{name}", 1)
        if field.type in ("float", "double"):
            suffix = "64" if field.type == "double" else ""
            put.append(f"    at = model_put{suffix}(at, {place}, {count});\n")
            get.append(f"    at = model_get{suffix}({place}, at, {count});\n")
        else:
            put.append(f"    model_put32(at, (uint32_t){name}), at += 4;\n")
            get.append(f"    {name} = ({field.type})model_get32(at), at += 4;\n")
        step = {"float": 4, "double": 8}.get(field.type)
        if step:
            word = at + (4 if step == 8 else 0)
            mask = "0x7ff00000u" if step == 8 else "0x7f800000u"
            checks.append(
                f"    for (i = 0; i < {count}; i++)\n"
                f"        if ((model_get32(bytes + {word} + {step} * i) & {mask}) == {mask})\n"
                "            return MODEL_DAMAGED;\n"
            )
        if field.name == "series":
            checks.append(
                f"    if (model_get32(bytes + {at}) + 1u > (uint32_t)MODEL_SERIES)\n"
                "        return MODEL_NO_SERIES;\n"
            )
        at += field.nbytes
    magic = ", ".join(map(str, STATE_MAGIC))
    return f"""static const unsigned char model_state_magic[4] = {{{magic}}};

void model_save(const model_state *s, unsigned char bytes[MODEL_SAVED_BYTES])
{{
    unsigned char *at = bytes + {HEAD};
    int32_t i;
    for (i = 0; i < 4; i++) bytes[i] = model_state_magic[i];
    for (i = 0; i < {FINGERPRINT}; i++) bytes[4 + i] = model_fingerprint[i];
    model_put32(bytes + {4 + FINGERPRINT}, MODEL_SAVED_BYTES - {HEAD + 4});
{"".join(put)}    model_put32(at, model_check_sum(bytes, MODEL_SAVED_BYTES - 4));
}}

int model_load(model_state *s, const unsigned char *bytes, size_t size)
{{
    const unsigned char *at = bytes + {HEAD};
    int32_t i;
    if (size < {HEAD}) return MODEL_WRONG_SIZE;
    for (i = 0; i < 4; i++)
        if (bytes[i] != model_state_magic[i]) return MODEL_WRONG_MODEL;
    for (i = 0; i < {FINGERPRINT}; i++)
        if (bytes[4 + i] != model_fingerprint[i]) return MODEL_WRONG_MODEL;
    if (size != MODEL_SAVED_BYTES) return MODEL_WRONG_SIZE;
    if (model_get32(bytes + size - 4) != model_check_sum(bytes, size - 4)) return MODEL_DAMAGED;
{"".join(checks)}{"".join(get)}    (void)at;
    return MODEL_OK;
}}
"""
