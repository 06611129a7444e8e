"""BPE: any text, streamed UTF-8, pieces that no newline joins, and files from strangers."""

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import ConfigError, MissingExtraError, TokenError
from unrolled.spec import DataConfig
from unrolled.tokens import BpeTokens, assemble, bpe, build, from_json, load

LAW = settings(deadline=None, max_examples=60)
TEXT = "the cat sat on the mat, the dog’s log — “the café” 12 123\n\n  and\tthe cat\n" * 5
TOKENS = build("bpe:300", [TEXT])
HEAD = {"format": "unrolled-tokens", "version": 1, "kind": "bpe"}
texts = st.text(st.sampled_from("the cat\n\t 12.,’“é😀\r\u00a0"), max_size=40) | st.text(max_size=20)


def bytes_of(merges):
    """Return the bytes of each id, by the definition."""
    parts = [bytes([i]) for i in range(256)]
    for left, right in merges:
        joined = parts[left] + parts[right]
        if joined not in parts:
            parts.append(joined)
    return parts


def merged(piece, merges):
    """Merge a piece by the definition: again and again the pair that comes first in the list, from the left."""
    parts = bytes_of(merges)
    ids = list(piece)
    while True:
        pairs = [pair for pair in merges if tuple(pair) in set(itertools.pairwise(ids))]
        if not pairs:
            return ids
        (left, right), place = pairs[0], 0
        while place < len(ids) - 1:
            if (ids[place], ids[place + 1]) == (left, right):
                ids[place : place + 2] = [parts.index(parts[left] + parts[right])]
            place += 1


def test_the_bytes_come_first_and_nothing_is_unknown():
    assert (TOKENS.kind, TOKENS.boundary, TOKENS.unknown) == ("bpe", 10, None)
    assert 256 < TOKENS.size <= 300
    assert TOKENS.encode("\n").tolist() == [10]
    assert TOKENS.count_unknown(TOKENS.encode("😀")) == 0
    assert len(TOKENS.encode("the cat")) < 7
    assert build("bpe:258", [TEXT]).size == 258


