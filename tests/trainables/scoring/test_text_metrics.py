"""Texts of many scripts are compared by what their readers take for words and characters. All values are by hand."""

from __future__ import annotations

import math
import random
import re
import unicodedata

import pytest
from rouge_score.tokenizers import DefaultTokenizer

from trainables.data.thinking import answer_matches
from trainables.scoring.text_metrics import (
    CharacterTokenizer,
    WordTokenizer,
    answer_similarity,
    mostly_characters,
)

# Five units of six, in order: precisions 5/5, 3/4, 2/3 and 1/2, brevity exp(1 - 6/5).
BLEU_OF_FIVE_OF_SIX = 100 * math.exp(-0.2) * (3 / 4 * 2 / 3 * 1 / 2) ** 0.25


def values(answer: str, reference: str) -> dict[str, float]:
    measures, _ = answer_similarity([answer], [reference])
    return {each.name: each.value for each in measures}


@pytest.mark.parametrize(
    ("answer", "reference", "rouge1", "rouge2"),
    [
        pytest.param("मैं हिन्दू सीखता हूँ", "मैं हिन्दी सीखता हूँ", 3 / 4, 1 / 3, id="Hindi"),
        pytest.param("की", "कि", 0, 0, id="Hindi: another vowel"),
        pytest.param("আমি বাংলা ভাষা শেখা", "আমি বাংলা ভাষা শিখি", 3 / 4, 2 / 3, id="Bengali"),
        pytest.param("அவள் பாடம் படித்தாள்", "அவன் பாடம் படித்தான்", 1 / 3, 0, id="Tamil"),
        pytest.param("నేను పాలు తాగాను", "నేను నీళ్ళు తాగాను", 2 / 3, 0, id="Telugu"),
        pytest.param("ശരി അല്ല", "ശരി ആണ്", 1 / 2, 0, id="Malayalam"),
        pytest.param("ශ්\u200dරී ලංකාව", "ශ්\u200dරී ලංකා", 1 / 2, 0, id="Sinhala: a joiner within a word"),
        pytest.param(
            "می\u200cخواهد بروم", "می\u200cخواهم بروم", 1 / 2, 0, id="Persian: a joiner within a word"
        ),
        pytest.param("كُتُبُ الوَلَدِ", "كَتَبَ الوَلَدُ", 0, 0, id="Arabic with vowels: other words"),
        pytest.param("סִפֵּר טוֹב", "סֵפֶר טוֹב", 1 / 2, 0, id="Hebrew with points"),
        pytest.param("ọkọ̀ mi", "ọkọ́ mi", 1 / 2, 0, id="Yoruba: accents that no letter is composed with"),
        pytest.param("བོད་ཡིག་", "བོད་སྐད་", 1 / 2, 0, id="Tibetan: syllables"),
        pytest.param("да, конечно", "да конечно", 1, 1, id="Russian"),
        pytest.param("καλημέρα", "ΚΑΛΗΜΈΡΑ", 1, 0, id="Greek in capitals"),
    ],
)
def test_a_word_is_its_letters_with_their_marks(
    answer: str, reference: str, rouge1: float, rouge2: float
) -> None:
    found = values(answer, reference)
    assert found["rouge1"] == found["rougeL"] == pytest.approx(rouge1)
    assert found["rouge2"] == pytest.approx(rouge2)


@pytest.mark.parametrize(
    ("answer", "reference", "rouge1", "rouge2"),
    [
        # แ ม ว ดำ and แ ม ว ข า ว
        pytest.param("แมวดำ", "แมวขาว", 6 / 10, 4 / 8, id="Thai"),
        # ไ ม้ and ไ ม่
        pytest.param("ไม้", "ไม่", 1 / 2, 0, id="Thai: another tone"),
        # ນ້ຳ ໃ ສ and ນ້ຳ ຮ້ ອ ນ
        pytest.param("ນ້ຳໃສ", "ນ້ຳຮ້ອນ", 2 / 7, 0, id="Lao"),
        # မြ န် မာ and မြ န် မြ န်
        pytest.param("မြန်မာ", "မြန်မြန်", 4 / 7, 2 / 5, id="Burmese"),
        # စာ and စ: a vowel that Unicode counts as a character of its own
        pytest.param("စာ", "စ", 0, 0, id="Burmese: a vowel more"),
        # ខ្មែ រ and ខ្មៅ
        pytest.param("ខ្មែរ", "ខ្មៅ", 0, 0, id="Khmer: other words"),
        # ភា សា ខ្មែ រ, with a space without width between its words, and the same without
        pytest.param("ភាសា\u200bខ្មែរ", "ភាសាខ្មែរ", 1, 1, id="Khmer: an invisible space"),
        pytest.param("今天天气好", "今天天气很好", 10 / 11, 6 / 9, id="Chinese"),
        pytest.param("か\u309aき", "かき", 2 / 4, 0, id="Japanese: a mark that no kana is composed with"),
    ],
)
def test_a_character_of_a_script_without_spaces_is_its_letters_with_their_marks(
    answer: str, reference: str, rouge1: float, rouge2: float
) -> None:
    found = values(answer, reference)
    assert found["rouge1"] == found["rougeL"] == pytest.approx(rouge1)
    assert found["rouge2"] == pytest.approx(rouge2)


