"""SWORD modules, made here, and OSIS, against what they must read as."""

import struct
import zlib

import pytest

from jaxml.data.sword_files import OLD_BOOKS, Tagged, plain, read_ztext
from jaxml.data.versifications import KJV, NRSVA

TEXTS = {
    ("Gen", 1, 1): "In the beginning",
    ("Gen", 50, 26): "the last of Genesis",
    ("Mal", 4, 6): "the last of the Old Testament — 1º",
    ("Matt", 1, 1): "the first of the New",
    ("Jude", 1, 5): "Jude",
    ("Rev", 22, 21): "Amen.",
}


def places(versification, testament):
    """What each entry of an index is of, one verse after the other; None for headings."""
    books = list(versification.chapters.items())
    yield from (None, None)
    for book, chapters in books[:OLD_BOOKS] if testament == 0 else books[OLD_BOOKS:]:
        yield None
        for chapter, count in enumerate(chapters, 1):
            yield None
            yield from ((book, chapter, verse) for verse in range(1, count + 1))


def module(versification, texts):
    """Files of a module that has these verses, in blocks of two."""
    testaments = []
    for testament in (0, 1):
        contents, records = [b""], []
        for place in places(versification, testament):
            text = texts.get(place, "").encode()
            if len(contents[-1].split(b"\n")) > 2:
                contents.append(b"")
            records.append((len(contents) - 1, len(contents[-1]), len(text)))
            contents[-1] += text + b"\n" * bool(text)
        records += [(0, 0, 0)] * (versification.entries[testament] - len(records))
        packed = [zlib.compress(content) for content in contents]
        starts = [sum(map(len, packed[:i])) for i in range(len(packed))]
        sizes = zip(starts, map(len, packed), map(len, contents), strict=True)
        testaments.append(
            (
                b"".join(struct.pack("<III", *size) for size in sizes),
                b"".join(struct.pack("<IIH", *record) for record in records),
                b"".join(packed),
            )
        )
    return testaments


@pytest.mark.parametrize(("versification", "count"), [(KJV, 31_102), (NRSVA, 31_104)])
def test_a_module_is_read_as_it_was_written(versification, count):
    verses = read_ztext(module(versification, TEXTS), versification)
    assert len(verses) == count
    assert {place: text for place, text in verses.items() if text} == TEXTS


def test_versifications():
    """Chapters and verses as printed in every Bible; KJV has no books but these."""
    assert len(KJV.chapters) == 66
    assert sum(map(len, KJV.chapters.values())) == 1189
    assert [sum(KJV.chapters[book]) for book in ("Gen", "Ps", "Matt")] == [1533, 2461, 1071]
    assert KJV.chapters["Ps"][118] == 176
    for testament in (0, 1):
        assert len(list(places(KJV, testament))) == KJV.entries[testament]
    assert len(list(places(NRSVA, 1))) == NRSVA.entries[1]
    changed = {b for b, counts in NRSVA.chapters.items() if counts != KJV.chapters[b]}
    assert changed == {"3John", "Rev"}
    assert list(NRSVA.chapters) == list(KJV.chapters)


def test_bad_modules_are_refused():
    places_, index, packed = module(KJV, TEXTS)[0]
    new = module(KJV, TEXTS)[1]
    beyond = struct.pack("<IIH", 0, 5, 999)
    missing = struct.pack("<IIH", 9, 0, 1)
    first = 10 * 4  # of two headings of all, one of the book, one of the chapter
    bad = [
        ((places_, index, packed), NRSVA, "31,027 entries, as versification NRSVA has, got 24,115"),
        ((places_, index[:-10], packed), KJV, "24,115 entries, .*, got 24,114"),
        ((places_, index[:-3], packed), KJV, "24,115 entries, .*, got 24,114.7"),
        ((places_[:-1], index, packed), KJV, "records of 12 bytes, got 23 bytes"),
        ((places_, index, packed[:-4]), KJV, "in block 1, compressed by zlib, got: Error"),
        ((places_, index, b"?" + packed[1:]), KJV, "in block 0, compressed by zlib, got: Error"),
        ((b"\0" * 8 + b"\1\0\0\0" + places_[12:], index, packed), KJV, "1 bytes in block 0, .*got"),
        ((places_, index[:first] + beyond + index[first + 10 :], packed), KJV,
         "999 bytes from 5 on in block 0, got"),
        ((places_, index[:first] + missing + index[first + 10 :], packed), KJV,
         "a block below 2, got 9"),
    ]  # fmt: skip
    for old, versification, message in bad:
        with pytest.raises(ValueError, match=message):
            read_ztext([old, new], versification)
    # one with the right Old Testament: all of Jude and Revelation would be off
    other = module(NRSVA, TEXTS)
    with pytest.raises(ValueError, match=r"8,246 entries, as versification KJV has, got 8,248"):
        read_ztext([module(KJV, TEXTS)[0], other[1]], KJV)


@pytest.mark.parametrize(
    ("osis", "text"),
    [
        ("firstborn<note>1:1 a <b>note</b></note>Son", "firstborn Son"),
        ("<w>God</w><note>n</note>, who", "God, who"),
        ("¶ And  he\n said ,<lb/> ( so ) !", "And he said, (so)!"),
        ('<title canonical="true">A Psalm.</title>Yahweh', "A Psalm. Yahweh"),
        ("<title>ALEPH</title> Blessed", "Blessed"),
        ("<speaker>Beloved</speaker>My love", "My love"),
        ('Amen.<chapter eID="Rev.22"/> Glossary', "Amen."),
        ("¿ Con qué ? “ Go ”", "¿Con qué? “Go”"),
        ("the \\nd <w>LORD</w></divineName> said\\+nd*", "the LORD said"),
        ("a &amp; b &lt;c&gt;", "a & b <c>"),
        ("", ""),
    ],
)
def test_the_text_of_a_verse(osis, text):
    assert plain(osis) == Tagged(text, [])


def test_strong_s_numbers_are_where_their_words_are():
    """Also behind what was taken out, of a phrase, and two of one word."""
    text, tags = plain(
        '¶ <w lemma="strong:H7225">EN el principio</w> <note>x</note> '
        '<w lemma="strong:G2424 strong:G5547">Jesucristo</w> , <w lemma="strong:H0430">Dios</w>.'
    )
    assert text == "EN el principio Jesucristo, Dios."
    assert [(text[start:stop], number) for start, stop, number in tags] == [
        ("EN el principio", -7225),
        ("Jesucristo", 2424),
        ("Jesucristo", 5547),
        ("Dios", -430),
    ]