def test_a_vocabulary_is_the_same_for_the_same_texts():
    code = (
        "import json, sys; from unrolled.tokens import build; "
        "print(json.dumps(build('bpe:300', [sys.argv[1]]).to_json()))"
    )
    again = subprocess.run([sys.executable, "-c", code, TEXT], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == TOKENS.to_json()
    assert build("bpe:300", [TEXT[:70], TEXT[70:]]).size > 256


@LAW
@given(texts)
def test_decode_undoes_encode_for_every_text(text):
    ids = TOKENS.encode(text)
    assert TOKENS.decode(ids) == text
    assert TOKENS.encode_narrow(text).tolist() == ids.tolist()
    assert TOKENS.encode_narrow(text).dtype.name == "uint16"


@LAW
@given(texts)
def test_the_ids_are_those_of_the_definition(text):
    merges = TOKENS.to_json()["merges"]
    pieces = bpe.PIECE.findall(text.encode().decode("latin-1"))
    assert "".join(pieces).encode("latin-1").decode() == text
    found = [i for piece in pieces for i in merged(piece.encode("latin-1"), merges)]
    assert TOKENS.encode(text).tolist() == found


@LAW
@given(texts, texts)
def test_a_newline_is_a_token_of_its_own_and_cuts_what_stands_around_it(one, other):
    joined = TOKENS.encode(f"{one}\n{other}").tolist()
    assert joined == [*TOKENS.encode(one), 10, *TOKENS.encode(other)]
    assert joined.count(10) == one.count("\n") + other.count("\n") + 1


@LAW
@given(texts, st.integers(0, 40))
def test_no_token_goes_across_a_border(text, at):
    cut = TOKENS.border(text, at)
    assert min(at, len(text)) <= cut <= len(text)
    assert (
        TOKENS.encode(text[:cut]).tolist() + TOKENS.encode(text[cut:]).tolist()
        == TOKENS.encode(text).tolist()
    )


@LAW
@given(st.lists(st.integers(0, TOKENS.size - 1)))
def test_streamed_pieces_join_to_the_decoded_text_even_where_it_is_no_utf8(ids):
    decoder = TOKENS.decoder()
    for _ in range(2):  # finish leaves it fresh
        assert "".join(map(decoder.feed, ids)) + decoder.finish() == TOKENS.decode(ids)


def test_an_undecodable_byte_of_the_command_line_is_that_byte_again():
    assert TOKENS.encode("a\udce9").tolist() == [97, 0xE9]
    with pytest.raises(TokenError, match=r"^text: expected text without lone surrogates, got '\\ud800'$"):
        TOKENS.encode("a\ud800")
    with pytest.raises(TokenError, match=rf"^ids: expected 0 to {TOKENS.size - 1}, got {TOKENS.size}$"):
        TOKENS.decoder().feed(TOKENS.size)


def test_what_is_kept_of_pieces_is_bounded_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(bpe, "MOST_KNOWN", 3)
    tokens = build("bpe:300", [TEXT])
    for _ in range(3):
        assert tokens.encode(TEXT + "x" * 99).tolist() == TOKENS.encode(TEXT + "x" * 99).tolist()
        assert len(tokens._known) <= 3


def test_the_file_of_a_vocabulary_has_these_bytes_and_loads_again(tmp_path):
    tokens = BpeTokens([[104, 101], [116, 256]])
    tokens.save(tmp_path / "tokens.json")
    assert (tmp_path / "tokens.json").read_bytes() == (
        b'{"format": "unrolled-tokens", "version": 1, "kind": "bpe", "merges": [[104, 101], [116, 256]]}\n'
    )
    again = load(tmp_path / "tokens.json")
    assert again == tokens
    assert again.encode("the he").tolist() == [257, 32, 256]
    TOKENS.save(tmp_path / "tokens.json")
    assert load(tmp_path / "tokens.json").encode(TEXT).tolist() == TOKENS.encode(TEXT).tolist()


def test_two_ways_to_the_same_bytes_make_one_id():
    tokens = from_json({**HEAD, "merges": [[97, 98], [98, 99], [256, 99], [97, 257]]})
    assert tokens.size == 259
    assert tokens.encode("abc").tolist() == [258]


DOUBLED = [[97, 97], [256, 256], [257, 257], [258, 258], [259, 259], [260, 260], [261, 261]]
NAMED = "tokens.merges"
BAD = [
    ({}, f"{NAMED}: expected a list, got nothing"),
    ({"merges": {}}, f"{NAMED}: expected a list, got {{}}"),
    (
        {"merges": [], "symbols": []},
        "tokens: expected the keys format, version, kind, merges, got unknown key 'symbols'",
    ),
    ({"merges": [1]}, f"{NAMED}[0]: expected a pair of ids, got 1"),
    ({"merges": ["he"]}, f"{NAMED}[0]: expected a pair of ids, got 'he'"),
    ({"merges": [[1, 2, 3]]}, f"{NAMED}[0]: expected a pair of ids, got [1, 2, 3]"),
    ({"merges": [[1, 2], [1]]}, f"{NAMED}[1]: expected a pair of ids, got [1]"),
    ({"merges": [["t", "h"]]}, f"{NAMED}[0]: expected ids from 0 to 255, got 't'"),
    ({"merges": [[1.0, 2]]}, f"{NAMED}[0]: expected ids from 0 to 255, got 1.0"),
    ({"merges": [[True, 2]]}, f"{NAMED}[0]: expected ids from 0 to 255, got True"),
    ({"merges": [[1, -1]]}, f"{NAMED}[0]: expected ids from 0 to 255, got -1"),
    ({"merges": [[1, 256]]}, f"{NAMED}[0]: expected ids from 0 to 255, got 256"),  # itself
    ({"merges": [[1, 257], [1, 256]]}, f"{NAMED}[0]: expected ids from 0 to 255, got 257"),  # a circle
    ({"merges": [[1, 2**63]]}, f"{NAMED}[0]: expected ids from 0 to 255, got {2**63}"),
    ({"merges": [[1, 2], [1, 2]]}, f"{NAMED}[1]: expected each pair once, got [1, 2] twice"),
    ({"merges": [[97, 10]]}, f"{NAMED}[0]: expected at most 64 bytes, none a newline, got b'a\\n'"),
    (
        {"merges": DOUBLED},
        f"{NAMED}[6]: expected at most 64 bytes, none a newline, got b'aaaaaaaaaaa...aaaaaaaaaaaaa'",
    ),
    ({"merges": [[1, 2]] * 65_537}, f"{NAMED}: expected at most 65536 pairs, got 65537"),
]


@pytest.mark.parametrize(("rest", "message"), BAD, ids=range(len(BAD)))
def test_a_file_that_is_no_vocabulary_is_refused_in_one_line_before_a_child_starts(
    rest, message, monkeypatch
):
    monkeypatch.setattr(bpe, "try_out", None)
    with pytest.raises(TokenError) as caught:
        from_json({**HEAD, **rest})
    assert str(caught.value) == message


def test_more_symbols_than_ids_of_sixteen_bits_are_refused(monkeypatch):
    monkeypatch.setattr(bpe, "LARGEST_BPE", 258)
    with pytest.raises(TokenError, match=r"^tokens.merges: expected at most 258 symbols, got 259$"):
        from_json({**HEAD, "merges": [[1, 2], [3, 4], [5, 6]]})


def test_more_than_a_mebibyte_of_symbols_is_refused():
    halves = [[200, 200], [256, 256], [257, 257], [258, 258]]  # 32 bytes
    ends = [[259, i] for i in range(11, 139)] + [[i, 259] for i in range(11, 139)]
    made = range(260, 260 + len(ends))
    merges = halves + ends
    merges += [[left, right] for left in made[:128] for right in range(139, 256)]
    merges += [[left, right] for left in range(139, 256) for right in made[128:]]
    with pytest.raises(TokenError) as caught:
        from_json({**HEAD, "merges": merges + [[left, 257] for left in range(516, 30_000)]})
    assert re.fullmatch(
        r"tokens\.merges\[\d+\]: expected symbols of at most 1048576 bytes in all, got more",
        str(caught.value),
    )


def test_merges_to_symbols_that_are_there_count_too(monkeypatch):
    monkeypatch.setattr(bpe, "MOST_BYTES", 9)
    ways = [[97, 98], [98, 99], [256, 99], [97, 257]]
    assert from_json({**HEAD, "merges": ways[:2]}).size == 258
    with pytest.raises(TokenError, match=r"^tokens\.merges\[3\]: expected symbols of at most 9 bytes in all"):
        from_json({**HEAD, "merges": ways})


def test_what_is_learnt_can_be_loaded(monkeypatch):
    whole = TOKENS.to_json()["merges"]
    monkeypatch.setattr(bpe, "MOST_BYTES", 60)
    tokens = build("bpe:300", [TEXT])
    assert 256 < tokens.size < TOKENS.size
    assert tokens.to_json()["merges"] == whole[: tokens.size - 256]
    assert from_json(tokens.to_json()) == tokens


def test_learning_ends_where_the_text_holds_too_much_that_differs(monkeypatch):
    monkeypatch.setattr(bpe, "FED", 10)
    monkeypatch.setattr(bpe, "MOST_DISTINCT", 40)
    same, other = "the cat sat\n" * 50, "".join(f"{i}\n" for i in range(100))
    taken = "".join(bpe._fed([same, other, same]))
    assert taken.startswith(same)
    assert 0 < len(taken) - len(same) < 60
    assert build("bpe:300", [same, other, same]) == build("bpe:300", [taken])
    assert "".join(bpe._fed(["ab " * 500])) == "ab " * 500


def test_a_text_without_borders_is_fed_in_small_parts_too():
    text = "中" * 100_000
    parts = list(bpe._fed([text]))
    assert "".join(parts).encode("latin-1").decode() == text
    assert max(map(len, parts)) <= 3 * 2 * bpe.FED


pairs = st.lists(st.integers(-1, 270) | st.none(), max_size=3) | st.text(max_size=2) | st.integers()


@LAW
@given(st.lists(pairs, max_size=4))
def test_any_list_is_a_vocabulary_or_a_token_error(merges):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "try_out", lambda *_: None)
        with contextlib.suppress(TokenError):
            tokens = from_json({**HEAD, "merges": merges})
            assert tokens.decode(tokens.encode("ab\x01\x02")) == "ab\x01\x02"