@pytest.mark.parametrize(
    "text",
    [
        "Käse für Müller ist größer",
        "Tiếng Việt rất dễ học",
        "한국어를 배우는 학생이 많다",
        "がぎぐげござじ",
        "हिन्दी क़लम ज़रूर पढ़ो",
        "שָׁלוֹם עוֹלָם לְכֻלָּם שׁוּב",
        "ẹ̀kọ́ ọjọ́ ẹyẹ ọdẹ",
    ],
)
def test_composed_and_decomposed_texts_are_the_same_to_every_measure(text: str) -> None:
    found = values(unicodedata.normalize("NFD", text), text)
    assert found == values(text, text)
    assert found["rouge1"] == found["rougeL"] == 1
    assert (found["bleu"], found["chrf"]) == pytest.approx((100, 100))


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        pytest.param("วันดีมก", "วันดีมาก", id="Thai"),  # วั น ดี ม า ก
        pytest.param("မြန်မာဘာကို", "မြန်မာဘာသာကို", id="Burmese"),
        pytest.param("いろはにへ", "いろはにほへ", id="Japanese"),
        pytest.param("今天天气好", "今天天气很好", id="Chinese"),
    ],
)
def test_bleu_of_scripts_without_spaces_is_of_characters(answer: str, reference: str) -> None:
    assert values(answer, reference)["bleu"] == pytest.approx(BLEU_OF_FIVE_OF_SIX)


def test_bleu_of_words_and_chrf_count_combining_marks() -> None:
    answer, reference = "राम ने सीता से कहा", "राम ने सीता से यह कहा"
    assert values(answer, reference)["bleu"] == pytest.approx(BLEU_OF_FIVE_OF_SIX)
    # Two code points each, a letter and its vowel: of one 1 of 2 is right, of two 0 of 1.
    assert values("कि", "की")["chrf"] == pytest.approx((1 / 2 + 0) / 2 * 100)


def test_an_exact_match_is_of_the_texts_as_they_are_written() -> None:
    assert answer_matches(["Käse", "Ka\u0308se"], ["Käse", "Käse"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("แมวกินปลา", True),
        ("ແມວ", True),
        ("ကြောင်", True),
        ("ឆ្មា", True),
        ("ใช้ pandas อ่านข้อมูล", True),
        ("The word แมว means cat, as every child knows", False),
        ("हिन्दी", False),
        ("한국어", False),
        ("བོད་སྐད", False),
    ],
)
def test_scripts_without_spaces_are_compared_by_characters(text: str, expected: bool) -> None:
    assert mostly_characters([text]) is expected


def test_invisible_marks_make_no_other_word() -> None:
    """A soft hyphen, a mark of direction, a variation selector, a keycap."""
    assert WordTokenizer().tokenize("Donau\u00adfahrt") == ["donaufahrt"]
    assert WordTokenizer().tokenize("שלום\u200f עולם") == ["שלום", "עולם"]
    assert CharacterTokenizer().tokenize("葛\U000e0100城") == ["葛", "城"]
    assert WordTokenizer().tokenize("2\ufe0f\u20e3 eggs") == ["2", "eggs"]


LATIN = "The größte Straße's über-all Käse, 3.5 % É (z. B.) don't_stop 1st ½ £2"
HAN = "今天天气很好，我们去《公园》看书。2024年第3版"


@pytest.mark.parametrize("letters", [LATIN, HAN, LATIN + HAN])
def test_texts_without_combining_marks_are_runs_of_letters_and_digits(letters: str) -> None:
    """As rouge-score splits ASCII texts; and Chinese ones by Han characters."""
    dice = random.Random(0)
    han = "[\u4e00-\u9fff]"
    for _ in range(300):
        text = "".join(dice.choice(letters) for _ in range(20))
        assert WordTokenizer().tokenize(text) == re.findall(r"[^\W_]+", text.lower())
        characters = re.findall(rf"{han}|(?:(?!{han})[^\W_])+", text.lower())
        assert CharacterTokenizer().tokenize(text) == characters
        if text.isascii():
            assert WordTokenizer().tokenize(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


@pytest.mark.parametrize(
    ("text", "tokenizer"), [("Fußgänger gehen über die Straße.", "13a"), ("今天天气很好。", "zh")]
)
def test_bleu_and_chrf_of_english_german_and_chinese_are_sacrebleus_own(text: str, tokenizer: str) -> None:
    import sacrebleu

    answer = text[:3] + text[5:]
    found = values(answer, text)
    assert found["bleu"] == sacrebleu.corpus_bleu([answer], [[text]], tokenize=tokenizer).score
    assert found["chrf"] == sacrebleu.corpus_chrf([answer], [[text]]).score
