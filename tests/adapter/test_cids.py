"""Which content ids a mail client shows."""

import pytest

from adapter.checks.cids import shown_cids

SHOWN = [
    '<img src="cid:a">',
    "<img src='cid:a'>",
    "<img src=cid:a>",
    "<IMG SRC=CID:a>",
    '<img src=" cid:a\n">',
    '<img src="c\nid:a">',
    '<img src="&#99;id:a">',
    '<img src="cid&#58;a"/>',
    '<img src="c&Tab;i&NewLine;d:a">',
    "<img srcset='cid:a 1x, http://x/y 2x'>",
    "<img srcset='http://x/y 1x,cid:a 2x'>",
    '<td background="cid:a">',
    "<div style=\"background:url('cid:a')\">",
    '<div style="background:url(&quot;cid:a&quot;)">',
    "<div style='background: URL( cid:a )'>",
    "<style>p { background: url(cid:a) }</style>",
    '<style>@import "cid:a";</style>',
    "<style>p { background: url(c\\69 d:a) }</style>",
    '<svg><image xlink:href="cid:a"/></svg>',
    '<svg><image href="cid:a"></svg>',
    '<!--[if gte mso 9]><v:fill type="frame" src="cid:a"/><![endif]-->',
    '<!--[if mso]><!--[if vml]><v:fill src="cid:a"/><![endif]--><![endif]-->',
    '<!--[if !mso]><!--><img src="cid:a"><!--<![endif]-->',
    '<![if !mso]><img src="cid:a"><![endif]>',
    '<video poster="cid:a">',
    '<object data="cid:a">',
    '<textarea>text</textarea><img src="cid:a">',
    "<noscript><img src=cid:a></noscript>",
    '<img/src="cid:a"/>',
    '<img src\n=\n"cid:a">',
    '<img alt=">" src="cid:a">',
    '<img src="cid:a" src="cid:second">',
    '<style/><img src="cid:a">',
    '<!--><img src="cid:a">-->',
    '<!-- x --!><img src="cid:a">',
    '<a title="<!--"><img src="cid:a"></a title="-->">',
    '</ x><?x ?><!x><img src="cid:a">',
    '<STYLE>p { background: url("cid:a") }</style >',
    "<p>1 < 2</p><img src=cid:a>",
    "<img src=cid:a <p>",
    "<TEMPLATE><p></TEMPLATE><img src=cid:a>",
    "<template></template ><img src=cid:a>",
]

NOT_SHOWN = [
    "<!-- <img src='cid:a'> -->",
    '<img alt="cid:a">',
    '<p title="cid:a">cid:a</p>',
    "<p>src='cid:a'</p>",
    "<script>x = '<img src=\"cid:a\">'</script>",
    '<script src="cid:a"></script>',
    "<textarea><img src='cid:a'></textarea>",
    "<title><img src='cid:a'></title>",
    "<Title><img src='cid:a'></Title>",
    "<template><img src='cid:a'></template>",
    "<style>/* url(cid:a) */</style>",
    "<iframe><img src='cid:a'></iframe>",
    "<xmp></xmp ><xmp><img src='cid:a'>",
    "<!-- <img src='cid:a'>",
    '<img src="cid:a"',
    '<img src="cid:a>',
    '<p title="<img src=cid:a>">',
    '<img src="http://x/cid:a">',
    '<img src="xcid:a">',
    "cid:a",
    "",
]


@pytest.mark.parametrize("html", SHOWN)
def test_a_picture_that_is_shown_is_found(html: str) -> None:
    assert shown_cids(html) == {"a"}


@pytest.mark.parametrize("html", NOT_SHOWN)
def test_what_is_not_shown_is_not_found(html: str) -> None:
    assert shown_cids(html) == frozenset()


@pytest.mark.parametrize(
    ("written", "content_id"),
    [("a%40b", "a@b"), ("a&#64;b", "a@b"), ("a&amp;b", "a&b"), ("A", "A"), ("a%20b", "a b")],
)
def test_an_id_is_compared_as_it_is_meant(written: str, content_id: str) -> None:
    assert shown_cids(f'<img src="cid:{written}">') == {content_id}


def test_several_pictures_are_all_found() -> None:
    assert shown_cids('<img src="cid:a"><p style="background:url(cid:b),url(cid:c)">') == {"a", "b", "c"}


HOSTILE = [
    "<!--",
    "<!-- x>",
    "<![CDATA[",
    "<?",
    "<",
    "<a ",
    "<a b='",
    "<a =",
    "<a/",
    "</a",
    "</a b",
    "&#1",
    "<!--[if",
]
HOSTILE += [" a=b", " a", " =", "/"]
HOSTILE += [
    "<style>url(",
    "<style>/*",
    "<style>@import ",
    '<p style="url( cid:',
    "<!--[if a]>",
    "<title>",
    "<template>",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("end", ["", ">", "'>", '">', "-->"])
@pytest.mark.parametrize("begin", ["cid:", "cid:<p"])
def test_a_hostile_body_takes_no_longer_than_another_of_its_length(begin: str, piece: str, end: str) -> None:
    """The standard library's parser needed hours for the worst of these; a test may take two minutes."""
    assert shown_cids(begin + piece * (300_000 // len(piece)) + end) <= {"", "cid:"}