def injected(tmp_path, monkeypatch, body):
    """Let the child build nothing, but run `body`, under the limits that it always has."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, runpy, sys, time\nfrom pathlib import Path\n"
        f"names = runpy.run_path({assemble.__file__!r})\n"
        f"def instead(merges):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "names['main'].__globals__['assemble'] = instead\n"
        "names['main'](*map(int, sys.argv[1:]))\n"
    )
    monkeypatch.setattr(bpe, "SCRIPT", script)
    monkeypatch.setattr(bpe, "SECONDS", 1)


WANTED = r"^tokens\.merges: expected a vocabulary that the tokenizers library can build, got "


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("while True: pass", "one that takes too long"),
        ("time.sleep(60)", "one that takes too long"),
        ("return bytearray(2**31)", "MemoryError:"),
        ("os.kill(os.getpid(), 9)", "a child process that ended with SIGKILL"),
        ("os.abort()", "a child process that ended with SIGABRT"),
        ("os._exit(3)", "a child process that ended with 3"),
        (
            "raise BaseException('a panic\\nin two lines ' + 'x' * 999)",
            "BaseException: a panic in two lines x+$",
        ),
        ("sys.exit('gone')", "SystemExit: gone"),
        ("print('built'); os._exit(0)", "a child process that ended with 0"),
        ("import tokenizers; return tokenizers.models.BPE({'a': 0}, [])", "it changes a text"),
        ("sys.stderr.write('x' * 10**7); sys.stdout.write('y'); raise ValueError('z')", "yValueError: z"),
    ],
)
def test_what_happens_to_the_child_is_a_token_error(body, reason, tmp_path, monkeypatch):
    injected(tmp_path, monkeypatch, body)
    with pytest.raises(TokenError, match=WANTED + reason) as caught:
        from_json({**HEAD, "merges": [[97, 98]]})
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_the_child_does_without_the_environment_and_the_folder_it_is_started_in(tmp_path, monkeypatch):
    (tmp_path / "tokenizers.py").write_text("raise SystemExit('not me')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert from_json({**HEAD, "merges": [[97, 98]]}).size == 257


def test_a_child_that_cannot_be_started_is_a_token_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(
        TokenError, match=WANTED + "no child process to try it in: No such file or directory$"
    ):
        from_json({**HEAD, "merges": [[97, 98]]})


@pytest.mark.parametrize("executable", [None, ""])
def test_a_python_that_does_not_know_where_it_lies_is_a_token_error(executable, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)
    reason = "no child process to try it in: Python does not know where it lies$"
    with pytest.raises(TokenError, match=WANTED + reason):
        from_json({**HEAD, "merges": [[97, 98]]})


def test_what_is_no_text_on_the_path_of_imports_is_passed_over(monkeypatch):
    monkeypatch.setattr(sys, "path", [Path("here"), None, *sys.path, b"there"])
    assert from_json({**HEAD, "merges": [[97, 98]]}).size == 257


def test_limits_that_are_in_force_already_are_no_obstacle():
    pytest.importorskip("resource")
    code = (
        "import resource, sys; from unrolled.tokens import from_json\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (5, 5)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"print(from_json({ {**HEAD, 'merges': [[97, 98]]}!r}).size)"
    )
    assert bpe.SECONDS + 1 > 5
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("257\n", "")


def test_a_limit_that_cannot_be_set_is_named(tmp_path, monkeypatch):
    injected(tmp_path, monkeypatch, "pass")
    script = bpe.SCRIPT.read_text().replace(
        "names['main'](",
        "import resource\ndef refuse(*_): raise ValueError('not allowed')\n"
        "resource.setrlimit = refuse\nnames['main'](",
    )
    bpe.SCRIPT.write_text(script)
    with pytest.raises(TokenError, match=WANTED + "ValueError: not allowed$"):
        from_json({**HEAD, "merges": [[97, 98]]})


@pytest.mark.skipif(sys.platform != "linux", reason="a child learns of its parent's end on Linux")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_its_parent(how, tmp_path, monkeypatch):
    injected(tmp_path, monkeypatch, "Path('pid').write_text(str(os.getpid())); time.sleep(60)")
    code = (
        "import signal, sys; from pathlib import Path; from unrolled.tokens import bpe\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # pytest may run with it ignored
        f"bpe.SCRIPT, bpe.SECONDS = Path({str(bpe.SCRIPT)!r}), 60\n"
        "bpe.try_out([], 'x')\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    pid = _wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    assert Path(f"/proc/{pid}").exists()
    parent.send_signal(how)
    assert parent.wait(10) != 0
    assert _wait_for(lambda: not Path(f"/proc/{pid}").exists() or _is_dead(pid))


def _is_dead(pid):
    try:
        return re.search(r"State:\s+Z", Path(f"/proc/{pid}/status").read_text()) is not None
    except OSError:
        return True


def _wait_for(condition):
    for _ in range(1000):
        if found := condition():
            return found
        time.sleep(0.01)
    raise TimeoutError


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    message = (
        r"^tokens bpe: expected an installed package tokenizers, got none: pip install 'unrolled\[bpe\]'$"
    )
    with pytest.raises(MissingExtraError, match=message):
        build("bpe:300", [TEXT])
    with pytest.raises(MissingExtraError, match=message):
        from_json(TOKENS.to_json())


def test_the_library_loads_when_it_is_needed():
    code = "import sys, unrolled.tokens; print('tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("size", [257, 65_537, True, 300.0, "300"])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(ConfigError, match=rf"^size: expected 258 to 65536, got {size!r}$"):
        BpeTokens.build([TEXT], size=size)


@pytest.mark.parametrize(
    "setting", ["bpe:", "bpe:257", "bpe:65537", "bpe:0300", "bpe:-5", "bpe:x", "bpe:N", "bpe:" + "9" * 5000]
)
def test_a_setting_out_of_range_names_the_form(setting):
    with pytest.raises(ConfigError) as caught:
        DataConfig("x", tokens=setting)
    assert str(caught.value) == f"tokens: expected bpe:N with N from 258 to 65536, got {setting!r}"


@pytest.mark.parametrize("setting", ["bpe", "char:300", "Bpe:300", "bpe:N:3", "", ":"])
def test_a_setting_of_another_form_is_refused(setting):
    with pytest.raises(ConfigError) as caught:
        DataConfig("x", tokens=setting)
    if not setting.startswith("bpe:"):
        assert str(caught.value) == f"tokens: expected one of auto, char, byte, word, bpe:N, got {setting!r}"


def test_a_setting_in_range_is_taken():
    assert DataConfig("x", tokens="bpe:258").tokens == "bpe:258"
    assert DataConfig("x", tokens="bpe:65536").tokens == "bpe:65536"


def test_a_text_with_little_to_merge_gives_a_smaller_vocabulary():
    assert build("bpe:300", ["ab ab"]).size == 257
    assert build("bpe:300", []).size == 256
