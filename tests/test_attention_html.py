"""The page of attention weights, as text and in a real browser."""

import importlib.util
import json
import re
import shutil

import numpy as np
import pytest

from transformer.decoding.inspection import Inspection
from transformer.visualization.attention_html import render

LAYERS, HEADS = 2, 3
CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), ""
)


def inspection(source, target, seed=0):
    """Random weights for words that end in </s>."""
    s, t = len(source), len(target)
    random = np.random.default_rng(seed)

    def weights(queries, keys, causal=False):
        drawn = random.random((LAYERS, HEADS, queries, keys)) ** 6
        drawn = np.tril(drawn + 1e-3) if causal else drawn
        return (drawn / drawn.sum(-1, keepdims=True)).astype(np.float32)

    return Inspection(
        source_tokens=source,
        target_tokens=target,
        target_inputs=["<s>", *target[:-1]],
        encoder_attention=weights(s, s),
        decoder_attention=weights(t, t, causal=True),
        cross_attention=weights(t, s),
        encoder_states=np.zeros((LAYERS + 1, s, 4), np.float32),
        decoder_states=np.zeros((LAYERS + 1, t, 4), np.float32),
        token_log_probs=np.zeros(t, np.float32),
    )


FIRST = inspection(["▁The", "▁station", "s", ".", "</s>"], ["▁Der", "▁Bahn", "hof", ".", "</s>"])
EVIL = "</script><script>document.title='broken'</script>"
SECOND = inspection(["▁<b>", f"▁{EVIL}", "</s>"], ["▁&amp;", "▁\u2028", "▁x", "</s>"], seed=1)
BLANK = inspection(["</s>"], [])


@pytest.fixture(scope="module")
def page():
    return render([FIRST, BLANK, SECOND], "Attention of <runs>")


def test_nothing_outside_is_referred_to_and_text_stays_text(page):
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|src=|@import|url\(", page)
    assert page.count("</script>") == page.count("<script") == 2
    assert "<title>Attention of &lt;runs&gt;</title>" in page
    found = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert [one["text"] for one in found["sentences"]] == ["The stations.", f"<b> {EVIL}"]
    assert found["sentences"][0]["attention"]["cross"]["tokens"][0][2] == "·hof"


def test_a_weight_takes_about_a_byte():
    long = inspection([*"▁ab" * 20, "</s>"], [*"▁ab" * 20, "</s>"])
    weights = sum(long.attention(kind).size for kind in ("encoder", "decoder", "cross"))
    assert len(render([long])) - len(render([])) < 1.5 * weights


def test_no_sentence_is_a_page_too():
    assert "<h1>Attention</h1>" in render([])


@pytest.fixture(scope="module")
def browser():
    if not importlib.util.find_spec("playwright"):
        pytest.skip("needs playwright: pip install -e .[dev]")
    if not CHROMIUM:
        pytest.skip("needs Chromium or Chrome, for example: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, page, tmp_path):
    """The page as a file, without a network; an error of its script fails the test."""
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 360, "height": 740})
    tab, errors = context.new_page(), []
    tab.on("pageerror", lambda error: errors.append(error))
    tab.goto((tmp_path / "page.html").as_uri())
    yield tab
    assert not errors
    context.close()


def numbers(tab, side):
    """The per cents shown beside a column of tokens."""
    shown = tab.locator(f"#{side} output").all_inner_texts()
    return [int(text.rstrip("%").strip()) if text else None for text in shown]


def assert_shows(tab, side, weights):
    np.testing.assert_allclose(np.array(numbers(tab, side)) / 100, weights, atol=0.0075)


def test_hovering_changes_the_weights_shown(opened):
    mean = FIRST.cross_attention[-1].mean(0)
    assert numbers(opened, "right") == [None] * 5
    for place in (1, 3):
        opened.hover(f"#left button >> nth={place}")
        assert_shows(opened, "right", mean[place])
        strongest = opened.locator("#right button").nth(int(mean[place].argmax()))
        assert float(strongest.evaluate("b => b.style.getPropertyValue('--weight')")) > 0.1
        assert opened.locator("#lines line").count() == (mean[place] * 255 >= 2.6).sum()
    opened.hover("#right button >> nth=2")
    assert_shows(opened, "left", mean[:, 2])
    opened.hover("h1")
    assert numbers(opened, "left") == [None] * 5


def test_layer_head_kind_and_sentence_are_chosen(opened):
    opened.click("button[aria-label='layer 1, head 2']")
    opened.hover("#left button >> nth=0")
    assert_shows(opened, "right", FIRST.cross_attention[0, 1, 0])
    opened.click("text=Decoder")
    assert opened.locator("#left bdi").all_inner_texts() == ["<s>", "Der", "Bahn", "·hof", "."]
    opened.hover("#left button >> nth=2")
    assert_shows(opened, "right", FIRST.decoder_attention[0, 1, 2])
    opened.select_option("#sentence", "1")
    opened.click("text=Encoder")
    assert opened.locator("#right bdi").all_inner_texts() == ["<b>", EVIL, "</s>"]
    opened.hover("#left button >> nth=2")
    assert_shows(opened, "right", SECOND.encoder_attention[0, 1, 2])
    assert opened.title() == "Attention of <runs>"


def test_keys_and_taps_do_what_the_pointer_does(opened):
    mean = FIRST.cross_attention[-1].mean(0)
    opened.focus("#left button >> nth=0")
    opened.keyboard.press("ArrowDown")
    assert_shows(opened, "right", mean[1])
    assert opened.inner_text("#summary").startswith("“Bahn” attends to")
    opened.keyboard.press("ArrowRight")
    assert_shows(opened, "left", mean[:, 1])
    opened.click("#left button >> nth=4")
    opened.hover("h1")
    assert_shows(opened, "right", mean[4])  # what was tapped stays
    opened.keyboard.press("Escape")
    assert numbers(opened, "right") == [None] * 5


def test_a_phone_need_not_scroll_sideways(opened):
    assert opened.evaluate("document.documentElement.scrollWidth") == 360
